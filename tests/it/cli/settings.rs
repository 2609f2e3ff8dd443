//! The settings as a user writes them, each by a call that the service makes.

use super::{Ended, NO_SWEEP, SOON, end_of, run};
use crate::support::account::{Account, PASSWORD};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::{Service, program};
use crate::support::wait::until;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

async fn count(database: &TestDatabase, state: &str) -> u64 {
    database.query_one(&format!("SELECT COUNT(*) FROM queued_job WHERE state = '{state}'")).await
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Runs a service with these settings, which must hear of a job from the log; its line that says how it follows.
async fn assert_follows(database: &TestDatabase, ini: &Path) -> String {
    let receiver = Receiver::start().await;
    let mut service = Service::run(ini);
    let line = service.wait_for_line("following the log", SOON).await;
    let id = job().url(receiver.url("/")).insert(database).await;
    receiver.wait_for(1, SOON).await;
    until("it is done", SOON, async || {
        let sql = format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}");
        database.query_one::<String>(&sql).await == "completed"
    })
    .await;
    assert_eq!(service.stop(SOON).await, Some(0));
    line
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once_and_nothing_connects() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "[db]\nhost: 127.0.0.1\nport: {port}\nuser: a\ndatabase: b\nssl_mode: on\n\n[htpp]\nmax_redirects: 5\n\n\
         [dispatch]\nmax_inflight: 3\ndrain_secs: soon\nserver_id: 7\n"
    );
    let ini = write(folder.path(), "my.ini", &text);
    let shown = ini.display();
    for command in ["run", "once", "check", "migrate"] {
        let ended = run([OsStr::new(command), ini.as_os_str()]).await;
        let told = [
            format!("strings-queue: {shown}:5: [db] database: `database` is no setting; did you mean `db`?"),
            format!("strings-queue: {shown}:6: [db] ssl_mode: `on` is not one of disabled, preferred"),
            format!("strings-queue: {shown}:8: [htpp] is no section of these settings; did you mean [http]?"),
            format!("strings-queue: {shown}:12: [dispatch] max_inflight: `max_inflight` is no setting; did you mean"),
            format!("strings-queue: {shown}:13: [dispatch] drain_secs: `soon` is not a whole number of seconds"),
            format!(
                "strings-queue: {shown}:14: [dispatch] server_id: `server_id` is no setting; it belongs in [binlog]"
            ),
            format!("strings-queue: {shown}: [db] db: is missing"),
        ];
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.lines().count()),
            (Some(2), "", told.len()),
            "{ended}"
        );
        for (line, begin) in ended.stderr.lines().zip(told) {
            assert!(line.starts_with(&begin), "{line}\nis not\n{begin}");
        }
    }
    assert!(listener.accept().is_err(), "nobody came");
}

#[tokio::test]
async fn the_ancestors_file_works_as_it_is_with_colons_and_with_equals_signs() {
    let database = TestDatabase::with_schema().await;
    let account = Account::create(&database).await;
    account.run_part(2).await;
    let ini = std::fs::read_to_string(account.ini(&database, "")).unwrap();
    let text = format!(
        "[api]\nuser: app_qmanager\npasswd: t3tstt3st\n\n{ini}\n[db-test]\nhost: localhost\nuser: root\npasswd: root\ndb: test\n"
    );
    for text in [text.clone(), text.replace(": ", " = "), text.replace(": ", "=")] {
        let receiver = Receiver::start().await;
        job().url(receiver.url("/")).insert(&database).await;
        let path = write(database.files(), "ancestor.ini", &text);
        let ended = run([OsStr::new("once"), path.as_os_str()]).await;
        assert_eq!((ended.code, receiver.count()), (Some(0), 1), "{ended}");
        let expected = "Basic YXBwX3FtYW5hZ2VyOnQzdHN0dDNzdA==";
        assert_eq!(receiver.requests()[0].header("authorization"), Some(expected));
        assert!(ended.stderr.contains("[db-test] is not used any more; take it out"), "{ended}");
    }
}

/// `once` with settings that lack a password, and one from the environment.
async fn once(ini: &Path, password: Option<&str>) -> Ended {
    let mut command = program();
    command.arg("once").arg(ini);
    if let Some(password) = password {
        command.env("STRINGS_QUEUE_DB_PASSWD", password);
    }
    end_of(command).await
}

#[tokio::test]
async fn the_password_comes_from_a_file_or_from_the_environment() {
    let database = TestDatabase::with_schema().await;
    let account = Account::create(&database).await;
    account.run_part(2).await;
    let with = std::fs::read_to_string(account.ini(&database, "")).unwrap();
    let folder = database.files();
    let without = write(folder, "without.ini", &with.replace(&format!("passwd: {PASSWORD}\n"), ""));
    let wrong = write(folder, "wrong.ini", &with.replace(PASSWORD, "notThisOne"));
    // Beside the settings, wherever the program is started.
    write(folder, "secret", &format!("{PASSWORD}\n"));
    let file = write(folder, "file.ini", &with.replace(&format!("passwd: {PASSWORD}"), "passwd_file: secret"));
    for (ini, environment) in [(&file, None), (&without, Some(PASSWORD)), (&wrong, Some(PASSWORD)), (&file, Some(""))] {
        once(ini, environment).await.assert_clean();
    }
    for (ini, environment) in [(&without, None), (&file, Some("notThisOne"))] {
        once(ini, environment).await.assert_failed(1, "the database answered error 1");
    }
}

#[tokio::test]
async fn the_password_for_handlers_comes_from_the_environment_too() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let ini = database.ini("[api]\nuser: a\npasswd: notThisOne");
    job().url(receiver.url("/")).insert(&database).await;
    let mut command = program();
    command.arg("once").arg(ini).env("STRINGS_QUEUE_API_PASSWD", "b");
    assert_eq!(end_of(command).await.code, Some(0));
    // a:b
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Basic YTpi"));
}

#[tokio::test]
async fn a_socket_carries_the_statements_and_the_log() {
    let database = TestDatabase::with_schema().await;
    let line = assert_follows(&database, &database.ini_by_socket(NO_SWEEP)).await;
    assert!(line.contains("client=Secure"), "{line}");
    let checked = run([OsStr::new("check"), database.ini_by_socket("").as_os_str()]).await;
    assert_eq!(checked.code, Some(0), "{checked}");
    let ini = database.ini_by_socket("");
    let text = std::fs::read_to_string(&ini).unwrap().replace(database.server().socket.to_str().unwrap(), "/no/socket");
    std::fs::write(&ini, text).unwrap();
    let ended = run([OsStr::new("once"), ini.as_os_str()]).await;
    ended.assert_failed(1, "the connection to the database failed");
}

fn has_ipv6_loopback() -> bool {
    TcpListener::bind(("::1", 0)).is_ok()
}

#[tokio::test]
async fn an_ipv6_address_carries_the_statements_and_the_log() {
    if !has_ipv6_loopback() {
        return;
    }
    let server = OwnServer::start(&["--bind-address=127.0.0.1,::1"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let account = format!("CREATE USER six@'::1' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO six@'::1'");
    database.execute(&account).await;
    let port = server.access().port;
    let hosts = [
        format!("host: ::1\nport: {port}"),
        format!("host: [::1]\nport: {port}"),
        format!("host: [::1]:{port}"),
        // The first can't be reached, so the second is taken.
        format!("host: [::1]:9, [0:0:0:0:0:0:0:1]:{port}"),
    ];
    for (number, host) in hosts.into_iter().enumerate() {
        let text = format!("[db]\n{host}\nuser: six\npasswd: {PASSWORD}\ndb: {}\n{NO_SWEEP}\n", database.name());
        let ini = write(database.files(), "six.ini", &text);
        let line = assert_follows(&database, &ini).await;
        assert!(line.contains("host=\"::1\"") && line.contains("client=Plain"), "{line}");
        assert_eq!(count(&database, "completed").await, number as u64 + 1);
        let checked = run([OsStr::new("check"), ini.as_os_str()]).await;
        assert_eq!(checked.code, Some(0), "{checked}");
    }
}

//! `run`: how it starts, with and without a database, tables and readers of its lines.

use super::{NO_SWEEP, SOON, end_of, run};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::{Service, program, wrapped_program};
use crate::support::wait::until;
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;

async fn assert_done(database: &TestDatabase, id: u64) {
    until(&format!("job {id} is done"), SOON, async || {
        let sql = format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}");
        database.query_one::<String>(&sql).await == "completed"
    })
    .await;
}

async fn assert_works(database: &TestDatabase) {
    let receiver = Receiver::start().await;
    let id = job().url(receiver.url("/")).insert(database).await;
    assert_done(database, id).await;
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    proxy.refuse().await;
    let mut service = Service::run(&database.ini_at(proxy.port(), NO_SWEEP));
    service.wait_for_line("the database is not there yet; trying again", SOON).await;
    assert!(service.lines()[0].contains("starting"), "{:?}", service.lines());
    proxy.accept().await;
    service.wait_for_line("following the log", SOON).await;
    assert_works(&database).await;
    assert_eq!(service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn tables_that_are_not_there_end_it_and_name_migrate() {
    let database = TestDatabase::create().await;
    let ini = database.ini("");
    let ended = run([OsStr::new("run"), ini.as_os_str()]).await;
    ended.assert_failed(1, &format!("there is no table queued_job; run `strings-queue migrate {}`", ini.display()));
}

#[tokio::test]
async fn a_log_table_that_is_not_there_ends_it_and_migrate_makes_it_again() {
    let database = TestDatabase::with_schema().await;
    let id = job().insert(&database).await;
    database.execute("DROP TABLE queued_job_log").await;
    let ini = database.ini(NO_SWEEP);
    for command in ["run", "once"] {
        let ended = run([OsStr::new(command), ini.as_os_str()]).await;
        ended.assert_failed(
            1,
            &format!("there is no table queued_job_log; run `strings-queue migrate {}`", ini.display()),
        );
    }
    let checked = run([OsStr::new("check"), ini.as_os_str()]).await;
    assert!(checked.code == Some(1) && checked.to_string().contains("there is no table queued_job_log"), "{checked}");
    let made = run([OsStr::new("migrate"), ini.as_os_str()]).await;
    assert!(made.code == Some(0) && made.to_string().contains("made the missing table queued_job_log"), "{made}");
    run([OsStr::new("check"), ini.as_os_str()]).await.assert_clean();
    assert_eq!(database.query::<u64>("SELECT id FROM queued_job").await, [id]);
}

/// As when a terminal goes away.
#[tokio::test]
async fn a_hangup_is_a_stop_unless_it_was_ignored_from_the_start() {
    let database = TestDatabase::with_schema().await;
    let begun_by = async |wrapper: &[&str]| {
        let mut command = wrapped_program(wrapper.iter().map(OsString::from));
        command.arg("run").arg(database.ini(NO_SWEEP));
        let service = Service::spawn(command);
        service.wait_for_line("following the log", SOON).await;
        service
    };
    // Whatever whoever runs the tests ignores.
    let mut service = begun_by(&["env", "--default-signal"]).await;
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    let id = job().url(receiver.url("/")).insert(&database).await;
    receiver.wait_for(1, SOON).await;
    service.signal(Signal::HUP);
    service.wait_for_line("stopping: waiting for the calls in flight", SOON).await;
    // A shell passes it on, and the kernel tells whoever was in front.
    service.signal(Signal::HUP);
    gate.open();
    assert_eq!(service.wait_for_exit(SOON).await.code(), Some(0));
    assert_done(&database, id).await;
    let mut service = begun_by(&["nohup"]).await;
    service.signal(Signal::HUP);
    assert_works(&database).await;
    assert_eq!(service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn the_ancestors_tables_end_it_and_name_migrate() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "CREATE TABLE queued_job (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, http_method VARCHAR(10) NOT NULL, \
             url TEXT NOT NULL, body TEXT, result_code INT NULL, remaining_retries INT NOT NULL DEFAULT 10); \
             CREATE TABLE queued_job_log (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, job_id BIGINT UNSIGNED, msg TEXT)",
        )
        .await;
    for command in ["run", "once"] {
        let ended = run([OsStr::new(command), database.ini("").as_os_str()]).await;
        let told = "the tables are the ancestor's, not upgraded yet, or not to the end; run `strings-queue migrate";
        ended.assert_failed(1, told);
    }
}

#[tokio::test]
async fn settings_are_found_as_the_ancestors_were_and_by_default() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(database.ini(NO_SWEEP), folder.path().join("db.ini")).unwrap();
    let lines: [&[&str]; 3] = [&["db.ini"], &["run"], &["run", "db.ini"]];
    for arguments in lines {
        let mut command = program();
        command.args(arguments).current_dir(folder.path());
        let mut service = Service::spawn(command);
        let id = job().url(receiver.url("/")).insert(&database).await;
        assert_done(&database, id).await;
        assert_eq!(service.stop(SOON).await, Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn settings_that_are_not_there_exit_2() {
    for command in ["run", "once", "check", "migrate"] {
        let told = "strings-queue: /nowhere/db.ini: can't be read: there is no such file; name your file of settings";
        run([command, "/nowhere/db.ini"]).await.assert_failed(2, told);
    }
    let mut command = program();
    command.arg("run").current_dir(Path::new("/"));
    end_of(command).await.assert_failed(2, "strings-queue: db.ini: can't be read");
}

#[tokio::test]
async fn a_reader_that_does_not_read_its_lines_and_does_not_go_away_holds_nothing_up() {
    let database = TestDatabase::with_schema().await;
    let mut command = program();
    command.arg("-vv").arg("run").arg(database.ini(NO_SWEEP)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let unread = child.stderr.take().unwrap();
    let receiver = Receiver::start().await;
    // Many times what a pipe holds.
    let rows = vec![format!("('post', '{}')", receiver.url("/")); 1_000].join(", ");
    database.execute(&format!("INSERT INTO queued_job (http_method, url) VALUES {rows}")).await;
    let done = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed'";
    until("all jobs are done", SOON * 2, async || database.query_one::<u64>(done).await == 1_000).await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
    drop(unread);
}

#[tokio::test]
async fn nobody_has_to_read_its_lines() {
    let database = TestDatabase::with_schema().await;
    let mut command = program();
    command.arg("-vv").arg("run").arg(database.ini(NO_SWEEP)).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stderr.take());
    assert_works(&database).await;
    assert_works(&database).await;
    assert_eq!(child.try_wait().unwrap(), None, "it runs on");
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

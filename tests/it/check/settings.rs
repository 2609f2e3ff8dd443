//! What `check` says of the settings and of a server that it can't get into.

use super::check;
use crate::support::database::{TestDatabase, TestServer};
use crate::support::private_file::write_private;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

#[tokio::test]
async fn wrong_settings_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let ini = folder.path().join("db.ini");
    std::fs::write(&ini, "[db]\nhots: x\n").unwrap();
    let checked = check(&ini).await;
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked}");
    assert!(checked.stderr.contains("did you mean `host`?"), "{checked}");
}

#[tokio::test]
async fn nothing_is_said_but_the_findings() {
    let database = TestDatabase::with_schema().await;
    let checked = check(&database.ini("")).await;
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("0 faults, 0 remarks\n", ""), "{checked}");
}

#[tokio::test]
async fn unwise_settings_are_remarks() {
    let database = TestDatabase::with_schema().await;
    let checked = check(&database.ini("[dispatch]\nmax_in_flight: 3\nmax_in_flight_per_host: 4")).await;
    checked.assert_ends(0, "0 faults, 1 remark");
    assert!(checked.stdout.contains("remark: ") && checked.stdout.contains("max_in_flight_per_host"), "{checked}");
}

#[tokio::test]
async fn the_servers_own_server_id_is_refused() {
    let database = TestDatabase::with_schema().await;
    let id: u32 = database.query_one("SELECT @@server_id").await;
    let checked = check(&database.ini(&format!("[binlog]\nserver_id: {id}"))).await;
    checked.assert_ends(1, "1 fault, 0 remarks");
    assert!(checked.stdout.contains(&format!("fault: [binlog] server_id is {id}, which is the server's own")));
}

fn ini(folder: &Path, port: u16, db: &str) -> PathBuf {
    let path = folder.join("db.ini");
    write_private(&path, format!("[db]\nhost: 127.0.0.1\nport: {port}\n{db}\n"));
    path
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let checked = check(&ini(folder.path(), port, "user: a\npasswd: hunter2\ndb: c")).await;
    checked.assert_finding(
        &format!("fault: cannot connect to 127.0.0.1:{port}: "),
        "start the server, or mend [db] `host: …` and `port: …`",
    );
    checked.assert_ends(1, "1 fault, 0 remarks");
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let port = TestServer::get().port;
    let checked = check(&ini(folder.path(), port, "user: nobody_of_ours\npasswd: hunter2\ndb: c")).await;
    // MySQL does not always say that it is the account which is wrong, and so from where it came.
    let hosts = ["127.0.0.1", "%"].map(|host| format!("CREATE USER 'nobody_of_ours'@'{host}' IDENTIFIED BY '…';"));
    assert!(hosts.iter().any(|statement| checked.stdout.contains(statement)), "{checked}");
    assert!(!checked.to_string().contains("hunter2"), "{checked}");
    checked.assert_ends(1, "1 fault, 0 remarks");
}

#[tokio::test]
async fn an_unknown_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let checked = check(&ini(folder.path(), TestServer::get().port, "user: root\ndb: not-there")).await;
    assert!(checked.stdout.contains("CREATE DATABASE `not-there` CHARACTER SET utf8mb4;"), "{checked}");
}

#[tokio::test]
async fn tls_is_found_wanting_or_working() {
    let database = TestDatabase::with_schema().await;
    let checked = check(&database.ini("ssl_mode: required")).await;
    let offers_tls = database.query::<(String, String)>("SHOW VARIABLES LIKE 'ssl_cert'").await;
    if offers_tls.iter().any(|(_, file)| !file.is_empty()) || checked.code == Some(0) {
        checked.assert_clean();
    } else {
        assert!(checked.stdout.contains("or do without TLS in [db]: `ssl_mode: disabled`"), "{checked}");
        let checked = check(&database.ini("ssl_mode: preferred")).await;
        checked.assert_ends(0, "0 faults, 1 remark");
        assert!(checked.stdout.contains("remark: the connections to the server are not encrypted"), "{checked}");
    }
}

//! What `check` says of a server that is set up otherwise than we want.

use super::{DEADLINE, check};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::server::OwnServer;
use crate::support::service::program;

/// MariaDB can be told to call itself otherwise.
#[tokio::test]
async fn a_server_that_is_too_old_is_not_worked_with() {
    if TestServer::get().is_mysql() {
        return;
    }
    let server = OwnServer::start(&["--version=10.5.29-MariaDB-log"]).await;
    let database = TestDatabase::create_on(server.access()).await;
    let ini = database.ini("");
    for command in ["migrate", "run", "once"] {
        let done = tokio::time::timeout(DEADLINE, program().arg(command).arg(&ini).output()).await.unwrap().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        let mend = "the server is MariaDB 10.5.29-MariaDB-log, which lacks SQL that we use; upgrade the server";
        assert!(done.status.code() == Some(1) && told.contains(mend), "{command}: {told}");
    }
    let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()";
    assert_eq!(database.query_one::<u32>(tables).await, 0);
    check(&ini)
        .await
        .assert_finding("fault: the server is MariaDB 10.5.29", "upgrade the server to MariaDB 10.6.0 or later");
}

#[tokio::test]
async fn a_server_without_a_log_is_told_of_its_options() {
    let server = OwnServer::start(&["--skip-log-bin"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let checked = check(&database.ini("")).await;
    let mend = if database.is_mysql() {
        "option file, then restart (and take skip-log-bin out):\n[mysqld]\nlog_bin = binlog\nserver_id = 1"
    } else {
        "option file, then restart:\n[mariadbd]\nlog_bin = binlog\nbinlog_format = ROW\nserver_id = 1\n\
         binlog_expire_logs_seconds = 604800"
    };
    checked.assert_finding("fault: the server keeps no binary log", mend);
    checked.assert_ends(1, "1 fault, 0 remarks");
}

/// What can be set while the server runs is set by what `check` says.
#[tokio::test]
async fn what_it_says_of_the_servers_settings_mends_them() {
    let options = [
        "--binlog-format=MIXED",
        "--binlog-row-image=MINIMAL",
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--binlog-expire-logs-seconds=60",
    ];
    let server = OwnServer::start(&options).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let checked = check(&database.ini("")).await;
    checked.assert_ends(1, "1 fault, 4 remarks");
    assert!(checked.stdout.starts_with("fault: binlog_format is MIXED: "), "{checked}");
    assert!(checked.stdout.contains("remark: binlog_row_image is MINIMAL: that is enough for us"), "{checked}");
    for statement in checked.sql() {
        database.execute(&statement).await;
    }
    check(&database.ini("")).await.assert_clean();
    database.execute("SET GLOBAL read_only = ON").await;
    let checked = check(&database.ini("")).await;
    checked.assert_finding(
        "fault: the server is read-only (read_only is on)",
        "name the primary in [db] `host: …`, or, if this is the primary:\nSET GLOBAL read_only = OFF;",
    );
}

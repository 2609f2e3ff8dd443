//! What `check` says of a server that is set up otherwise than we want.

use super::check;
use crate::support::database::TestDatabase;
use crate::support::server::OwnServer;

#[tokio::test]
async fn a_server_without_a_log_is_told_of_its_options() {
    let server = OwnServer::start(&["--skip-log-bin"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let checked = check(&database.ini("")).await;
    let mend = if database.is_mysql() {
        "option file, then restart (and take skip-log-bin out):\n[mysqld]\nlog_bin = binlog\nserver_id = 1"
    } else {
        "option file, then restart:\n[mariadbd]\nlog_bin = binlog\nbinlog_format = ROW\nserver_id = 1"
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

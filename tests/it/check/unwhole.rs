//! A log that can be followed and yet does not show our rows: the service sweeps more often.

use super::check;
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_database_left_out_of_the_log_is_told_and_swept() {
    let server = OwnServer::start(&["--binlog-do-db=another"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let ini = database.ini("[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 1");
    let checked = check(&ini).await;
    checked.assert_finding(
        &format!("fault: the server leaves the database {} out of its log", database.name()),
        "name our database in the option file's binlog_do_db too, then restart the server",
    );
    let receiver = Receiver::start().await;
    let service = Service::run(&ini);
    service.wait_for_line("out of its log", SOON).await;
    let id = job().url(receiver.url("/")).insert(&database).await;
    until("a sweep finds the job", SOON, async || {
        database.query_one::<String>(&format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}")).await
            == "completed"
    })
    .await;
}

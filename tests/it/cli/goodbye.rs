//! The end of each command, as the server sees it.

use super::{NO_SWEEP, run};
use crate::support::database::TestDatabase;
use crate::support::server::OwnServer;
use crate::support::wait::throughout;
use std::time::Duration;

/// A server counts the connections that break off without a goodbye, and MariaDB writes a line of each into its log: too
/// many of them for a `check` every minute.
#[tokio::test]
async fn a_check_and_a_migration_say_goodbye_to_the_server() {
    let server = OwnServer::start(&[]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let broken_off = async || {
        let (_, count): (String, u64) = database.query_one("SHOW GLOBAL STATUS LIKE 'Aborted_clients'").await;
        count
    };
    let ini = database.ini(NO_SWEEP);
    let before = broken_off().await;
    for command in ["check", "migrate"] {
        let ended = run([command.as_ref(), ini.as_os_str()]).await;
        assert_eq!(ended.code, Some(0), "{ended}");
        throughout(command, Duration::from_millis(200), async || broken_off().await == before).await;
    }
}

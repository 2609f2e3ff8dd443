//! A claim whose connection breaks while the server is still committing it.

use super::checker::check;
use super::load::Written;
use super::{NO_SWEEP, SETTLES, following, ledger, stage_without_load_on};
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use crate::support::wait::until;
use std::time::Duration;

/// The server waits for an acknowledgement in the middle of the commit, with the rows locked. When the claim is sent
/// again, they seem to be others'; then the first one is committed after all.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_committed_after_it_was_given_up_is_found_and_called() {
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    job().url(receiver.url("/work")).run_at_in(5_000).insert_times(&database, 5).await;
    database.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await;
    let committing = "SELECT COUNT(*) FROM information_schema.processlist \
                      WHERE state LIKE '%semi-sync%' OR state LIKE '%semisync%'";
    until("the claim is being committed", SETTLES, async || database.query_one::<u64>(committing).await > 0).await;
    proxy.cut_all();
    receiver.wait_for(5, Duration::from_secs(20)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.calls, found.taken_back), (5, 5, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

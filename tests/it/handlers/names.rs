//! Names of handlers: what a name server says, and what becomes of the others while it says nothing.

use super::{QUIET, Rig, SOON};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::left_out;
use crate::support::names::{NameServer, Told};
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::Service;
use crate::support::wait::until;
use std::net::Ipv4Addr;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A service that asks a name server of ours; none where that can't be arranged, which takes root.
async fn rig(settings: &str, timeout_secs: u32) -> Option<(Rig, NameServer)> {
    let Some(names) = NameServer::start().await else {
        left_out("names of handlers: a name server of our own takes root");
        return None;
    };
    let database = TestDatabase::with_schema().await;
    let mut command = names.program(database.files(), timeout_secs);
    command.arg("run").arg(database.ini(&format!("{QUIET}{settings}")));
    Some((Rig { service: Service::spawn(command), database }, names))
}

fn url(name: &str, receiver: &Receiver) -> String {
    format!("http://{name}:{}/", receiver.address().port())
}

#[tokio::test]
async fn a_name_is_called_at_its_address() {
    let Some((rig, names)) = rig("", 1).await else { return };
    let receiver = Receiver::start().await;
    names.tell("web.test", Told::Addresses(vec![Ipv4Addr::LOCALHOST]));
    rig.finish(job().url(url("WEB.test", &receiver))).await.assert_done();
    assert_eq!(receiver.requests()[0].header("Host"), Some(url("web.test", &receiver)[7..].trim_end_matches('/')));
}

#[tokio::test]
async fn a_name_that_is_unknown_or_cannot_be_looked_up_is_temporary() {
    let Some((rig, names)) = rig("", 1).await else { return };
    names.tell("failing.test", Told::Failure);
    names.tell("silent.test", Told::Silence);
    for name in ["unknown.test", "failing.test", "silent.test"] {
        let seen = rig.first_try(job().url(format!("http://{name}/"))).await;
        seen.assert_temporary();
        assert!(seen.response.starts_with("connection failed: "), "{}", seen.response);
        assert_eq!(seen.last_message(), format!("Job failed temporarily: {}", seen.response));
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_denied_address_fails_for_good() {
    let Some((rig, names)) = rig("", 1).await else { return };
    let receiver = Receiver::start().await;
    names.tell("metadata.test", Told::Addresses(vec![METADATA]));
    let fault = "the address 169.254.169.254 is in one of the deny_networks of the settings";
    let seen = rig.finish(job().url("http://metadata.test/")).await;
    seen.assert_permanent();
    assert_eq!(seen.response, fault);
    receiver.on("/", Answer::redirect(302, "http://metadata.test/"));
    let seen = rig.finish(job().url(receiver.url("/"))).await;
    seen.assert_permanent();
    assert_eq!(seen.response, fault);
}

/// As the owner of a name does who wants to have us call what only we can reach.
#[tokio::test]
async fn a_name_that_comes_to_lead_to_a_denied_address_is_not_called_there() {
    let Some((rig, names)) = rig("", 1).await else { return };
    let receiver = Receiver::start().await;
    receiver.on("/", Answer::ok().header("Connection", "close"));
    names.tell("turns.test", Told::Addresses(vec![Ipv4Addr::LOCALHOST]));
    rig.finish(job().url(url("turns.test", &receiver))).await.assert_done();
    names.tell("turns.test", Told::Addresses(vec![METADATA]));
    let seen = rig.finish(job().url(url("turns.test", &receiver))).await;
    seen.assert_permanent();
    assert_eq!(seen.response, "the address 169.254.169.254 is in one of the deny_networks of the settings");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_name_with_a_denied_address_is_called_at_its_others() {
    let Some((rig, names)) = rig("", 1).await else { return };
    let receiver = Receiver::start().await;
    names.tell("mixed.test", Told::Addresses(vec![METADATA, Ipv4Addr::LOCALHOST]));
    rig.finish(job().url(url("mixed.test", &receiver))).await.assert_done();
    // The first of two addresses where nobody listens is no reason to fail.
    names.tell("two.test", Told::Addresses(vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::LOCALHOST]));
    rig.finish(job().url(url("two.test", &receiver))).await.assert_done();
}

#[tokio::test]
async fn a_name_that_stalls_is_asked_for_once_and_holds_up_no_other() {
    // More calls than the runtime has threads for lookups; by port they are calls to two hosts.
    let settings = "[dispatch]\nmax_in_flight: 2000\nmax_in_flight_per_host: 600\n[http]\nconnect_timeout_secs: 60\n";
    let Some((rig, names)) = rig(settings, 30).await else { return };
    let receiver = Receiver::start().await;
    names.tell("stalls.test", Told::Silence);
    let stalling = "INSERT INTO queued_job (http_method, url, timeout_secs) \
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 600) \
        SELECT 'get', CONCAT('http://stalls.test:', port, '/'), 300 FROM numbers \
        JOIN (SELECT 80 AS port UNION ALL SELECT 81) AS ports";
    rig.database.execute(stalling).await;
    until("the stalling calls have begun", SOON, async || calling(&rig).await == 1_200).await;
    until("the name is asked for", SOON, async || names.questions("stalls.test") > 0).await;
    for number in 0..20 {
        let name = format!("web-{number}.test");
        names.tell(&name, Told::Addresses(vec![Ipv4Addr::LOCALHOST]));
        rig.finish(job().url(url(&name, &receiver))).await.assert_done();
    }
    assert_eq!((names.questions("stalls.test"), calling(&rig).await), (1, 1_200));
}

async fn calling(rig: &Rig) -> i64 {
    rig.database.query_one("SELECT COUNT(*) FROM queued_job WHERE state = 'executing'").await
}

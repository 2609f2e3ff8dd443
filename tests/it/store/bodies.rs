//! Bodies: exactly the stored bytes, small and large. URLs, of which there is a longest one.

use super::{SOON, claim_all, session, state};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Fault, Mode, Proxy, Way};
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Value;
use strings_queue::store::{Body, load_body};

#[tokio::test]
async fn small_ones_come_with_the_claim_and_large_ones_are_loaded() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY body LONGBLOB NULL").await;
    let bytes = |length: usize| (0..=255u8).cycle().take(length).collect::<Vec<u8>>();
    let sizes = [0, 1, 256, 32 * 1024, 32 * 1024 + 1, 3_000_000];
    let mut keys = vec![job().set("body", Value::NULL).insert(&database).await];
    for size in sizes {
        keys.push(job().body(bytes(size)).insert(&database).await);
    }
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    assert_eq!(claimed[0].body, Body::Absent);
    for (job, size) in claimed[1..].iter().zip(sizes) {
        match &job.body {
            Body::Here(found) => assert!(size <= 32 * 1024 && *found == bytes(size), "{size}"),
            Body::InTable(length) => {
                assert!(size > 32 * 1024 && usize::try_from(*length).unwrap() == size);
                assert_eq!(load_body(&mut session, job).await.unwrap(), Some(bytes(size)));
            }
            Body::Absent => panic!("a body of {size} bytes is absent"),
        }
    }
    database.execute("UPDATE queued_job SET claim_token = 1, state = 'cancelled'").await;
    assert_eq!(load_body(&mut session, &claimed[6]).await.unwrap(), None, "not ours any more");
}

#[tokio::test]
async fn texts_are_sent_as_utf_8_whatever_the_column_is() {
    let database = TestDatabase::with_schema().await;
    let key = job().body("größer 🦀").method("PÖST").url("http://x/ü").insert(&database).await;
    let claimed = claim_all(&mut session(&database), "me", &[key]).await.remove(0);
    assert_eq!(claimed.body, Body::Here("größer 🦀".into()));
    assert_eq!((claimed.method.as_str(), claimed.url.as_str()), ("PÖST", "http://x/ü"));
}

#[tokio::test]
async fn a_claim_reads_no_more_of_a_url_than_tells_that_it_is_too_long() {
    let database = TestDatabase::with_schema().await;
    let url = format!("http://x/{}", "ü".repeat(1_000_000));
    let keys = [job().url(&url).insert(&database).await, job().url(&url[..65_535]).insert(&database).await];
    let claimed = claim_all(&mut session(&database), "me", &keys).await;
    assert_eq!(claimed[0].url.chars().count(), 65_535);
    assert!(url.starts_with(&claimed[0].url));
    assert_eq!(claimed[1].url, url[..65_535]);
}

/// Over a thin line it would never come: each time it would be given back, and never fail.
#[tokio::test]
async fn one_that_does_not_come_in_time_costs_a_try() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let proxy = Proxy::start(database.server().address()).await;
    let stalls = (CutPoint::BeforeAnswer, Fault::Becomes(Mode::Stall, SOON));
    let loading = proxy.fault_on(Way::ToServer, b"SELECT body FROM", stalls);
    let grace = "ssl_mode: disabled\n[dispatch]\nclaim_grace_secs: 6\n[sweep]\ninterval_secs: 3600\n";
    let _service = Service::run(&database.ini_at(proxy.port(), grace));
    let id = job().url(receiver.url("/")).body("x".repeat(40_000)).retry_delay(0).insert(&database).await;
    until("it is done", SOON, async || state(&database, id).await == "completed").await;
    assert!(loading.has_sprung());
    let told =
        format!("SELECT COUNT(*) FROM queued_job_log WHERE job_id = {id} AND msg LIKE '%the body did not come%'");
    let tries = format!("SELECT attempt, remaining_retries FROM queued_job WHERE id = {id}");
    assert_eq!(database.query_one::<u64>(&told).await, 1);
    assert_eq!(database.query_one::<(u32, i32)>(&tries).await, (2, 4));
    assert_eq!(receiver.count(), 1);
}

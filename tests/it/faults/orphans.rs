//! Watches for jobs that are executing without a live owner, all through a scenario.

use crate::support::database::TestDatabase;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running watch.
pub struct OrphanWatch {
    times: Arc<Mutex<Times>>,
    task: JoinHandle<()>,
}

/// The longest that was seen, and how many claims were.
#[derive(Debug, Default, Clone, Copy)]
struct Times {
    standing: Duration,
    untouched: Duration,
    claims: usize,
}

/// The claims that an owner left behind when it died.
#[derive(Debug)]
struct Estate {
    since: Instant,
    claims: usize,
    begun: bool,
}

impl OrphanWatch {
    /// Watches from now on.
    pub fn start(database: &TestDatabase) -> OrphanWatch {
        let times = Arc::<Mutex<Times>>::default();
        let opts = database.server().opts(Some(database.name()));
        let task = tokio::spawn(watch(opts, Arc::clone(&times)));
        OrphanWatch { times, task }
    }

    /// The longest time that one claim stood in its row while the lock of its owner was free.
    pub fn longest(&self) -> Duration {
        self.times.lock().unwrap().standing
    }

    /// How many claims were seen without their owner; a claim is one job's.
    pub fn claims(&self) -> usize {
        self.times.lock().unwrap().claims
    }

    /// The longest time from an owner's death until a rescue took the first claims back, its own or those of others.
    pub fn longest_to_begin(&self) -> Duration {
        self.times.lock().unwrap().untouched
    }
}

impl Drop for OrphanWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(opts: mysql_async::Opts, times: Arc<Mutex<Times>>) {
    let (mut since, mut estates) = (HashMap::new(), HashMap::new());
    let mut conn = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some((found, used)) = look(conn.take(), &opts).await else {
            // The database is away: nobody can rescue.
            since.clear();
            estates.clear();
            continue;
        };
        conn = Some(used);
        let now = Instant::now();
        let untouched = oldest_untouched(&mut estates, &found, now);
        let claims = found.into_iter().map(|(id, token, _)| (id, token));
        let before = std::mem::take(&mut since);
        since = claims.map(|claim| (claim, before.get(&claim).copied().unwrap_or(now))).collect();
        let new = since.keys().filter(|claim| !before.contains_key(claim)).count();
        let standing = since.values().map(|since| now - *since).max().unwrap_or_default();
        let mut times = times.lock().unwrap();
        *times = Times {
            standing: standing.max(times.standing),
            untouched: untouched.max(times.untouched),
            claims: times.claims + new,
        };
    }
}

/// How long the estate has been there that nobody has begun to take back for the longest time.
fn oldest_untouched(estates: &mut HashMap<String, Estate>, found: &[Claim], now: Instant) -> Duration {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, _, owner) in found {
        *counts.entry(owner).or_default() += 1;
    }
    // One rescue is for all, and takes thousands of claims back in the order of their jobs.
    let left = |owner: &String| counts.get(owner.as_str()).copied().unwrap_or(0);
    let begun = estates.iter().any(|(owner, estate)| left(owner) < estate.claims);
    for estate in estates.values_mut() {
        estate.begun |= begun;
    }
    estates.retain(|owner, _| counts.contains_key(owner.as_str()));
    for (owner, claims) in counts {
        // A last statement of the dead may still have been at work, so that there are more than at first.
        estates.entry(owner.to_owned()).or_insert(Estate { since: now, claims, begun: false }).claims = claims;
    }
    let untouched = estates.values().filter(|estate| !estate.begun).map(|estate| now - estate.since);
    untouched.max().unwrap_or_default()
}

/// A row's id, its claim's token and its owner.
type Claim = (u64, u64, String);

async fn look(conn: Option<Conn>, opts: &mysql_async::Opts) -> Option<(Vec<Claim>, Conn)> {
    let mut conn = match conn {
        Some(conn) => conn,
        None => Conn::new(opts.clone()).await.ok()?,
    };
    let sql =
        "SELECT id, claim_token, claimed_by FROM queued_job WHERE state = 'executing' AND IS_FREE_LOCK(claimed_by) = 1";
    Some((conn.query(sql).await.ok()?, conn))
}

#[test]
fn an_estate_is_untouched_until_the_first_of_its_claims_is_gone() {
    let claims = |names: &[&str]| names.iter().map(|name| (1, 1, (*name).to_owned())).collect::<Vec<Claim>>();
    let (start, mut estates) = (Instant::now(), HashMap::new());
    let mut after =
        |secs: u64, names: &[&str]| oldest_untouched(&mut estates, &claims(names), start + Duration::from_secs(secs));
    assert_eq!(after(0, &["a", "a"]), Duration::ZERO);
    assert_eq!(after(1, &["a", "a", "a", "b"]), Duration::from_secs(1));
    assert_eq!(after(2, &["a", "a", "a", "b"]), Duration::from_secs(2));
    assert_eq!(after(3, &["a", "a", "b"]), Duration::ZERO, "a rescue has begun, and goes on with b");
    assert_eq!(after(4, &["a", "a"]), Duration::ZERO);
    assert_eq!(after(5, &["a", "a", "b"]), Duration::ZERO, "another death of b");
    assert_eq!(after(6, &["a", "a", "b"]), Duration::from_secs(1));
}

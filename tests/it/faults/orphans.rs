//! Watches for jobs that are executing without a live owner, all through a scenario.

use super::SETTLES;
use crate::support::database::TestDatabase;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// A look that takes longer finds the database hanging.
const HUNG: Duration = Duration::from_secs(1);
/// The lock of the dead is held for a moment by whoever waited for it; the living hold theirs for more looks than these.
/// Of an owner that has no claims for a moment, nothing is seen.
const HELD_FOR_A_MOMENT: u32 = 3;
/// All claims, whether the locks of their owners are free, and whether they expired longer ago than a rescue takes.
const CLAIMS: &str = "SELECT id, claim_token, claimed_by, IS_FREE_LOCK(claimed_by) = 1, \
                      claim_expires_at < NOW(6) - INTERVAL 3 SECOND FROM queued_job WHERE state = 'executing'";
/// In which clocks are never put back.
const UTC: &str = "SET SESSION time_zone = '+00:00'";
/// A dispatcher that lives has a connection that waits for a lock: its own, or that of another.
const LIVING: &str =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'";

/// A running watch. Its clocks run while the database answers and a dispatcher is alive: else nobody can rescue.
#[derive(Debug)]
pub struct OrphanWatch {
    times: Arc<Mutex<Times>>,
    task: JoinHandle<()>,
}

/// The longest that was seen, and how many claims were.
#[derive(Debug, Default, Clone, Copy)]
struct Times {
    standing: Duration,
    free: Duration,
    untouched: Duration,
    untouched_by_looks: Duration,
    claims: usize,
    outstayed: usize,
}

/// The claims that an owner left behind when it died.
#[derive(Debug)]
struct Estate {
    since: Instant,
    claims: usize,
    begun: bool,
}

/// Waits until all dispatchers have ended, and any watch has seen that.
pub(super) async fn until_nobody_lives(database: &TestDatabase) {
    until("nobody lives", SETTLES, async || database.query_one::<u64>(LIVING).await == 0).await;
    tokio::time::sleep(6 * PAUSE).await;
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

    /// The longest time that a lock was free whose owner had claims; which ones changed meanwhile, where the owner lived.
    pub fn longest_free(&self) -> Duration {
        self.times.lock().unwrap().free
    }

    /// How many claims were seen without their owner; a claim is one job's.
    pub fn claims(&self) -> usize {
        self.times.lock().unwrap().claims
    }

    /// How often a claim was seen that had expired, whoever its owner, and that a dispatcher should have taken back.
    pub fn outstayed(&self) -> usize {
        self.times.lock().unwrap().outstayed
    }

    /// The longest time from an owner's death until a rescue took the first claims back, its own or those of others.
    pub fn longest_to_begin(&self) -> Duration {
        self.times.lock().unwrap().untouched
    }

    /// The same by the number of looks, which take longer, as a rescue does, where the machine has more to do than it can.
    pub fn longest_to_begin_by_looks(&self) -> Duration {
        self.times.lock().unwrap().untouched_by_looks
    }
}

impl Drop for OrphanWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(opts: mysql_async::Opts, times: Arc<Mutex<Times>>) {
    let (mut dead, mut since, mut estates) = (Dead::default(), HashMap::new(), HashMap::new());
    let mut estates_by_looks = HashMap::new();
    let (mut conn, mut by_looks) = (None, Instant::now());
    loop {
        tokio::time::sleep(PAUSE).await;
        by_looks += PAUSE;
        let begun = Instant::now();
        let looked = look(conn.take(), &opts).await;
        if looked.is_none() {
            // No lock outlives its server.
            dead = Dead::default();
        }
        let Some((Looks { found, outstayed }, used)) = looked.filter(|_| begun.elapsed() < HUNG) else {
            // The database is away: nobody can rescue.
            since.clear();
            estates.clear();
            estates_by_looks.clear();
            continue;
        };
        conn = Some(used);
        let now = Instant::now();
        let found = dead.claims(found, now);
        let untouched = oldest_untouched(&mut estates, &found, now);
        let untouched_by_looks = oldest_untouched(&mut estates_by_looks, &found, by_looks);
        let claims = found.into_iter().map(|(id, token, _)| (id, token));
        let before = std::mem::take(&mut since);
        since = claims.map(|claim| (claim, before.get(&claim).copied().unwrap_or(now))).collect();
        let new = since.keys().filter(|claim| !before.contains_key(claim)).count();
        let standing = since.values().map(|since| now - *since).max().unwrap_or_default();
        let mut times = times.lock().unwrap();
        *times = Times {
            standing: standing.max(times.standing),
            free: dead.longest_free(now).max(times.free),
            untouched: untouched.max(times.untouched),
            untouched_by_looks: untouched_by_looks.max(times.untouched_by_looks),
            claims: times.claims + new,
            outstayed: times.outstayed + outstayed,
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
/// The same, and whether the owner's lock is free.
type Looked = (u64, u64, String, bool);

/// What a look found: all claims, and how many had expired too long ago.
#[derive(Default)]
struct Looks {
    found: Vec<Looked>,
    outstayed: usize,
}

/// The owners whose lock was free.
#[derive(Default)]
struct Dead(HashMap<String, Free>);

/// Since when a lock is free, and how many looks in a row since then did not find it so.
struct Free {
    since: Instant,
    held: u32,
}

impl Dead {
    /// The claims whose owners are not alive.
    fn claims(&mut self, looked: Vec<Looked>, now: Instant) -> Vec<Claim> {
        let locks: HashMap<&str, bool> = looked.iter().map(|(_, _, owner, free)| (owner.as_str(), *free)).collect();
        self.0.retain(|owner, free| {
            free.held = if locks.get(owner.as_str()) == Some(&true) { 0 } else { free.held + 1 };
            free.held < HELD_FOR_A_MOMENT
        });
        for (owner, _) in locks.into_iter().filter(|(_, free)| *free) {
            self.0.entry(owner.to_owned()).or_insert(Free { since: now, held: 0 });
        }
        let claims = looked.into_iter().filter(|(_, _, owner, _)| self.0.contains_key(owner));
        claims.map(|(id, token, owner, _)| (id, token, owner)).collect()
    }

    fn longest_free(&self, now: Instant) -> Duration {
        let free = self.0.values().filter(|free| free.held == 0);
        free.map(|free| now - free.since).max().unwrap_or_default()
    }
}

async fn look(conn: Option<Conn>, opts: &mysql_async::Opts) -> Option<(Looks, Conn)> {
    if let Some(conn) = conn
        && let Some(found) = find(conn).await
    {
        return Some(found);
    }
    // Its connection may have been killed with all others, which is no outage.
    let mut new = Conn::new(opts.clone()).await.ok()?;
    new.query_drop(UTC).await.ok()?;
    find(new).await
}

/// All claims, while a dispatcher is alive that could take some of them back.
async fn find(mut conn: Conn) -> Option<(Looks, Conn)> {
    let claims: Vec<(u64, u64, String, bool, bool)> = conn.query(CLAIMS).await.ok()?;
    let outstayed = claims.iter().filter(|(.., outstayed)| *outstayed).count();
    let found: Vec<Looked> = claims.into_iter().map(|(id, token, owner, free, _)| (id, token, owner, free)).collect();
    let needs_a_rescue = outstayed > 0 || found.iter().any(|(.., free)| *free);
    if needs_a_rescue && conn.query_first::<u64, _>(LIVING).await.ok()?? == 0 {
        return Some((Looks::default(), conn));
    }
    Some((Looks { found, outstayed }, conn))
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

#[test]
fn an_owner_whose_lock_was_free_is_dead_until_the_lock_is_held_for_good() {
    let (mut dead, mut now) = (Dead::default(), Instant::now());
    let mut after = |free: bool| {
        now += PAUSE;
        let claims = dead.claims(vec![(1, 1, "a".to_owned(), free), (2, 2, "b".to_owned(), false)], now);
        (claims.len(), dead.longest_free(now).as_millis() / PAUSE.as_millis())
    };
    let looks = [false, true, false, false, true, false, false, false, false, true];
    let expected = [(0, 0), (1, 0), (1, 0), (1, 0), (1, 3), (1, 0), (1, 0), (0, 0), (0, 0), (1, 0)];
    assert_eq!(looks.map(&mut after), expected);
}

//! The store's statements, held to the moves of `src/job/moves.rs`: each is run from every standing that a row can
//! have, and the row is compared with what the move says. A row that the move leaves alone stays the same in all
//! its columns; of one that it moves, each column is what the move makes of it, or what it was.

use crate::support::database::TestDatabase;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use strings_queue::config::Config;
use strings_queue::job::{Attempt, Conclusion, JobId, JobState, ResultCode, Standing};
use strings_queue::store::{
    ClaimTerms, ClaimToken, Finished, HistoryLine, Session, Store, claim, finish, release, rescue,
};

/// More rows than this would make a test slow.
const MOST_ROWS: usize = 1_500;

/// What a move makes of the columns that its model does not look at, in SQL: `was` is the row before it. A column that is
/// not named must be what it was.
type Changes = [(&'static str, &'static str)];

/// The columns that no model looks at.
const MORE: [&str; 13] = [
    "organization_id",
    "http_method",
    "url",
    "body",
    "timeout_secs",
    "last_started_at",
    "last_finished_at",
    "last_response",
    "retry_delay_secs",
    "run_at",
    "claimed_by",
    "claim_expires_at",
    "created_at",
];

const JUST_NOW: &str = "BETWEEN NOW() - INTERVAL 50 SECOND AND NOW()";

/// A row to be, and the sort of circumstances it is in.
#[derive(Debug, Clone, Copy)]
struct Case<C> {
    standing: Standing,
    circumstances: C,
}

/// The try that is finished: a row that is on a later one under the same token was claimed by a statement that came late.
const FIRST: Attempt = Attempt(1);

/// The columns of a standing, in its order.
type StandingRow = (String, u32, i32, Option<i32>, Option<u64>);

/// The rows of one test: `rows[n]` has the id `n + 1`.
struct Rows<C> {
    database: TestDatabase,
    session: Session,
    cases: Vec<Case<C>>,
    before: Vec<String>,
}

/// Every state, a first, a second and no try, retries below, at and above none, and these tokens.
fn standings(tokens: &[Option<u64>]) -> Vec<Standing> {
    let mut all = Vec::new();
    for state in JobState::ALL {
        for attempt in [0, 1, 2].map(Attempt) {
            for remaining_retries in [-2, -1, 0, 1] {
                for token in tokens {
                    let result_code = (attempt.0 > 1).then_some(ResultCode::TemporaryFailure);
                    all.push(Standing { state, attempt, remaining_retries, result_code, token: *token });
                }
            }
        }
    }
    all
}

fn crossed<C: Copy>(standings: &[Standing], circumstances: &[C]) -> Vec<Case<C>> {
    let all = standings.iter().flat_map(|standing| {
        circumstances.iter().map(|circumstances| Case { standing: *standing, circumstances: *circumstances })
    });
    all.collect()
}

/// A database with the tables, a session of the store, and a token that is really drawn, with its number.
async fn stage() -> (TestDatabase, Session, ClaimToken, u64) {
    let database = TestDatabase::with_schema().await;
    let config = Config::load(&database.ini(""), &|_| None).unwrap();
    let mut session = Store::new(&config.database).session();
    let token = ClaimToken::draw();
    database.execute("INSERT INTO queued_job (http_method, url) VALUES ('post', 'http://a/')").await;
    assert_eq!(claim(&mut session, &terms(), token, &[JobId(1)]).await.unwrap().jobs.len(), 1);
    let number = database.query_one("SELECT claim_token FROM queued_job").await;
    database.execute("TRUNCATE queued_job").await;
    (database, session, token, number)
}

fn terms() -> ClaimTerms {
    ClaimTerms { dispatcher: "moves".to_owned(), grace: Duration::from_secs(9), max_timeout_secs: 60 }
}

impl<C: Copy + std::fmt::Debug> Rows<C> {
    /// Inserts a row for each case; `columns` are those of its circumstances, with their SQL.
    async fn insert(
        (database, session): (TestDatabase, Session),
        cases: Vec<Case<C>>,
        columns: impl Fn(&C) -> [(&'static str, String); 3],
    ) -> Rows<C> {
        assert!(cases.len() <= MOST_ROWS, "{} rows", cases.len());
        let names: Vec<&str> = columns(&cases[0].circumstances).iter().map(|(name, _)| *name).collect();
        let values: Vec<String> =
            cases.iter().map(|case| values(&case.standing, &columns(&case.circumstances))).collect();
        let sql = format!(
            "INSERT INTO queued_job (organization_id, http_method, url, body, last_started_at, last_finished_at, \
             last_response, state, attempt, remaining_retries, result_code, claim_token, {}) VALUES {}; \
             CREATE TABLE was AS SELECT * FROM queued_job",
            names.join(", "),
            values.join(", ")
        );
        database.execute(&sql).await;
        let mut rows = Rows { database, session, cases, before: Vec::new() };
        rows.before = rows.texts().await;
        rows
    }

    fn ids(&self) -> Vec<JobId> {
        (1..=self.cases.len() as u64).map(JobId).collect()
    }

    /// Every column of every row as a text.
    async fn texts(&self) -> Vec<String> {
        let sql = "SELECT CONCAT_WS('|', id, state, attempt, remaining_retries, retry_delay_secs, \
                   COALESCE(result_code, '-'), COALESCE(claim_token, '-'), COALESCE(claimed_by, '-'), \
                   COALESCE(claim_expires_at, '-'), run_at, COALESCE(last_started_at, '-'), \
                   COALESCE(last_finished_at, '-'), COALESCE(last_response, '-'), url, http_method) \
                   FROM queued_job ORDER BY id";
        self.database.query(sql).await
    }

    async fn standings(&self) -> Vec<Standing> {
        let sql = "SELECT CAST(state AS CHAR), attempt, remaining_retries, result_code, claim_token \
                   FROM queued_job ORDER BY id";
        let rows: Vec<StandingRow> = self.database.query(sql).await;
        let read = |(state, attempt, remaining_retries, code, token): StandingRow| Standing {
            state: JobState::from_name(&state).unwrap(),
            attempt: Attempt(attempt),
            remaining_retries,
            result_code: code.map(result_code),
            token,
        };
        rows.into_iter().map(read).collect()
    }

    /// Compares all rows with what the move says of each. Both must happen: moves, and rows left alone.
    async fn compare(&self, changes: &Changes, moved: impl Fn(&Case<C>) -> Option<Standing>) {
        let (after, texts) = (self.standings().await, self.texts().await);
        let wrong = self.wrongly_changed(changes).await;
        let mut counts = [0, 0];
        for (number, case) in self.cases.iter().enumerate() {
            let expected = moved(case);
            counts[usize::from(expected.is_some())] += 1;
            match expected {
                Some(expected) => {
                    assert_eq!(after[number], expected, "{case:?}");
                    assert_eq!(wrong[number], "", "{case:?}: {}", texts[number]);
                }
                None => assert_eq!(texts[number], self.before[number], "left alone: {case:?}"),
            }
        }
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    }

    /// Which columns of each row are not what the move makes of them.
    async fn wrongly_changed(&self, changes: &Changes) -> Vec<String> {
        let right = |column: &&str| match changes.iter().find(|(changed, _)| changed == column) {
            Some((_, becomes)) => format!("job.{column} {becomes}"),
            None => format!("job.{column} <=> was.{column}"),
        };
        let wrong: Vec<String> = MORE.iter().map(|column| format!("IF({}, NULL, '{column}')", right(column))).collect();
        let sql = format!(
            "SELECT CONCAT_WS(' ', {}) FROM queued_job AS job JOIN was ON job.id = was.id ORDER BY job.id",
            wrong.join(", ")
        );
        self.database.query(&sql).await
    }
}

fn values(standing: &Standing, columns: &[(&'static str, String); 3]) -> String {
    let number = |value: Option<u64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let more: Vec<&str> = columns.iter().map(|(_, sql)| sql.as_str()).collect();
    format!(
        "(7, 'post', 'http://a/', 'x', NOW() - INTERVAL 100 SECOND, NOW() - INTERVAL 90 SECOND, 'before', \
         '{}', {}, {}, {}, {}, {})",
        standing.state.as_str(),
        standing.attempt,
        standing.remaining_retries,
        number(standing.result_code.map(|code| code as u64)),
        number(standing.token),
        more.join(", ")
    )
}

fn result_code(code: i32) -> ResultCode {
    let all = [ResultCode::Success, ResultCode::PermanentFailure, ResultCode::TemporaryFailure];
    all.into_iter().find(|known| *known as i32 == code).unwrap()
}

/// A claim that still holds.
fn held() -> [(&'static str, String); 3] {
    [
        ("run_at", "NOW(6) - INTERVAL 60 SECOND".to_owned()),
        ("claimed_by", "'moves'".to_owned()),
        ("claim_expires_at", "NOW(6) + INTERVAL 600 SECOND".to_owned()),
    ]
}

/// A row that is locked by a transaction of another session, which inserts it; its end takes it away.
const LOCKED: u64 = 9_999;

async fn lock_a_row(database: &TestDatabase) -> Conn {
    let mut conn = database.conn().await;
    let insert = format!("INSERT INTO queued_job (id, http_method, url) VALUES ({LOCKED}, 'post', 'a')");
    conn.query_drop(format!("START TRANSACTION; {insert}")).await.unwrap();
    conn
}

/// The ways in which rows are claimed, each by statements of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claiming {
    Together,
    Alone,
    BesideALockedOne,
}

#[tokio::test]
async fn a_claim_moves_rows_as_the_model_says() {
    claim_moves_rows(Claiming::Together).await;
}

#[tokio::test]
async fn lone_claims_move_rows_as_the_model_says() {
    claim_moves_rows(Claiming::Alone).await;
}

#[tokio::test]
async fn a_claim_beside_a_locked_row_moves_rows_as_the_model_says() {
    claim_moves_rows(Claiming::BesideALockedOne).await;
}

async fn claim_moves_rows(way: Claiming) {
    let (database, session, token, number) = stage().await;
    let cases = crossed(&standings(&[None, Some(number), Some(7)]), &[true, false]);
    let columns = |due: &bool| {
        let sign = if *due { '-' } else { '+' };
        let [_, by, expires] = held();
        [("run_at", format!("NOW(6) {sign} INTERVAL 600 SECOND")), by, expires]
    };
    let mut rows = Rows::insert((database, session), cases, columns).await;
    let (ids, mut asked, mut lock) = (rows.ids(), rows.ids(), None);
    if way == Claiming::BesideALockedOne {
        lock = Some(lock_a_row(&rows.database).await);
        asked.push(JobId(LOCKED));
    }
    let mut jobs = Vec::new();
    for batch in asked.chunks(if way == Claiming::Alone { 1 } else { asked.len() }) {
        let claim = claim(&mut rows.session, &terms(), token, batch).await.unwrap();
        jobs.extend(claim.jobs);
    }
    drop(lock);
    let expires = "BETWEEN NOW(6) + INTERVAL 19 SECOND AND NOW(6) + INTERVAL 69 SECOND";
    let changes = [("claimed_by", "= 'moves'"), ("last_started_at", JUST_NOW), ("claim_expires_at", expires)];
    rows.compare(&changes, |case| case.standing.claim(number, case.circumstances)).await;
    // What is told as ours is what is executing under our token: those claimed now, and those claimed before.
    let told: Vec<(JobId, Attempt, i32)> =
        jobs.iter().map(|job| (job.id, job.attempt, job.remaining_retries)).collect();
    let all = rows.standings().await.into_iter().zip(&ids);
    let ours: Vec<(JobId, Attempt, i32)> = all
        .filter(|(row, _)| row.state == JobState::Executing && row.token == Some(number))
        .map(|(row, id)| (*id, row.attempt, row.remaining_retries))
        .collect();
    assert_eq!(told, ours, "{way:?}");
}

/// What a finish changes.
fn finished(conclusion: &Conclusion) -> Vec<(&'static str, &'static str)> {
    let mut changes =
        vec![("last_finished_at", JUST_NOW), ("last_response", "= 'ok'"), ("claim_expires_at", "IS NULL")];
    if conclusion.retry_in.is_some() {
        changes.push(("run_at", "BETWEEN NOW(6) + INTERVAL 10 SECOND AND NOW(6) + INTERVAL 60 SECOND"));
    }
    changes
}

/// Every conclusion that a call can have.
fn conclusions() -> [Conclusion; 4] {
    let conclusion = |state, result_code, retry_in| Conclusion {
        state,
        result_code,
        retry_in,
        new_retry_delay_secs: None,
        new_url: None,
    };
    [
        conclusion(JobState::Completed, ResultCode::Success, None),
        conclusion(JobState::Discarded, ResultCode::PermanentFailure, None),
        conclusion(JobState::Discarded, ResultCode::TemporaryFailure, None),
        conclusion(JobState::Retryable, ResultCode::TemporaryFailure, Some(Duration::from_secs(60))),
    ]
}

fn batch(ids: &[JobId], token: ClaimToken, conclusion: &Conclusion) -> Vec<Finished> {
    let one = |id: &JobId| Finished {
        id: *id,
        token,
        attempt: FIRST,
        conclusion: conclusion.clone(),
        response: "ok".to_owned(),
    };
    ids.iter().map(one).collect()
}

#[tokio::test]
async fn a_finish_moves_rows_as_the_model_says_and_refuses_the_rest() {
    for conclusion in conclusions() {
        let (database, session, token, number) = stage().await;
        // Whether the claim was ended, as by a result: who else changes the state leaves that as it was.
        let cases = crossed(&standings(&[None, Some(number), Some(7)]), &[true, false]);
        let columns = |ended: &bool| {
            let mut columns = held();
            if *ended {
                columns[2].1 = "NULL".to_owned();
            }
            columns
        };
        let mut rows = Rows::insert((database, session), cases, columns).await;
        let mut all = batch(&rows.ids(), token, &conclusion);
        let report = finish(&mut rows.session, &mut all, &[]).await.unwrap();
        rows.compare(&finished(&conclusion), |case| case.standing.finish((number, FIRST), &conclusion)).await;
        let refused = |case: &Case<bool>| {
            let written = case.circumstances && case.standing.has_result(number, &conclusion);
            case.standing.finish((number, FIRST), &conclusion).is_none() && !written
        };
        let expected = rows.cases.iter().zip(rows.ids()).filter(|(case, _)| refused(case)).map(|(_, id)| id);
        assert_eq!(report.refused, expected.collect::<Vec<JobId>>(), "{conclusion:?}");
    }
}

#[tokio::test]
async fn a_finish_of_rows_that_are_all_ours_moves_them_in_one_go_and_sent_again_moves_nothing() {
    for conclusion in conclusions() {
        let (database, session, token, number) = stage().await;
        let cases = crossed(&standings(&[Some(number), None]), &[()]);
        let mut rows = Rows::insert((database, session), cases, |()| held()).await;
        let ours = |(case, _): &(&Case<()>, JobId)| case.standing.finish((number, FIRST), &conclusion).is_some();
        let ids: Vec<JobId> = rows.cases.iter().zip(rows.ids()).filter(ours).map(|(_, id)| id).collect();
        for _ in 0..2 {
            let report = finish(&mut rows.session, &mut batch(&ids, token, &conclusion), &[]).await.unwrap();
            assert!(report.refused.is_empty(), "{conclusion:?}: {report:?}");
            rows.compare(&finished(&conclusion), |case| case.standing.finish((number, FIRST), &conclusion)).await;
        }
    }
}

#[tokio::test]
async fn a_release_moves_rows_as_the_model_says() {
    release_moves_rows(false).await;
}

#[tokio::test]
async fn a_release_beside_a_locked_row_moves_rows_as_the_model_says() {
    release_moves_rows(true).await;
}

async fn release_moves_rows(beside_a_locked_one: bool) {
    let (database, session, token, number) = stage().await;
    let cases = crossed(&standings(&[None, Some(number), Some(7)]), &[()]);
    let mut rows = Rows::insert((database, session), cases, |()| held()).await;
    let mut claims: Vec<(JobId, ClaimToken)> = rows.ids().into_iter().map(|id| (id, token)).collect();
    let mut lock = None;
    if beside_a_locked_one {
        lock = Some(lock_a_row(&rows.database).await);
        claims.push((JobId(LOCKED), token));
    }
    let line = |id: &JobId| HistoryLine { job: *id, message: format!("it's job {id}"), at_micros: None };
    let lines: Vec<HistoryLine> = rows.ids().iter().map(line).collect();
    release(&mut rows.session, &claims, &lines).await.unwrap();
    drop(lock);
    let changes = [
        ("claimed_by", "IS NULL"),
        ("claim_expires_at", "IS NULL"),
        ("last_started_at", "<=> IF(was.attempt > 1, was.last_finished_at, NULL)"),
    ];
    rows.compare(&changes, |case| case.standing.release(number)).await;
    let told: Vec<(u64, String)> = rows.database.query("SELECT job_id, msg FROM queued_job_log ORDER BY job_id").await;
    let given = rows.cases.iter().zip(rows.ids()).filter(|(case, _)| case.standing.release(number).is_some());
    let expected: Vec<(u64, String)> = given.map(|(_, id)| (id.0, format!("it's job {id}"))).collect();
    assert_eq!(told, expected, "lines of what was given back, and of no other");
}

/// What a row says of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnerSays {
    /// A name whose lock is held, and a claim that holds.
    Lives,
    /// The same, and the claim has expired.
    Outstayed,
    /// A name whose lock is free, and is known to stay so.
    Died,
    /// A name whose lock is free at this moment.
    Unlocked,
    /// A name that no lock can have.
    Empty,
    /// No name.
    Nobody,
    /// A name whose lock is held, and no end of the claim.
    NoEnd,
}

const OWNERS: [OwnerSays; 7] = [
    OwnerSays::Lives,
    OwnerSays::Outstayed,
    OwnerSays::Died,
    OwnerSays::Unlocked,
    OwnerSays::Empty,
    OwnerSays::Nobody,
    OwnerSays::NoEnd,
];

impl OwnerSays {
    fn is_gone(self) -> bool {
        !matches!(self, OwnerSays::Lives | OwnerSays::Unlocked)
    }
}

const DIED: &str = "moves-died";

fn owner_columns(owner: OwnerSays, alive: &str) -> [(&'static str, String); 3] {
    let name = match owner {
        OwnerSays::Died => format!("'{DIED}'"),
        OwnerSays::Unlocked => "'moves-unlocked'".to_owned(),
        OwnerSays::Empty => "''".to_owned(),
        OwnerSays::Nobody => "NULL".to_owned(),
        _ => format!("'{alive}'"),
    };
    let expires = match owner {
        OwnerSays::Outstayed => "NOW(6) - INTERVAL 1 SECOND",
        OwnerSays::NoEnd => "NULL",
        _ => "NOW(6) + INTERVAL 600 SECOND",
    };
    [("run_at", "NOW(6)".to_owned()), ("claimed_by", name), ("claim_expires_at", expires.to_owned())]
}

/// A name, and the connection that holds its lock.
async fn living_owner(database: &TestDatabase) -> (String, Conn) {
    let name = format!("moves-{}", database.name());
    let mut conn = database.conn().await;
    let taken: Option<i64> = conn.query_first(format!("SELECT GET_LOCK('{name}', 5)")).await.unwrap();
    assert_eq!(taken, Some(1));
    (name, conn)
}

/// A job that may be tried again is due at once; one that is given up tells why.
const RESCUED: [(&str, &str); 5] = [
    ("claimed_by", "IS NULL"),
    ("claim_expires_at", "IS NULL"),
    ("run_at", "= IF(job.state = 'discarded', was.run_at, GREATEST(was.run_at, job.run_at)) AND job.run_at <= NOW(6)"),
    (
        "last_finished_at",
        "BETWEEN IF(job.state = 'discarded', NOW() - INTERVAL 50 SECOND, was.last_finished_at) \
      AND IF(job.state = 'discarded', NOW(), was.last_finished_at)",
    ),
    ("last_response", "= IF(job.state = 'discarded', '(its dispatcher ended without a result)', was.last_response)"),
];

#[tokio::test]
async fn a_rescue_moves_rows_as_the_model_says() {
    let (database, session, _, number) = stage().await;
    let (alive, lock) = living_owner(&database).await;
    let cases = crossed(&standings(&[Some(number), None]), &OWNERS);
    let mut rows = Rows::insert((database, session), cases, |owner| owner_columns(*owner, &alive)).await;
    // One that was taken for dead and lives keeps its jobs: its lock is looked at again.
    let taken = rescue(&mut rows.session, &[DIED.to_owned(), alive], JobId(0)).await.unwrap().jobs;
    let moved = |case: &Case<OwnerSays>| case.standing.rescue(case.circumstances.is_gone());
    rows.compare(&RESCUED, moved).await;
    let expected = rows.cases.iter().zip(rows.ids()).filter(|(case, _)| moved(case).is_some()).map(|(_, id)| id);
    assert_eq!(taken, expected.collect::<Vec<JobId>>());
    drop(lock);
}

#[tokio::test]
async fn the_users_cancel_moves_rows_as_the_model_says() {
    let (database, session, _, number) = stage().await;
    let unfinished = standings(&[None, Some(number)]).into_iter().filter(|row| !row.state.is_final());
    let finished = standings(&[Some(number)]).into_iter().filter(|row| row.state == JobState::Cancelled);
    let cases = crossed(&unfinished.chain(finished).collect::<Vec<Standing>>(), &[()]);
    let rows = Rows::insert((database, session), cases, |()| held()).await;
    rows.database.execute("UPDATE queued_job SET state = 'cancelled'").await;
    rows.compare(&[], |case| case.standing.cancel()).await;
}

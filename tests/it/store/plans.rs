//! Each statement of the store, as the server got it, is explained on a table of 100,000 rows.

use super::crowd::{Crowd, some};
use super::finish::{failed_for_now, finish_all, finished, line};
use super::{claim_all, claim_as, ids, store};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::server::OwnServer;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::time::Duration;
use strings_queue::job::{JobId, JobState};
use strings_queue::store::{
    PageEnd, Session, load_body, read_backlog, read_columns, read_owners, read_schema_state, read_urls, release, rescue,
};

const CROWD: Crowd = Crowd { finished: 90_000, available: 5_000, retryable: 4_500, executing: 500 };
const HOUR: Duration = Duration::from_secs(3600);

/// A server that writes down every statement, a crowded table, and the session whose statements are looked at.
struct Watch {
    database: TestDatabase,
    session: Session,
    explaining: Conn,
    _server: OwnServer,
}

/// What one deed did.
struct Deed {
    statements: Vec<String>,
    /// How many rows the storage engine was asked for.
    rows_read: u64,
}

impl Watch {
    async fn on_a_crowded_table() -> Watch {
        let server =
            OwnServer::start(&["--log-output=TABLE", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"]).await;
        let database = TestDatabase::with_schema_on(server.access()).await;
        CROWD.fill(&database).await;
        database.execute("SET GLOBAL general_log = 1").await;
        let mut explaining = database.conn().await;
        // As the store's sessions have it: a time of zero is one to compare with.
        let mode = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
        explaining.query_drop(mode).await.unwrap();
        Watch { session: store(&database).session(), database, explaining, _server: server }
    }

    /// Does something through the session, and gives what the server saw of it.
    async fn deed<T>(&mut self, deed: impl AsyncFnOnce(&mut Session) -> T) -> (T, Deed) {
        // A session that is open already, so that its opening is no part of the deed.
        read_urls(&mut self.session, &ids(&[1])).await.unwrap();
        let connection = self.session.connection_id().unwrap();
        self.database.execute("TRUNCATE TABLE mysql.general_log").await;
        let (idle, before) = (self.rows_read().await, self.rows_read().await);
        let done = deed(&mut self.session).await;
        let rows_read = self.rows_read().await - before - (before - idle);
        let sql = format!(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
             WHERE thread_id = {connection} AND command_type IN ('Query', 'Execute') ORDER BY event_time"
        );
        let seen: Vec<String> = self.database.query(&sql).await;
        // MySQL writes each statement down by itself, MariaDB all that came together.
        let statements = seen.iter().flat_map(|text| text.split("; ")).map(|one| one.trim().trim_end_matches(';'));
        (done, Deed { statements: statements.map(str::to_owned).collect(), rows_read })
    }

    /// How many rows all sessions have asked the storage engines for; asking costs some too.
    async fn rows_read(&mut self) -> u64 {
        let counts: Vec<(String, u64)> =
            self.explaining.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'").await.unwrap();
        counts.into_iter().map(|(_, count)| count).sum()
    }

    /// Asserts that each statement goes by an index and never through the whole table.
    async fn assert_indexed(&mut self, what: &str, deed: &Deed, most_rows: u64) {
        let about_jobs = deed.statements.iter().filter(|statement| statement.contains("queued_job"));
        assert!(about_jobs.count() > 0, "{what}: no statement was seen");
        assert!(deed.rows_read <= most_rows, "{what}: {} rows were read, for at most {most_rows}", deed.rows_read);
        for statement in &deed.statements {
            if statement.starts_with("SET @") && !statement.contains("@strings_queue_0") {
                self.explaining.query_drop(statement).await.unwrap();
            }
            if ["SELECT ", "UPDATE ", "DELETE "].iter().any(|verb| statement.starts_with(verb)) {
                self.assert_plan(what, statement).await;
            }
        }
    }

    /// Where much is to be deleted, and where nothing is.
    async fn assert_deletes_in_small_pieces(&mut self, statement: &str) {
        // The statement compares with whole seconds: the rows of this one would stay.
        self.explaining.query_drop("DO SLEEP(1.1)").await.unwrap();
        for days in [30, 0] {
            let statement = statement.replace("30 DAY", &format!("{days} DAY"));
            let (idle, before) = (self.rows_read().await, self.rows_read().await);
            self.explaining.query_drop(&statement).await.unwrap();
            let deleted = self.explaining.affected_rows();
            let read = self.rows_read().await - before - (before - idle);
            assert_eq!(deleted, if days == 30 { 0 } else { 1_000 }, "{statement}");
            assert!(read < 10_000, "{read} rows were read by {statement}");
        }
    }

    async fn assert_plan(&mut self, what: &str, statement: &str) {
        let plan = self.explaining.query(explain(statement)).await;
        let plan: Vec<Row> = plan.unwrap_or_else(|error| panic!("{error}\nin {statement}"));
        for step in plan {
            let text = |name: &str| step.get_opt::<Option<String>, _>(name).and_then(Result::ok).flatten();
            let (table, extra) = (text("table").unwrap_or_default(), text("Extra").unwrap_or_default());
            // Not tables of ours: results of other steps, and the batch itself.
            if !(table.starts_with("queued_job") || table == "job") || extra.contains("Impossible WHERE") {
                continue;
            }
            let (key, kind) = (text("key").unwrap_or_default(), text("type").unwrap_or_default());
            let sound =
                ["PRIMARY", "state_run_at"].contains(&key.as_str()) && !["ALL", "index"].contains(&kind.as_str());
            assert!(sound, "{what}: {table} is read by {kind} on `{key}` ({extra}) in\n{statement}");
        }
    }
}

/// As a table: MySQL would draw a tree.
fn explain(statement: &str) -> String {
    format!("EXPLAIN {} {statement}", if super::on_mysql() { "FORMAT=TRADITIONAL" } else { "" })
}

#[tokio::test]
async fn every_statement_of_the_store_goes_by_its_index_and_reads_no_more_than_its_batch() {
    let mut watch = Watch::on_a_crowded_table().await;
    claims_and_results(&mut watch).await;
    sweeps(&mut watch).await;
    statements_of_operators(&mut watch).await;
}

async fn claims_and_results(watch: &mut Watch) {
    let keys = some(&watch.database, "available", 202).await;
    let (keys, lone) = keys.split_at(200);
    let (jobs, deed) = watch.deed(async |session| claim_all(session, "me", &keys[..100]).await).await;
    watch.assert_indexed("a claim", &deed, 1_000).await;
    let mut locking = watch.database.conn().await;
    let lock = format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {} FOR UPDATE", keys[150]);
    locking.query_drop(lock).await.unwrap();
    let (claim, deed) = watch.deed(async |session| claim_as(session, "me", &keys[100..]).await).await;
    assert_eq!((claim.jobs.len(), claim.missed.len()), (99, 1));
    watch.assert_indexed("a claim around a lock", &deed, 2_000).await;
    locking.disconnect().await.unwrap();
    for key in lone {
        let (_, deed) = watch.deed(async |session| claim_all(session, "me", &[*key]).await).await;
        let begin_with = |verb: &str| deed.statements.iter().any(|statement| statement.starts_with(verb));
        assert!(begin_with("EXECUTE ") && begin_with("SELECT ") && begin_with("UPDATE "), "{:?}", deed.statements);
        watch.assert_indexed("a lone claim", &deed, 20).await;
    }

    let whole = jobs[..40].iter().map(|job| failed_for_now(job, HOUR)).collect();
    let (_, deed) = watch.deed(async |session| finish_all(session, whole).await).await;
    watch.assert_indexed("a finish", &deed, 500).await;
    let stale = jobs[30..60].iter().map(|job| finished(job, "done")).collect();
    let (report, deed) = watch.deed(async |session| finish_all(session, stale).await).await;
    assert_eq!(report.refused.len(), 10);
    watch.assert_indexed("a finish with refused rows", &deed, 500).await;
    let claims: Vec<_> = jobs[60..80].iter().map(|job| (job.id, job.token)).collect();
    let lines: Vec<_> = jobs[60..80].iter().map(|job| line(job.id, "given back")).collect();
    let (released, deed) = watch.deed(async |session| release(session, &claims, &lines).await).await;
    released.unwrap();
    watch.assert_indexed("a release", &deed, 500).await;
}

async fn sweeps(watch: &mut Watch) {
    let (owners, deed) = watch.deed(async |session| read_owners(session).await.unwrap()).await;
    let owners: Vec<String> = owners.into_iter().map(|owner| owner.name).collect();
    assert!(owners.contains(&"dead".to_owned()));
    watch.assert_indexed("the owners", &deed, 1_500).await;
    let ended = owners;
    let (rescued, deed) = watch.deed(async |session| rescue(session, &ended, JobId(0)).await.unwrap().jobs).await;
    assert!(rescued.len() as u64 > CROWD.executing);
    watch.assert_indexed("a rescue", &deed, 6_000).await;
    let (rescued, deed) = watch.deed(async |session| rescue(session, &ended, JobId(0)).await.unwrap().jobs).await;
    assert_eq!(rescued.len(), 0);
    watch.assert_indexed("a rescue of nothing", &deed, 100).await;
    for state in [JobState::Available, JobState::Retryable] {
        let mut from = PageEnd::default();
        for page in ["the first page", "the next page"] {
            let start = from.clone();
            let (found, deed) =
                watch.deed(async |session| read_backlog(session, state, (&start, HOUR), 100).await.unwrap()).await;
            assert_eq!(found.jobs.len(), 100);
            watch.assert_indexed(&format!("{page} of what is {}", state.as_str()), &deed, 250).await;
            from = found.end.unwrap();
        }
    }
    let keys = ids(&some(&watch.database, "available", 50).await);
    let (_, deed) = watch.deed(async |session| read_urls(session, &keys).await.unwrap()).await;
    watch.assert_indexed("hosts", &deed, 200).await;
    let large = job().body("x".repeat(40_000)).insert(&watch.database).await;
    let claimed = claim_all(&mut watch.session, "me", &[large]).await;
    let (body, deed) = watch.deed(async |session| load_body(session, &claimed[0]).await.unwrap()).await;
    assert_eq!(body.map(|bytes| bytes.len()), Some(40_000));
    watch.assert_indexed("a body", &deed, 50).await;
    let (_, deed) = watch.deed(async |session| read_columns(session).await.unwrap()).await;
    assert!(deed.rows_read < 5_000, "columns: {}", deed.rows_read);
    let (_, deed) = watch.deed(async |session| read_schema_state(session).await.unwrap()).await;
    assert!(deed.rows_read < 5_000, "the schema's state: {}", deed.rows_read);
}

/// What `docs/operations.md` gives to operators.
async fn statements_of_operators(watch: &mut Watch) {
    let lines = "INSERT INTO queued_job_log (job_id, msg, created_at) \
                 SELECT id, 'x', NOW(6) - INTERVAL 1 HOUR FROM queued_job";
    watch.database.execute(lines).await;
    watch.database.query::<Row>("ANALYZE TABLE queued_job_log").await;
    let all = crate::operations::statements("Jobs in SQL");
    assert!(all.len() > 5);
    for statement in all {
        let statement = statement.trim().trim_end_matches(';');
        if statement.starts_with("DELETE ") {
            watch.assert_deletes_in_small_pieces(statement).await;
        } else if statement.contains("queued_job_log") {
            let plan: Row = watch.explaining.query_first(explain(statement)).await.unwrap().unwrap();
            assert_eq!(plan.get::<Option<String>, _>("key").flatten().as_deref(), Some("job_id"), "{statement}");
        } else {
            watch.assert_plan("an operator's statement", statement).await;
        }
    }
}

//! The scripts of `docs/grants`: enough for all the work, and nothing in them can be left out.

use super::check;
use crate::support::account::{Account, PASSWORD, parts, script};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::{Service, program};
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::path::Path;
use std::time::{Duration, Instant};
use strings_queue::store::Flavour;
use strings_queue::store::grants::{Grant, Scope, follow_grant, grant_statement, migrate_grants, service_grants};

const SOON: Duration = Duration::from_secs(20);
/// For the clean end of a service.
const STOP: Duration = Duration::from_secs(10);

fn flavour(database: &TestDatabase) -> Flavour {
    if database.is_mysql() { Flavour::MySql { major: 9, minor: 7 } } else { Flavour::MariaDb { major: 10, minor: 11 } }
}

/// An account that went through the whole script, `migrate` included.
async fn granted() -> (TestDatabase, Account) {
    let database = TestDatabase::create().await;
    let account = Account::create(&database).await;
    account.run_part(2).await;
    assert!(program().arg("migrate").arg(account.ini(&database, "")).status().await.unwrap().success());
    account.run_part(3).await;
    account.run_part(4).await;
    (database, account)
}

async fn state(database: &TestDatabase, id: u64) -> String {
    database.query_one(&format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}")).await
}

async fn wait_for_state(database: &TestDatabase, id: u64, expected: &str) {
    until(&format!("job {id} is {expected}"), SOON, async || state(database, id).await == expected).await;
}

#[test]
fn the_scripts_grant_what_the_program_knows_it_needs() {
    let flavours =
        [("mysql", Flavour::MySql { major: 8, minor: 4 }), ("mariadb", Flavour::MariaDb { major: 11, minor: 8 })];
    for (name, flavour) in flavours {
        let parts = parts(&script(name));
        assert_eq!(parts.len(), 4, "{name}");
        let known = |grants: &[Grant]| -> Vec<String> {
            let statement = |grant: &Grant| grant.statement("strings_queue", "'strings_queue'@'127.0.0.1'");
            grants.iter().map(|grant| statement(grant).trim_end_matches(';').to_owned()).collect()
        };
        assert_eq!(parts[1], known(&migrate_grants()), "{name}");
        assert_eq!(parts[3], known(&service_grants(flavour)), "{name}");
    }
}

#[tokio::test]
async fn with_exactly_these_grants_all_the_work_is_done() {
    let (database, account) = granted().await;
    let ini = account.ini(&database, "[sweep]\ninterval_secs: 1");
    check(&ini).await.assert_clean();
    let receiver = Receiver::start().await;
    receiver.on("/busy", Answer::status(503));
    receiver.on("/gone", Answer::status(410));
    let abandoned = job().url(receiver.url("/abandoned")).set("state", "executing").set("claimed_by", "nobody");
    let abandoned = abandoned.insert(&database).await;
    let mut service = Service::run(&ini);
    service.wait_for_line("following the log", SOON).await;
    let done = job().url(receiver.url("/done")).insert(&database).await;
    let gone = job().url(receiver.url("/gone")).insert(&database).await;
    let busy = job().url(receiver.url("/busy")).retry_delay(0).retries(1).insert(&database).await;
    let later = job().url(receiver.url("/later")).run_at_in(1500).insert(&database).await;
    let large = job().url(receiver.url("/large")).body(vec![b'x'; 100_000]).insert(&database).await;
    for (id, expected) in
        [(done, "completed"), (gone, "discarded"), (busy, "discarded"), (later, "completed"), (large, "completed")]
    {
        wait_for_state(&database, id, expected).await;
    }
    wait_for_state(&database, abandoned, "completed").await;
    let lines: u64 = database.query_one(&format!("SELECT COUNT(*) FROM queued_job_log WHERE job_id = {busy}")).await;
    assert_eq!(lines, 4, "two calls, two results");
    assert_eq!(service.stop(STOP).await, Some(0));
    let denied: Vec<String> = service.lines().into_iter().filter(|line| line.contains("denied")).collect();
    assert!(denied.is_empty(), "{denied:?}");
    let last = job().url(receiver.url("/once")).insert(&database).await;
    assert!(program().arg("once").arg(&ini).status().await.unwrap().success());
    assert_eq!(state(&database, last).await, "completed");
}

/// A call's line goes ahead of its result, and the server takes it at the second try only.
async fn finish_twice(database: &TestDatabase, ini: &Path) -> Vec<String> {
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    let service = Service::run(ini);
    service.wait_for_line("following the log", SOON).await;
    let conflict = "CREATE TRIGGER meets BEFORE INSERT ON queued_job_log FOR EACH ROW \
                    SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213";
    database.conn().await.query_drop(conflict).await.unwrap();
    let id = job().url(receiver.url("/")).insert(database).await;
    service.wait_for_line("results not stored yet", SOON).await;
    database.execute("DROP TRIGGER meets").await;
    let lines = format!(
        "SELECT LEFT(SUBSTRING(msg, LOCATE(']', msg) + 2), 7) FROM queued_job_log WHERE job_id = {id} ORDER BY id"
    );
    until("its line is there", SOON, async || database.query::<String>(&lines).await.len() == 1).await;
    gate.open();
    wait_for_state(database, id, "completed").await;
    assert_eq!(receiver.count(), 1);
    database.query(&lines).await
}

#[tokio::test]
async fn with_exactly_these_grants_a_result_is_written_at_the_second_try_and_its_lines_once() {
    let (database, account) = granted().await;
    let ini = account.ini(&database, "[sweep]\ninterval_secs: 3600");
    assert_eq!(finish_twice(&database, &ini).await, ["Calling", "Job suc"]);
}

/// As an account of an older version does.
#[tokio::test]
async fn an_account_that_may_not_read_its_log_writes_results_all_the_same() {
    let (database, account) = granted().await;
    let select = grant_statement("SELECT", Scope::Table("queued_job_log"), database.name(), &account.quoted());
    take_away(&account, &select).await;
    let ini = account.ini(&database, "[sweep]\ninterval_secs: 3600");
    assert_eq!(finish_twice(&database, &ini).await.last().unwrap(), "Job suc");
}

#[tokio::test]
async fn the_ancestors_tables_are_upgraded_with_part_2_alone() {
    let database = TestDatabase::create().await;
    database
        .execute(
            "CREATE TABLE queued_job (id bigint unsigned auto_increment primary key, organization_id bigint unsigned, \
             http_method varchar(10) not null, url text not null, body text, timeout_secs int not null default 60, \
             last_started_at timestamp null, last_finished_at timestamp null, last_response text, result_code int, \
             remaining_retries int not null default 10, retry_delay_secs int not null default 60) ENGINE = MyISAM; \
             CREATE TABLE queued_job_log (id bigint unsigned auto_increment primary key, \
             job_id bigint unsigned not null, msg text, created_at timestamp); \
             INSERT INTO queued_job (http_method, url) VALUES ('post', 'http://127.0.0.1:9/')",
        )
        .await;
    let account = Account::create(&database).await;
    account.run_part(2).await;
    assert!(program().arg("migrate").arg(account.ini(&database, "")).status().await.unwrap().success());
}

#[tokio::test]
async fn each_grant_that_is_taken_away_is_named_with_its_mend() {
    let (database, account) = granted().await;
    let ini = account.ini(&database, "");
    for grant in service_grants(flavour(&database)) {
        for privilege in grant.privileges {
            let statement = grant_statement(privilege, grant.scope, database.name(), &account.quoted());
            take_away(&account, &statement).await;
            let checked = check(&ini).await;
            assert_eq!(checked.code, Some(1), "without {privilege}: {checked}");
            checked.assert_finding(&lack(&account, &database, privilege, grant.scope), &statement);
            assert_eq!(checked.sql(), [statement.as_str()], "nothing else is said to be missing: {checked}");
            assert!(!checked.to_string().contains(PASSWORD), "{checked}");
            account.run(statement.trim_end_matches(';')).await;
        }
    }
    check(&ini).await.assert_clean();
}

async fn take_away(account: &Account, grant: &str) {
    let revoke = grant.replacen("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM ");
    account.run(revoke.trim_end_matches(';')).await;
}

fn lack(account: &Account, database: &TestDatabase, privilege: &str, scope: Scope) -> String {
    let lack = format!("fault: the account {} lacks {privilege}", account.quoted());
    match scope {
        Scope::Server => lack,
        Scope::Table(table) => format!("{lack} on {}.{table}", database.name()),
    }
}

#[tokio::test]
async fn all_that_following_needs_is_named_at_once_with_tables_and_without() {
    let (database, account) = granted().await;
    let ini = account.ini(&database, "");
    let follow = follow_grant(flavour(&database));
    take_away(&account, &follow.statement(database.name(), &account.quoted())).await;
    let each = follow.privileges.iter();
    let mends: Vec<String> =
        each.map(|right| grant_statement(right, follow.scope, database.name(), &account.quoted())).collect();
    let checked = check(&ini).await;
    assert_eq!(checked.sql(), mends, "{checked}");
    database.execute("DROP TABLE queued_job, queued_job_log, queued_job_migration").await;
    let checked = check(&ini).await;
    for mend in &mends {
        assert!(checked.sql().contains(mend), "{mend}: {checked}");
        account.run(mend.trim_end_matches(';')).await;
    }
    let checked = check(&ini).await;
    assert!(!checked.to_string().contains("REPLICATION"), "{checked}");
}

#[tokio::test]
async fn an_account_without_any_right_is_told_of_all_of_them() {
    let database = TestDatabase::with_schema().await;
    let account = Account::create(&database).await;
    let checked = check(&account.ini(&database, "")).await;
    assert_eq!(checked.code, Some(1), "{checked}");
    for statement in checked.sql() {
        account.run(statement.trim_end_matches(';')).await;
    }
    check(&account.ini(&database, "")).await.assert_clean();
}

#[tokio::test]
async fn without_the_right_to_follow_jobs_are_swept_and_the_grant_helps_at_once() {
    let (database, account) = granted().await;
    let follow = follow_grant(flavour(&database)).statement(database.name(), &account.quoted());
    take_away(&account, &follow).await;
    let ini = account.ini(&database, "[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 1");
    let receiver = Receiver::start().await;
    let mut service = Service::run(&ini);
    let warning = service.wait_for_line("lacks", SOON).await;
    assert!(warning.contains("WARN") && warning.contains("GRANT "), "{warning}");
    enqueue_and_wait(&database, &receiver).await;
    enqueue_and_wait(&database, &receiver).await;
    account.run(follow.trim_end_matches(';')).await;
    service.wait_for_line("following the log", Duration::from_secs(90)).await;
    service.wait_for_line("mended: the account", SOON).await;
    enqueue_and_wait(&database, &receiver).await;
    assert_eq!(service.stop(STOP).await, Some(0));
}

/// All connections of the account, the stream among them.
async fn kill_connections(account: &Account, database: &TestDatabase) {
    let account = account.quoted();
    let (user, _) = account.rsplit_once('@').unwrap();
    let sql = format!("SELECT id FROM information_schema.processlist WHERE user = {user}");
    for connection in database.query::<u64>(&sql).await {
        // It may have ended by itself.
        let _ = database.conn().await.query_drop(format!("KILL {connection}")).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_back_within_a_moment_is_no_fault_and_one_that_stays_away_is() {
    let (database, account) = granted().await;
    let service = Service::run(&account.ini(&database, "[sweep]\ninterval_secs: 3600"));
    let told = |part: &str| service.lines().iter().filter(|line| line.contains(part)).count();
    until("the log is followed", SOON, async || told("following the log") == 1).await;
    let mut long = 0;
    for round in 1..=3 {
        let begun = Instant::now();
        kill_connections(&account, &database).await;
        until("the log is followed again", SOON, async || told("following the log") > round).await;
        // On a busy machine it may take longer than the service is patient.
        long += usize::from(begun.elapsed() > Duration::from_secs(4));
    }
    assert!(told("the log is not being followed") >= 3 && told("fault: ") <= long, "{:#?}", service.lines());
    let before = told("fault: ");
    take_away(&account, &follow_grant(flavour(&database)).statement(database.name(), &account.quoted())).await;
    kill_connections(&account, &database).await;
    let rights = follow_grant(flavour(&database)).privileges.len();
    until("each right is told", SOON, async || told("fault: the account") == rights).await;
    assert_eq!(told("fault: "), before + rights, "{:#?}", service.lines());
}

async fn enqueue_and_wait(database: &TestDatabase, receiver: &Receiver) {
    let id = job().url(receiver.url("/")).insert(database).await;
    wait_for_state(database, id, "completed").await;
}

#[tokio::test]
async fn a_service_that_may_not_see_its_tables_says_what_mends_it() {
    let (database, account) = granted().await;
    let select = grant_statement("SELECT", Scope::Table("queued_job_migration"), database.name(), &account.quoted());
    take_away(&account, &select).await;
    let mut service = Service::run(Path::new(&account.ini(&database, "")));
    service.wait_for_line(select.trim_end_matches(';'), SOON).await;
    assert_eq!(service.wait_for_exit(SOON).await.code(), Some(1));
}

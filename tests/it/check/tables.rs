//! What `check` says of the tables.

use super::check;
use crate::support::database::TestDatabase;
use crate::support::service::program;

#[tokio::test]
async fn our_own_tables_are_clean() {
    let database = TestDatabase::with_schema().await;
    check(&database.ini("")).await.assert_clean();
}

#[tokio::test]
async fn missing_tables_are_made_by_the_command_it_names() {
    let database = TestDatabase::create().await;
    let ini = database.ini("");
    let checked = check(&ini).await;
    checked.assert_ends(1, "1 fault, 0 remarks");
    let command = format!("strings-queue migrate {}", ini.display());
    checked.assert_finding("fault: there is no table queued_job", &command);
    let arguments = command.strip_prefix("strings-queue ").unwrap().split(' ');
    assert!(program().args(arguments).status().await.unwrap().success());
    check(&ini).await.assert_clean();
}

#[tokio::test]
async fn the_ancestors_tables_are_upgraded_by_the_command_it_names() {
    let database = TestDatabase::create().await;
    let ancestor = "CREATE TABLE queued_job (id bigint(20) unsigned auto_increment primary key, \
         organization_id bigint(20) unsigned null, http_method varchar(10) not null, url text not null, body text, \
         timeout_secs int(11) not null default 60, last_started_at timestamp null, last_finished_at timestamp null, \
         last_response text, result_code int(11) null, remaining_retries int(11) not null default 10, \
         retry_delay_secs int(11) not null default 60) ENGINE = MyISAM; \
         CREATE TABLE queued_job_log (id bigint(20) unsigned auto_increment primary key, \
         job_id bigint(20) unsigned not null, msg text, created_at timestamp)";
    database.execute(ancestor).await;
    let ini = database.ini("");
    let checked = check(&ini).await;
    checked.assert_finding(
        "fault: the tables must be upgraded: they are the ancestor's",
        &format!("strings-queue migrate {}", ini.display()),
    );
    assert!(program().arg("migrate").arg(&ini).status().await.unwrap().success());
    check(&ini).await.assert_clean();
}

#[tokio::test]
async fn what_it_says_of_damaged_tables_mends_them() {
    let database = TestDatabase::with_schema().await;
    database
        .execute(
            "ALTER TABLE queued_job DROP INDEX state_run_at, DROP COLUMN retry_delay_secs, DROP COLUMN claim_token, \
             MODIFY run_at DATETIME(6) NOT NULL, MODIFY url TEXT NOT NULL, ADD COLUMN of_ours INT NULL; \
             ALTER TABLE queued_job_log DROP INDEX job_id, ENGINE = MyISAM",
        )
        .await;
    let ini = database.ini("");
    let checked = check(&ini).await;
    checked.assert_ends(1, "5 faults, 2 remarks");
    checked.assert_finding(
        "fault: queued_job has no index state_run_at",
        "CREATE INDEX state_run_at ON queued_job (state, run_at);",
    );
    checked
        .assert_finding("fault: the engine of queued_job_log is MyISAM", "ALTER TABLE queued_job_log ENGINE = InnoDB;");
    for statement in checked.sql() {
        database.execute(&statement).await;
    }
    check(&ini).await.assert_clean();
}

/// An index of an expression has no column.
#[tokio::test]
async fn indexes_of_the_applications_own_are_no_matter() {
    let database = TestDatabase::with_schema().await;
    let expression = if database.is_mysql() { "((UPPER(http_method)))" } else { "(url(20))" };
    database.execute(&format!("CREATE INDEX of_ours ON queued_job {expression}")).await;
    check(&database.ini("")).await.assert_clean();
}

#[tokio::test]
async fn an_index_that_the_server_is_told_not_to_use_is_made_anew() {
    let database = TestDatabase::with_schema().await;
    let unused = if database.is_mysql() { "INVISIBLE" } else { "IGNORED" };
    database.execute(&format!("ALTER TABLE queued_job ALTER INDEX state_run_at {unused}")).await;
    let ini = database.ini("");
    let checked = check(&ini).await;
    checked.assert_ends(1, "1 fault, 0 remarks");
    for statement in checked.sql() {
        database.execute(&statement).await;
    }
    check(&ini).await.assert_clean();
}

#[tokio::test]
async fn a_lost_state_is_filled_again_and_no_finished_job_becomes_available() {
    let database = TestDatabase::with_schema().await;
    database
        .execute(
            "INSERT INTO queued_job (http_method, url, state, result_code, last_started_at) \
             VALUES ('post', 'http://127.0.0.1:9/', 'completed', 0, NOW()); \
             ALTER TABLE queued_job DROP INDEX state_run_at, DROP COLUMN state",
        )
        .await;
    let ini = database.ini("");
    let checked = check(&ini).await;
    let mend = checked.findings().into_iter().find(|(what, _)| what.contains("no column state")).unwrap().1;
    for line in mend.lines().skip(1) {
        match line.strip_prefix("strings-queue migrate ") {
            Some(ini) => assert!(program().arg("migrate").arg(ini).status().await.unwrap().success()),
            None => database.execute(line).await,
        }
    }
    check(&ini).await.assert_clean();
    let states: Vec<String> = database.query("SELECT CAST(state AS CHAR) FROM queued_job").await;
    assert_eq!(states, ["completed"]);
}

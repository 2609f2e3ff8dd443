//! Tables that the program does not work with, and what it says of them.

use super::ancestor::{MAKES, ancestor};
use super::{SOON, command, migrate, states};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::wait::until;
use strings_queue::store::CURRENT_VERSION;

#[tokio::test]
async fn run_and_once_stop_at_tables_that_are_not_upgraded_and_name_the_command() {
    for ancestors in [true, false] {
        let database = if ancestors { ancestor(MAKES[2]).await } else { TestDatabase::create().await };
        let receiver = Receiver::start().await;
        if ancestors {
            job().url(receiver.url("/")).insert(&database).await;
        }
        for name in ["run", "once"] {
            let said = command(name, &database.ini("")).await;
            assert_eq!(said.code, Some(1), "{}", said.stderr);
            assert!(said.stderr.contains("strings-queue migrate "), "{}", said.stderr);
        }
        assert_eq!(receiver.count(), 0);
    }
}

#[tokio::test]
async fn what_stands_in_its_way_is_told_with_what_mends_it() {
    let database = ancestor(MAKES[0]).await;
    job().body("\u{e9}").insert(&database).await;
    database.execute("ALTER TABLE queued_job MODIFY body BLOB NULL; UPDATE queued_job SET body = X'E9'").await;
    let said = command("migrate", &database.ini("")).await;
    let told = "mend the values that the column's new type can't hold, then run `migrate` again";
    assert!(said.code == Some(1) && said.stderr.contains(told), "{}", said.stderr);
    database.execute("UPDATE queued_job SET body = 'e'").await;
    migrate(&database).await;

    let database = ancestor(MAKES[0]).await;
    job().insert(&database).await;
    database
        .execute(
            "ALTER TABLE queued_job_log MODIFY job_id BIGINT UNSIGNED NULL, \
             ADD CONSTRAINT of_ours FOREIGN KEY (job_id) REFERENCES queued_job (id) ON DELETE SET NULL",
        )
        .await;
    let said = command("migrate", &database.ini("")).await;
    assert!(said.code == Some(1) && said.stderr.contains("drop the foreign key"), "{}", said.stderr);
    database.execute("ALTER TABLE queued_job_log DROP FOREIGN KEY of_ours").await;
    migrate(&database).await;
    assert_eq!(states(&database).await, ["available"]);
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_as_they_are_and_worked_with() {
    let database = TestDatabase::with_schema().await;
    let newer = CURRENT_VERSION + 3;
    database.execute(&format!("INSERT INTO queued_job_migration (version) VALUES ({newer})")).await;
    let said = migrate(&database).await;
    assert!(said.contains(&format!("are of the newer version {newer}; nothing to do")), "{said}");
    let receiver = Receiver::start().await;
    job().url(receiver.url("/")).insert(&database).await;
    let mut service = Service::run(&database.ini(""));
    until("the job is done", SOON, async || states(&database).await == ["completed"]).await;
    assert_eq!(service.stop(SOON).await, Some(0));
}

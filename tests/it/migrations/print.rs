//! `migrate --print`: the SQL, pasted into a client with the server's own defaults, does what `migrate` does.

use super::ancestor::{MAKES, ancestor, insert_zero_dates, old_jobs};
use super::shape::assert_same_shape;
use super::{migrate, states};
use crate::support::database::TestDatabase;
use crate::support::service::program;
use mysql_async::prelude::Queryable;

async fn printed(database: &TestDatabase) -> String {
    let output = program().args(["migrate", "--print"]).arg(database.ini("")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn pasted_into_a_client_it_upgrades_the_ancestors_tables() {
    for make in MAKES {
        let database = ancestor(make).await;
        let all = old_jobs(|_| "http://127.0.0.1:9/".to_owned());
        for old in &all {
            old.row.insert(&database).await;
        }
        insert_zero_dates(&database, "http://127.0.0.1:9/").await;
        let before: Vec<i64> = database.query("SELECT id FROM queued_job").await;
        let sql = printed(&database).await;
        assert_eq!(database.query::<i64>("SELECT id FROM queued_job").await, before, "it only prints");
        // Other than ours, and what it sets is for its own session.
        let mut client = database.conn().await;
        let other = "time_zone = '+05:30', sql_mode = 'NO_ZERO_DATE,ANSI_QUOTES', sql_safe_updates = 1";
        client.query_drop(format!("SET SESSION {other}")).await.unwrap();
        client.query_drop(&sql).await.unwrap_or_else(|error| panic!("{make:?}: {error}\nin {sql}"));
        let mut expected: Vec<&str> = all.iter().map(|old| old.state).collect();
        expected.extend(["completed", "retryable", "available"]);
        assert_eq!(states(&database).await, expected, "{make:?}");
        let late = "SELECT TIMESTAMPDIFF(SECOND, last_finished_at, run_at) FROM queued_job \
                    WHERE last_response = 'so it ended' AND retry_delay_secs = 3600";
        assert_eq!(database.query_one::<i64>(late).await, 3600);
        assert_same_shape(&database, &format!("{make:?}")).await;
        assert!(migrate(&database).await.contains("are up to date"));
    }
}

#[tokio::test]
async fn pasted_into_a_client_it_makes_the_tables() {
    let database = TestDatabase::create().await;
    let sql = printed(&database).await;
    database.execute(&sql).await;
    assert_same_shape(&database, "from nothing").await;
    assert_eq!(printed(&database).await, "", "then there is nothing to do");
}

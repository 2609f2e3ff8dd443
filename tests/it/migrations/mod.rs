//! `strings-queue migrate` on real servers: the ancestor's tables become ours in place, wherever it is cut off.

mod ancestor;
mod arrivals;
mod cut_off;
mod print;
mod refused;
mod shape;
mod survive;
mod upgrade;

use crate::support::database::TestDatabase;
use crate::support::service::program;
use std::path::Path;
use std::time::Duration;

/// Long enough for anything that happens at all.
const SOON: Duration = Duration::from_secs(60);

/// What a command of the program said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a command of the program on these settings.
async fn command(name: &str, ini: &Path) -> Said {
    let output = tokio::time::timeout(SOON, program().arg(name).arg(ini).output()).await;
    let output = output.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs `strings-queue migrate`, which must go well.
async fn migrate(database: &TestDatabase) -> String {
    let said = command("migrate", &database.ini("")).await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    said.stdout
}

/// Each state of `queued_job`, in the order of the keys.
async fn states(database: &TestDatabase) -> Vec<String> {
    database.query("SELECT CAST(state AS CHAR) FROM queued_job ORDER BY id").await
}

//! `migrate`: create the tables, or upgrade them in place.

use super::arguments::MigrateArguments;
use super::runtime::run_until_signal;
use crate::config::Config;
use crate::store::migrate::{SCHEMA, migrate, upgrade_sql};
use crate::store::{CURRENT_VERSION, SchemaState, Session, Store, read_schema_state};
use anyhow::bail;

pub(super) fn execute(arguments: &MigrateArguments) -> anyhow::Result<()> {
    let Some(ini) = &arguments.ini else {
        return Ok(super::print(SCHEMA.as_bytes())?);
    };
    let config = super::load_settings(ini)?;
    run_until_signal(async |stop| {
        tokio::select! {
            done = print_or_migrate(&config, arguments.print) => done,
            () = stop.cancelled() => bail!("stopped before the end; what is missing is done by running it again"),
        }
    })
}

async fn print_or_migrate(config: &Config, print: bool) -> anyhow::Result<()> {
    let mut session = Store::new(&config.database).session();
    if print {
        return print_sql(&mut session).await;
    }
    let before = migrate(&mut session).await?;
    Ok(super::print(told(before, config).as_bytes())?)
}

/// The SQL that would be run now.
async fn print_sql(session: &mut Session) -> anyhow::Result<()> {
    let sql = match read_schema_state(session).await? {
        SchemaState::Missing | SchemaState::WithoutLog => SCHEMA.to_owned(),
        SchemaState::Ancestor => upgrade_sql(0),
        SchemaState::Older(version) => upgrade_sql(version),
        SchemaState::Current | SchemaState::Newer(_) => return Ok(()),
    };
    Ok(super::print(sql.as_bytes())?)
}

fn told(before: SchemaState, config: &Config) -> String {
    let database = &config.database.name;
    match before {
        SchemaState::Missing => format!("created the tables in {database} (version {CURRENT_VERSION})\n"),
        SchemaState::Ancestor => {
            format!("upgraded the ancestor's tables in {database} to version {CURRENT_VERSION}\n")
        }
        SchemaState::Older(version) => {
            format!("upgraded the tables in {database} from version {version} to {CURRENT_VERSION}\n")
        }
        SchemaState::WithoutLog => format!("made the missing table queued_job_log in {database}\n"),
        SchemaState::Current => format!("the tables in {database} are up to date (version {CURRENT_VERSION})\n"),
        SchemaState::Newer(version) => {
            format!("the tables in {database} are of the newer version {version}; nothing to do\n")
        }
    }
}

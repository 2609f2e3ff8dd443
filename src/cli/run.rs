//! `run`: the service, until a signal.

use super::arguments::RunArguments;
use super::runtime::run_until_signal;
use crate::dispatch::check_settings;
use crate::service;

pub(super) fn execute(arguments: &RunArguments) -> anyhow::Result<()> {
    let config = super::load_settings(&arguments.ini)?;
    check_settings(&config)?;
    run_until_signal(async |stop| {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), database = config.database.way(), "starting");
        service::run(&config, stop).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

//! `once`: everything that is workable now, then the end.

use super::arguments::IniArguments;
use super::runtime::run_until_signal;
use crate::dispatch::check_settings;
use crate::service;

pub(super) fn execute(arguments: &IniArguments) -> anyhow::Result<()> {
    let config = super::load_settings(&arguments.ini)?;
    check_settings(&config)?;
    run_until_signal(async |stop| Ok(service::run_once(&config, stop).await?))
}

//! `run`.

use super::arguments::RunArguments;
use anyhow::bail;

pub(super) fn execute(arguments: &RunArguments) -> anyhow::Result<()> {
    let _config = super::load_settings(&arguments.ini)?;
    bail!("`run` is not built yet")
}

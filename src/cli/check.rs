//! `check`.

use super::arguments::IniArguments;
use anyhow::bail;

pub(super) fn execute(arguments: &IniArguments) -> anyhow::Result<()> {
    let _config = super::load_settings(&arguments.ini)?;
    bail!("`check` is not built yet")
}

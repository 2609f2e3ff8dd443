//! `migrate`.

use super::arguments::MigrateArguments;
use anyhow::bail;

pub(super) fn execute(_arguments: &MigrateArguments) -> anyhow::Result<()> {
    bail!("`migrate` is not built yet")
}

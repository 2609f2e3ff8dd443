//! `sandbox`.

use super::arguments::SandboxArguments;
use anyhow::bail;

pub(super) fn execute(_arguments: &SandboxArguments) -> anyhow::Result<()> {
    bail!("`sandbox` is not built yet")
}

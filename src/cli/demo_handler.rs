//! `demo-handler`: the sandbox's handler by itself, for containers to call.

use super::arguments::DemoHandlerArguments;
use super::runtime::run_until_signal;
use crate::sandbox::DemoHandler;
use anyhow::Context;

pub(super) fn execute(arguments: &DemoHandlerArguments) -> anyhow::Result<()> {
    run_until_signal(async |stop| {
        let address = arguments.listen;
        let handler = DemoHandler::start_at(address).await;
        let handler = handler.with_context(|| format!("the demo handler cannot listen on {address}"))?;
        tracing::info!(url = handler.url("/"), "the demo handler listens");
        stop.cancelled().await;
        handler.stop().await;
        Ok(())
    })
}

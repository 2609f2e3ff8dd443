//! Sending: the lines of one batch of results, sent until the server has taken them, and written once.

use crate::job::JobId;
use crate::store::{FinishReport, Finished, HistoryLine, Session, StoreError, drop_written, finish};
use std::borrow::Cow;
use std::collections::HashSet;

/// The lines, and whether an earlier finish may have written them: its answer was lost.
pub(super) struct Sending<'lines> {
    lines: Cow<'lines, [HistoryLine]>,
    unsure: bool,
    /// The log can't be asked which of them it has.
    blind: bool,
}

impl Sending<'_> {
    /// Lines that were never sent.
    pub(super) fn first(lines: &[HistoryLine]) -> Sending<'_> {
        Sending { lines: Cow::Borrowed(lines), unsure: false, blind: false }
    }

    /// Sends them with the results.
    pub(super) async fn finish(
        &mut self,
        session: &mut Session,
        finished: &mut [Finished],
    ) -> Result<FinishReport, StoreError> {
        if self.unsure && !self.blind {
            match self.drop_written(session, finished).await {
                // A line that stands twice is better than a result that is not written.
                Err(error) if error.says_denied() => self.blind = true,
                asked => self.blind = !asked?,
            }
        }
        let report = finish(session, finished, &self.lines).await;
        self.unsure |= report.is_err();
        report
    }

    /// A result that was written is found to be, and its lines with it. A line of a call that is under way stands alone.
    async fn drop_written(&mut self, session: &mut Session, finished: &[Finished]) -> Result<bool, StoreError> {
        let ended: HashSet<JobId> = finished.iter().map(|one| one.id).collect();
        let (mut lines, mut ahead): (Vec<_>, Vec<_>) =
            self.lines.iter().cloned().partition(|line| ended.contains(&line.job));
        let asked = drop_written(session, &mut ahead).await?;
        lines.append(&mut ahead);
        self.lines = Cow::Owned(lines);
        Ok(asked)
    }
}

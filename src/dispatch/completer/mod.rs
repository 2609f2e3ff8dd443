//! Completer: records what calls came to. While one batch commits, the next one gathers; a lone result waits
//! for nobody. Several of them share the results, so that one prepares its batch while another's reaches the disk.

mod held;
mod returns;
mod sending;

use super::batch::{Batch, Done};
use super::records::{Record, SharedRecords};
use crate::job::{JobId, ResultCode, RetryPolicy, conclude, messages};
use crate::metrics::{Counter, Metrics};
use crate::reconnect::ReconnectPauses;
use crate::store::{FinishReport, Finished, HistoryLine, Session, StoreError, try_to_write};
use sending::Sending;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A batch is closed when its texts reach this size, so that its statement stays below the servers'
/// `max_allowed_packet`, escaped or not, even where that has been set to one MiB.
const BATCH_BYTES: usize = 1 << 18;

/// How long a batch waits for lines that went ahead of its results: their commit is under way.
const WAIT_FOR_LINES: Duration = Duration::from_millis(50);

/// Records results. One task.
#[derive(Debug)]
pub struct Completer {
    /// The connection that its results go through.
    pub session: Session,
    /// Decides on retries.
    pub policy: RetryPolicy,
    /// How many results one transaction takes at most.
    pub batch_size: usize,
    /// What is to be recorded. The completer ends when all senders are gone.
    pub records: SharedRecords,
    /// Told of each recorded job.
    pub done: mpsc::Sender<Done>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Ends the waiting for an unreachable database or a locked row, when the service must stop.
    pub give_up: CancellationToken,
    /// Jobs that are there and whose results were refused, of the batch that is being written; none at first.
    pub refused: HashSet<JobId>,
    /// Jobs that the server lets nobody write to; none at first.
    pub given_up: HashSet<JobId>,
    /// Whether results were left unwritten; false at first.
    pub abandoned: bool,
    /// What is to be written to rows that other sessions keep locked; empty at first.
    pub held: Batch,
    /// When they are tried again.
    pub held_until: Instant,
}

impl Completer {
    /// Runs until all senders of records are gone and the last batch is written. False when a stop came before
    /// all could be written.
    pub async fn run(mut self) -> bool {
        let mut gathered = Vec::with_capacity(self.batch_size);
        while self.next_records(&mut gathered).await {
            let mut batch = Batch::default();
            for record in gathered.drain(..) {
                self.gather(&mut batch, record);
                if batch.bytes >= BATCH_BYTES {
                    self.write(std::mem::take(&mut batch)).await;
                }
            }
            self.write(batch).await;
        }
        while !self.held.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(self.held_until) => self.write_held().await,
                () = self.give_up.cancelled() => self.leave_held().await,
            }
        }
        !self.abandoned
    }

    /// Tells of the jobs that were written, and keeps those that were locked for later.
    async fn settle(&mut self, mut batch: Batch, locked: &[JobId]) {
        if !locked.is_empty() {
            let held = batch.split_off(locked);
            self.hold(held);
        }
        for mut done in batch.done {
            // Still ours by its row, until its claim has expired.
            if self.given_up.remove(&done.id) {
                done.retry_in = None;
            }
            // What came to be of its job meanwhile, one look tells: word of it may have come during the call.
            if self.refused.remove(&done.id) {
                done.retry_in = Some(Duration::ZERO);
            }
            // The dispatcher listens until the last job is done.
            let _ = self.done.send(done).await;
        }
    }

    fn gather(&self, batch: &mut Batch, record: Record) {
        let mut ended = match record {
            Record::Line(line, unwritten) => return batch.take_line(line, unwritten),
            Record::Ended(ended) => ended,
        };
        batch.follow(ended.id, ended.ahead.take());
        batch.bytes +=
            ended.outcome.response().len() + ended.lines.iter().map(|line| line.message.len()).sum::<usize>();
        let Some(conclusion) = conclude(&ended.outcome, ended.budget, &self.policy, rand::random()) else {
            return batch.give_back(&ended);
        };
        batch.bytes += conclusion.new_url.as_ref().map_or(0, String::len);
        batch.lines.extend(ended.lines);
        batch.done.push(Done { id: ended.id, retry_in: conclusion.retry_in });
        let response = ended.outcome.into_response();
        let attempt = ended.budget.attempt;
        batch.finished.push(Finished { id: ended.id, token: ended.token, attempt, conclusion, response });
    }

    /// Counts what has been written, and says what was refused.
    fn tell(&mut self, finished: &[Finished], FinishReport { refused, gone, locked }: &FinishReport) {
        self.metrics.add(Counter::FinishesRefused, refused.len() as u64);
        for job in refused {
            tracing::warn!(job = job.0, "{}", messages::refused(*job));
        }
        self.refused.extend(refused.iter().filter(|job| !gone.contains(job)));
        let written = |one: &&Finished| !refused.contains(&one.id) && !locked.contains(&one.id);
        for one in finished.iter().filter(written) {
            self.metrics.increment(match one.conclusion.result_code {
                ResultCode::Success => Counter::JobsSucceeded,
                ResultCode::TemporaryFailure => Counter::JobsFailedTemporarily,
                ResultCode::PermanentFailure => Counter::JobsFailedPermanently,
            });
        }
    }

    /// Results first: their jobs need not wait for those that are given back.
    async fn write(&mut self, mut batch: Batch) {
        self.hold_until_told(&mut batch, WAIT_FOR_LINES).await;
        let released = batch.split_off_released();
        let mut locked = Vec::new();
        if !batch.finished.is_empty() || !batch.lines.is_empty() {
            locked = self.write_results(&mut batch.finished, &batch.lines).await;
        }
        self.settle(batch, &locked).await;
        if !released.is_empty() {
            self.write_releases(released).await;
        }
    }

    /// Writes results until it succeeds; those that other sessions keep locked come back. Data that the server refuses
    /// is written job by job, so that one bad result does not hold up its batch.
    async fn write_results(&mut self, finished: &mut [Finished], lines: &[HistoryLine]) -> Vec<JobId> {
        match self.try_results(finished, lines).await {
            Ok(locked) => locked,
            Err(error) if error.is_refused_data() && finished.len() > 1 => {
                let mut locked = Vec::new();
                for one in finished.chunks_mut(1) {
                    let id = one[0].id;
                    let own: Vec<HistoryLine> = lines.iter().filter(|line| line.job == id).cloned().collect();
                    locked.extend(self.write_one(one, &own).await);
                }
                let ids: Vec<JobId> = finished.iter().map(|one| one.id).collect();
                let others: Vec<HistoryLine> = lines.iter().filter(|line| !ids.contains(&line.job)).cloned().collect();
                let _ = self.try_results(&mut [], &others).await;
                locked
            }
            Err(_) => self.write_one(finished, lines).await,
        }
    }

    /// Writes one result; without its lines or its texts, where the server refuses those.
    async fn write_one(&mut self, finished: &mut [Finished], lines: &[HistoryLine]) -> Vec<JobId> {
        let error = match self.try_results(finished, lines).await {
            Ok(locked) => return locked,
            Err(error) => error,
        };
        let job = finished.first().map(|one| one.id.0);
        if let Ok(locked) = self.try_results(finished, &[]).await {
            if !self.abandoned {
                tracing::error!(%error, job, "the lines of a result could not be stored; it is stored without them");
            }
            return locked;
        }
        tracing::error!(%error, job, "a result could not be stored as it is; storing it without its texts");
        for one in finished.iter_mut() {
            "(the response could not be stored)".clone_into(&mut one.response);
            one.conclusion.new_url = None;
            one.conclusion.new_retry_delay_secs = None;
        }
        match self.try_results(finished, &[]).await {
            Ok(locked) => locked,
            Err(error) => {
                tracing::error!(%error, job, "a result can't be stored; the job is taken back when its claim has expired");
                self.given_up.extend(finished.iter().map(|one| one.id));
                let _ = self.try_results(&mut [], lines).await;
                Vec::new()
            }
        }
    }

    /// Tries until the server takes the results or refuses their data; or the service must stop. Those come back that
    /// other sessions keep locked.
    async fn try_results(
        &mut self,
        finished: &mut [Finished],
        lines: &[HistoryLine],
    ) -> Result<Vec<JobId>, StoreError> {
        let (mut pauses, mut lines) = (ReconnectPauses::default(), Sending::first(lines));
        loop {
            let written = tokio::select! {
                written = lines.finish(&mut self.session, finished) => written,
                () = self.give_up.cancelled() => {
                    self.abandon();
                    return Ok(Vec::new());
                }
            };
            match written {
                Ok(report) => {
                    tracing::trace!(results = finished.len(), refused = report.refused.len(), "results stored");
                    self.tell(finished, &report);
                    if !report.locked.is_empty() {
                        tracing::warn!(
                            jobs = report.locked.len(),
                            "results wait for rows that another session keeps locked"
                        );
                    }
                    return Ok(report.locked);
                }
                Err(error) => {
                    if self.is_of_their_data(&error).await {
                        return Err(error);
                    }
                    tracing::warn!(%error, results = finished.len(), "results not stored yet; trying again");
                    if self.pause(&mut pauses).await {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    /// Whether the server refused these rows and would take others.
    async fn is_of_their_data(&mut self, error: &StoreError) -> bool {
        if !error.is_refused_data() {
            return false;
        }
        let tried = self.give_up.run_until_cancelled(try_to_write(&mut self.session)).await;
        tried.is_some_and(|tried| tried.is_ok())
    }

    /// Waits a little. True when the service must stop and the rest is left to a rescue.
    async fn pause(&mut self, pauses: &mut ReconnectPauses) -> bool {
        tokio::select! {
            () = self.give_up.cancelled() => {
                self.abandon();
                true
            }
            () = self.session.pause(pauses.next_pause()) => false,
        }
    }

    fn abandon(&mut self) {
        if !std::mem::replace(&mut self.abandoned, true) {
            tracing::error!("the service must stop before all could be written; unwritten jobs will be called again");
        }
    }
}

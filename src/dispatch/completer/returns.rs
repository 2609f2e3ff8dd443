//! Returns: jobs that are given back, uncalled or with their calls cut off.

use super::Completer;
use crate::dispatch::batch::Batch;
use crate::job::JobId;
use crate::metrics::Counter;
use crate::reconnect::ReconnectPauses;
use crate::store::{HistoryLine, release};

impl Completer {
    /// Tries until the jobs are given back, or the service must stop.
    pub(super) async fn write_releases(&mut self, batch: Batch) {
        let mut pauses = ReconnectPauses::default();
        let locked = loop {
            let released = tokio::select! {
                released = release(&mut self.session, &batch.released, &batch.release_lines) => released,
                () = self.give_up.cancelled() => {
                    self.abandon();
                    break Vec::new();
                }
            };
            match released {
                Ok(locked) => {
                    self.metrics.add(Counter::JobsReleased, (batch.released.len() - locked.len()) as u64);
                    break locked;
                }
                Err(error) => {
                    if self.is_of_their_data(&error).await {
                        break self.release_one_by_one(&batch).await;
                    }
                    tracing::warn!(%error, jobs = batch.released.len(), "jobs not given back yet; trying again");
                }
            }
            if self.pause(&mut pauses).await {
                break Vec::new();
            }
        };
        if !locked.is_empty() {
            tracing::warn!(
                jobs = locked.len(),
                "jobs that are given back wait for rows that another session keeps locked"
            );
        }
        self.settle(batch, &locked).await;
    }

    /// Gives back what can be: a job that the server lets nobody give back is taken back when its claim has expired.
    async fn release_one_by_one(&mut self, batch: &Batch) -> Vec<JobId> {
        let (mut locked, mut pauses) = (Vec::new(), ReconnectPauses::default());
        for one in &batch.released {
            let mut lines: Vec<HistoryLine> =
                batch.release_lines.iter().filter(|line| line.job == one.0).cloned().collect();
            loop {
                let released = tokio::select! {
                    released = release(&mut self.session, std::slice::from_ref(one), &lines) => released,
                    () = self.give_up.cancelled() => {
                        self.abandon();
                        return locked;
                    }
                };
                match released {
                    Ok(found) => {
                        self.metrics.add(Counter::JobsReleased, u64::from(found.is_empty()));
                        locked.extend(found);
                        break;
                    }
                    Err(error) => {
                        if self.is_of_their_data(&error).await {
                            // They may be all that is refused.
                            if !std::mem::take(&mut lines).is_empty() {
                                continue;
                            }
                            tracing::error!(%error, job = one.0.0, "a job can't be given back; its claim expires");
                            self.given_up.insert(one.0);
                            break;
                        }
                        if self.pause(&mut pauses).await {
                            return locked;
                        }
                    }
                }
            }
        }
        locked
    }
}

//! Held: what can't be written yet. Its rows are kept locked by other sessions, or the lines of its calls are still
//! under way. It is tried again beside all else, and holds up no other.

use super::{BATCH_BYTES, Completer};
use crate::dispatch::batch::Batch;
use crate::dispatch::records::Record;
use crate::job::JobId;
use crate::store::finish_around_locks;
use std::time::Duration;
use tokio::time::Instant;

/// How often rows that other sessions keep locked are tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Completer {
    /// Waits for records; false when there are none to come. Meanwhile, rows that were locked are tried again: they
    /// hold up no other.
    pub(super) async fn next_records(&mut self, gathered: &mut Vec<Record>) -> bool {
        loop {
            let held = !self.held.is_empty();
            tokio::select! {
                some = self.records.take(gathered, self.batch_size) => return some,
                () = tokio::time::sleep_until(self.held_until), if held => self.write_held().await,
                () = self.give_up.cancelled(), if held => self.leave_held().await,
            }
            // It was gathering when the time for the locked ones came.
            if !gathered.is_empty() {
                return true;
            }
        }
    }

    pub(super) async fn write_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        self.hold_until_told(&mut held, Duration::ZERO).await;
        let released = held.split_off_released();
        // They gather for as long as their rows are locked: no more at once than otherwise.
        loop {
            let piece = held.split_off_piece(BATCH_BYTES);
            if held.finished.is_empty() {
                held.append(piece);
                break;
            }
            self.write_held_results(piece).await;
        }
        if !held.finished.is_empty() {
            self.write_held_results(held).await;
        }
        if !released.is_empty() {
            self.write_releases(released).await;
        }
    }

    /// Takes out of a batch what must wait longer than this for lines that went ahead: no row tells of a call that its
    /// history does not know.
    pub(super) async fn hold_until_told(&mut self, batch: &mut Batch, patience: Duration) {
        let until = Instant::now() + patience;
        for (job, mut ahead) in std::mem::take(&mut batch.ahead) {
            let written = tokio::select! {
                written = ahead.is_written_by(until) => written,
                () = self.give_up.cancelled() => return,
            };
            if !written {
                batch.ahead.push((job, ahead));
            }
        }
        if !batch.ahead.is_empty() {
            let untold: Vec<JobId> = batch.ahead.iter().map(|(job, _)| *job).collect();
            let untold = batch.split_off(&untold);
            self.hold(untold);
        }
    }

    async fn write_held_results(&mut self, mut held: Batch) {
        let around = tokio::select! {
            around = finish_around_locks(&mut self.session, &mut held.finished, &held.lines) => around,
            () = self.give_up.cancelled() => return self.hold(held),
        };
        match around {
            Ok(report) => {
                self.tell(&held.finished, &report);
                self.settle(held, &report.locked).await;
            }
            // Told apart, and written, as any other.
            Err(error) if error.is_refused_data() => self.write(held).await,
            Err(_) => self.hold(held),
        }
    }

    pub(super) fn hold(&mut self, batch: Batch) {
        // What is added later does not put off the rest.
        if self.held.is_empty() {
            self.held_until = Instant::now() + LOOK_AGAIN;
        }
        self.held.append(batch);
    }

    /// The service must stop: nobody waits any longer for those who have the rows locked.
    pub(super) async fn leave_held(&mut self) {
        self.abandon();
        let held = std::mem::take(&mut self.held);
        self.settle(held, &[]).await;
    }
}

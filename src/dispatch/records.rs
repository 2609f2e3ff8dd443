//! Records: what calls came to, on their way from the executor to the completers, who take turns at them.

use crate::job::{JobId, Outcome, RetryBudget};
use crate::store::{ClaimToken, ClaimedJob, HistoryLine};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// So many results at once are load; then a batch gathers for a little, so that it is worth its transaction.
const MANY: usize = 32;
const GATHER_FOR: Duration = Duration::from_millis(10);

/// What is to be recorded of a job.
#[derive(Debug)]
pub enum Record {
    /// The line of a call that is still under way; it goes ahead of the call's end.
    Line(HistoryLine, Unwritten),
    /// A call's end.
    Ended(Ended),
}

/// Kept with a line that goes ahead, until it is written or given up.
#[derive(Debug)]
pub struct Unwritten(#[allow(dead_code, reason = "what counts is that it is dropped")] oneshot::Sender<()>);

/// Tells when a line that went ahead is written. Of two completers, the one that has the result must not be the first:
/// if the process died then, the row would tell of a call that its history does not know.
#[derive(Debug)]
pub struct Ahead(oneshot::Receiver<()>);

impl Ahead {
    /// For a line that is to go ahead.
    #[must_use]
    pub fn of_a_line() -> (Unwritten, Ahead) {
        let (unwritten, ahead) = oneshot::channel();
        (Unwritten(unwritten), Ahead(ahead))
    }

    /// Whether it is written, or given up, by then. Whoever has it comes before us in the order of records, and waits for
    /// none that came later: two can not wait for each other.
    pub async fn is_written_by(&mut self, deadline: Instant) -> bool {
        // Nothing is ever sent: the other end goes.
        timeout_at(deadline, &mut self.0).await.is_ok()
    }
}

/// A call that ended, with all that is needed to conclude it.
#[derive(Debug)]
pub struct Ended {
    /// The job.
    pub id: JobId,
    /// The proof that it is ours.
    pub token: ClaimToken,
    /// What the retry policy needs to know.
    pub budget: RetryBudget,
    /// What the call came to.
    pub outcome: Outcome,
    /// Its lines for the history, but for one that went ahead.
    pub lines: Vec<HistoryLine>,
    /// The line that went ahead, if one did.
    pub ahead: Option<Ahead>,
}

impl Ended {
    /// Of a claimed job that was not called.
    #[must_use]
    pub fn of(job: &ClaimedJob) -> Ended {
        Ended {
            id: job.id,
            token: job.token,
            budget: RetryBudget {
                attempt: job.attempt,
                remaining_retries: job.remaining_retries,
                retry_delay_secs: job.retry_delay_secs,
            },
            outcome: Outcome::Interrupted,
            lines: Vec::with_capacity(2),
            ahead: None,
        }
    }
}

/// What several completers take their records from.
#[derive(Debug, Clone)]
pub struct SharedRecords(Arc<Mutex<mpsc::Receiver<Record>>>);

impl SharedRecords {
    /// All that comes out of this.
    #[must_use]
    pub fn new(records: mpsc::Receiver<Record>) -> SharedRecords {
        SharedRecords(Arc::new(Mutex::new(records)))
    }

    /// Takes records in, as many as a batch holds; false when there are none to come. Under load, they come faster than
    /// one transaction for a few of them is worth, so more of them share it. All of it is one turn of the completers: one
    /// that gave its turn away in between would wait for a record that the next one waits for.
    pub async fn take(&self, gathered: &mut Vec<Record>, batch_size: usize) -> bool {
        let mut records = self.0.lock().await;
        if records.recv_many(gathered, batch_size).await == 0 {
            return false;
        }
        let until = Instant::now() + GATHER_FOR;
        while (MANY..batch_size).contains(&gathered.len()) {
            let room = batch_size - gathered.len();
            match timeout_at(until, records.recv_many(gathered, room)).await {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    fn line(number: usize) -> Record {
        let line = HistoryLine { job: JobId(number as u64), message: String::new(), at_micros: None };
        Record::Line(line, Ahead::of_a_line().0)
    }

    async fn send(sender: &mpsc::Sender<Record>, count: usize) {
        for number in 0..count {
            sender.send(line(number)).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_result_waits_for_nobody_and_many_gather() {
        let (sender, records) = mpsc::channel(1_000);
        let (records, mut gathered) = (SharedRecords::new(records), Vec::new());
        send(&sender, 1).await;
        let begun = Instant::now();
        assert!(records.take(&mut gathered, 100).await && gathered.len() == 1 && begun.elapsed().is_zero());
        gathered.clear();
        send(&sender, MANY).await;
        let more = async {
            sleep(GATHER_FOR / 2).await;
            send(&sender, MANY).await;
            sleep(GATHER_FOR).await;
            send(&sender, 1).await;
        };
        let ((), some) = tokio::join!(more, records.take(&mut gathered, 100));
        assert!(some && gathered.len() == 2 * MANY, "{}", gathered.len());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_taken_than_a_batch_holds_and_the_end_is_told_when_all_is_taken() {
        let (sender, records) = mpsc::channel(1_000);
        let (records, mut gathered) = (SharedRecords::new(records), Vec::new());
        send(&sender, 150).await;
        drop(sender);
        for expected in [100, 50] {
            assert!(records.take(&mut gathered, 100).await);
            assert_eq!(gathered.drain(..).count(), expected);
        }
        assert!(!records.take(&mut gathered, 100).await);
    }
}

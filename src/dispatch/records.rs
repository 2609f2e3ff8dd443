//! Records: what calls came to, on their way from the executor to the completers, who take turns at them.

use crate::job::{JobId, Outcome, RetryBudget};
use crate::store::{ClaimToken, ClaimedJob, HistoryLine};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};

/// So many results at once are load; then a batch gathers for a little, so that it is worth its transaction.
const MANY: usize = 32;
const GATHER_FOR: Duration = Duration::from_millis(10);

/// What is to be recorded of a job.
#[derive(Debug)]
pub enum Record {
    /// A line for the history by itself.
    Line(HistoryLine),
    /// A call's end.
    Ended(Ended),
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
    /// Its lines for the history.
    pub lines: Vec<HistoryLine>,
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
        Record::Line(HistoryLine { job: JobId(number as u64), message: String::new(), at_micros: None })
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

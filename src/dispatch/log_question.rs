//! The question whether the server's log was begun anew, which a sweep asks, and which may stay unanswered for long: where a
//! commit waits for its replica or its disk, the server keeps the end of its log to itself. It does not notice meanwhile
//! that nobody listens any more, so each question that is given up is a connection of it that stands.

use crate::followed::{BinlogPosition, Followed};
use crate::store::{LogHead, ServerFacts, Session, StoreError, read_log_head};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a sweep waits to learn where the log ends.
const WAITED_FOR: Duration = Duration::from_secs(1);
/// How long one is left to be answered: a little less than makes the server suspect, which has not failed.
const ANSWERED_WITHIN: Duration = Duration::from_secs(28);
/// The pause after a question that got no answer; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 6;

/// One question at a time.
#[derive(Debug)]
pub struct LogQuestion {
    followed: Arc<Followed>,
    /// The one that a sweep did not wait for.
    asking: Option<JoinHandle<Answer>>,
    /// How many got no answer, one after the other.
    unanswered: u32,
    not_before: Option<Instant>,
}

/// The connection, back, and what it brought; none when it brought nothing in time.
type Answer = (Session, Option<bool>);

impl LogQuestion {
    /// None was asked yet.
    pub fn new(followed: Arc<Followed>) -> LogQuestion {
        LogQuestion { followed, asking: None, unanswered: 0, not_before: None }
    }

    /// Whether the server's log ends before the place that the stream has come to, or is turned off (which `MariaDB` does
    /// when it can't begin the next file); the stream's reader is told of it. What is not answered soon is no.
    ///
    /// The rest of a sweep does not hang on it: the account may have lost the right to ask.
    pub async fn is_begun_anew(&mut self, session: &mut Session) -> bool {
        if self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return false;
        }
        if let Some(answered) = self.asking.take() {
            self.take_in(answered.await.map_or(Some(false), |(_, answer)| answer));
        }
        if self.not_before.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let another = session.another();
        let asked = std::mem::replace(session, another);
        let mut asking = tokio::spawn(ask(asked, Arc::clone(&self.followed)));
        match timeout(WAITED_FOR, &mut asking).await {
            Ok(Ok((back, answer))) => {
                *session = back;
                self.take_in(answer)
            }
            Ok(Err(_)) => self.take_in(Some(false)),
            Err(_) => {
                self.asking = Some(asking);
                false
            }
        }
    }

    fn take_in(&mut self, answer: Option<bool>) -> bool {
        self.unanswered = if answer.is_none() { self.unanswered + 1 } else { 0 };
        let pause = PAUSE * (1 << self.unanswered.saturating_sub(1).min(MOST_DOUBLINGS));
        self.not_before = (self.unanswered > 0).then(|| Instant::now() + pause);
        answer.unwrap_or(false)
    }
}

async fn ask(mut session: Session, followed: Arc<Followed>) -> Answer {
    let answer = timeout(ANSWERED_WITHIN, compare(&mut session, &followed)).await;
    // A connection that broke, or a right that is missing, is an answer.
    (session, answer.ok().map(|answer| answer.unwrap_or(false)))
}

async fn compare(session: &mut Session, followed: &Followed) -> Result<bool, StoreError> {
    let Some(reading) = followed.reading() else { return Ok(false) };
    // What is read from now on is not in the answer.
    let reached = reading.reached();
    let facts = ServerFacts::read(session).await?;
    let head = read_log_head(session, facts.flavour).await?;
    // An address may lead to several servers.
    let same_server = facts.identity().to_string() == reading.server;
    let is_behind = |head: LogHead| reached.is_beyond(&BinlogPosition { file: head.file, offset: head.offset });
    let begun_anew = same_server && head.is_none_or(is_behind);
    if begun_anew {
        reading.tell_begun_anew();
    }
    Ok(begun_anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_an_answer_is_asked_again_later_and_later() {
        let mut question = LogQuestion::new(Arc::default());
        let in_secs =
            |question: &LogQuestion| question.not_before.map(|at| (at - Instant::now()).as_secs_f64().round());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(!question.take_in(None));
            pauses.extend(in_secs(&question));
        }
        assert_eq!(pauses, [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1_920.0, 1_920.0]);
        assert!(question.take_in(Some(true)));
        assert_eq!(in_secs(&question), None);
    }
}

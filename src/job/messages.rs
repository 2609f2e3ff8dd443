//! The ancestor's messages, which people grep for in `queued_job_log` and on stderr.

pub use super::printable::one_line;
use super::url_text::display_url;
use super::{JobId, Outcome};

/// The response of a job whose body the database did not send in time.
pub const BODY_TOO_SLOW: &str = "(the body did not come from the database within half of claim_grace_secs; raise it)";

/// The most characters of a response that a message shows.
const SHOWN_CHARS: usize = 1_000;

/// `[JOBID 7] Calling job with method post on url http://… (timeout 120)`.
#[must_use]
pub fn calling(job: JobId, method: &str, url: &str, timeout_secs: i32) -> String {
    format!(
        "[JOBID {job}] Calling job with method {} on url {} (timeout {timeout_secs})",
        method.escape_debug(),
        display_url(url)
    )
}

/// `[JOBID 7] Job succeeded: …` and its brothers.
#[must_use]
pub fn finished(job: JobId, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded { response } => format!("[JOBID {job}] Job succeeded: {}", first_lines(response)),
        Outcome::FailedTemporarily(failure) if failure.timed_out => {
            format!("[JOBID {job}] Job failed due to timeout")
        }
        Outcome::FailedTemporarily(failure) => {
            format!("[JOBID {job}] Job failed temporarily: {}", first_lines(&failure.response))
        }
        Outcome::FailedPermanently { response } => {
            format!("[JOBID {job}] Job failed permanently: {}", first_lines(response))
        }
        Outcome::Interrupted => format!("[JOBID {job}] Job given back uncalled or unanswered"),
    }
}

/// `[JOBID 7] Job taken back: …`, when its dispatcher died or outstayed its claim.
#[must_use]
pub fn rescued(job: JobId, dispatcher: &str) -> String {
    format!("[JOBID {job}] Job taken back: dispatcher {dispatcher} ended without a result")
}

/// `[JOBID 7] Job taken back: …`, when that was its last try.
#[must_use]
pub fn given_up(job: JobId, dispatcher: &str) -> String {
    format!("[JOBID {job}] Job taken back: dispatcher {dispatcher} ended without a result, and no retry was left")
}

/// `[JOBID 7] Result refused: …`, when a call ended after its job was rescued or cancelled.
#[must_use]
pub fn refused(job: JobId) -> String {
    format!("[JOBID {job}] Result refused: the job was taken back or cancelled before its call ended")
}

/// The first two lines of a response, without trailing space, cut at 1,000 characters.
#[must_use]
pub fn first_lines(response: &str) -> String {
    let mut lines = response.trim_start().lines().map(str::trim_end);
    let first = lines.next().unwrap_or_default();
    let both = match lines.next() {
        Some(second) if !second.is_empty() => format!("{first}\n{second}"),
        _ => first.to_owned(),
    };
    match both.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &both[..end]),
        None => both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Retryable;

    #[test]
    fn messages_read_as_the_ancestor_wrote_them() {
        let job = JobId(7);
        assert_eq!(
            calling(job, "post", "http://web/a", 120),
            "[JOBID 7] Calling job with method post on url http://web/a (timeout 120)"
        );
        let ok = Outcome::Succeeded { response: "all\ndone\nmore".to_owned() };
        assert_eq!(finished(job, &ok), "[JOBID 7] Job succeeded: all\ndone");
        let busy = Outcome::FailedTemporarily(Retryable { response: "busy".to_owned(), ..Retryable::default() });
        assert_eq!(finished(job, &busy), "[JOBID 7] Job failed temporarily: busy");
        let late = Outcome::FailedTemporarily(Retryable { timed_out: true, ..Retryable::default() });
        assert_eq!(finished(job, &late), "[JOBID 7] Job failed due to timeout");
        let broken = Outcome::FailedPermanently { response: "no".to_owned() };
        assert_eq!(finished(job, &broken), "[JOBID 7] Job failed permanently: no");
    }

    #[test]
    fn no_credentials_of_a_url_are_in_a_message() {
        let message = calling(JobId(1), "get", "http://ann:s3cret@web/?key=s3cret", 1);
        assert!(!message.contains("s3cret"), "{message}");
    }

    #[test]
    fn long_lines_are_cut_and_blank_ones_dropped() {
        assert_eq!(first_lines(&"é".repeat(5000)).chars().count(), SHOWN_CHARS + 1);
        assert_eq!(first_lines("\n\na  \n\nb"), "a");
        assert_eq!(first_lines(""), "");
    }
}

//! Open files: every call needs one, so that the process's limit bounds the calls at once.

use crate::config::Config;
use crate::store::inspect::{Finding, Topic};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is not for calls: the connections to the database and to other dispatchers' locks, names being looked up,
/// the standard streams.
const RESERVED: u64 = 128;

/// Raises the limit as far as the account may, and gives what it is now; none: there is none.
pub(super) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }
}

/// Calls that could not open a connection would be charged to their jobs; so no more are made at once than can.
pub(super) fn fit(config: &Config, limit: Option<u64>) -> Config {
    let mut fitting = config.clone();
    let calls = limit.map_or(usize::MAX, calls_within);
    let dispatch = &mut fitting.dispatch;
    dispatch.max_in_flight = dispatch.max_in_flight.min(calls);
    dispatch.max_in_flight_per_host = dispatch.max_in_flight_per_host.min(dispatch.max_in_flight);
    fitting
}

/// What is to be said of settings that ask for more calls than the limit allows.
pub(super) fn judge(config: &Config, limit: Option<u64>) -> Option<Finding> {
    let (wanted, limit) = (config.dispatch.max_in_flight, limit?);
    let calls = calls_within(limit);
    (calls < wanted).then(|| {
        let what = format!(
            "[dispatch] max_in_flight is {wanted}, but this process may open {limit} files only, enough for {calls} calls"
        );
        let files = wanted as u64 + RESERVED;
        let mend = format!("raise the limit (`ulimit -n {files}`, `LimitNOFILE={files}` in a unit), or lower max_in_flight");
        Finding::remark(Topic::Settings, what, mend)
    })
}

fn calls_within(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(in_flight: usize) -> Config {
        let text = format!("[db]\nhost: a\nuser: b\ndb: c\n[dispatch]\nmax_in_flight: {in_flight}\n");
        Config::parse(Path::new("db.ini"), &text, &|_| None).unwrap()
    }

    #[test]
    fn no_more_calls_are_made_than_files_can_be_opened() {
        let limits = |in_flight, limit| {
            let fitting = fit(&config(in_flight), limit).dispatch;
            (fitting.max_in_flight, fitting.max_in_flight_per_host)
        };
        assert_eq!(limits(5_000, Some(1_024)), (896, 128));
        assert_eq!(limits(256, Some(1_024)), (256, 128));
        assert_eq!(limits(256, Some(20)), (1, 1));
        assert_eq!(limits(5_000, None).0, 5_000);
    }

    #[test]
    fn settings_that_ask_for_more_are_remarked_on() {
        assert_eq!(judge(&config(256), Some(1_024)), None);
        assert_eq!(judge(&config(5_000), None), None);
        let finding = judge(&config(5_000), Some(1_024)).unwrap().to_string();
        assert!(finding.contains("may open 1024 files only, enough for 896 calls"), "{finding}");
        assert!(finding.contains("`ulimit -n 5128`"), "{finding}");
    }
}

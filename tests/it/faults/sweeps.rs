//! The sweeps of a service, as it tells them among its details (`-v`).

use crate::support::ledger::field;
use crate::support::service::Service;

/// So many seconds after the log is taken up, the table is searched once more.
const LOOKS_AGAIN_AFTER: f64 = 1.5;
/// Of a day.
const SECONDS: f64 = 86_400.0;

/// The lines of all whole sweeps so far.
pub fn whole(service: &Service) -> Vec<String> {
    service.lines().into_iter().filter(|line| is_whole(line)).collect()
}

/// Whether the line tells of a whole sweep.
pub fn is_whole(line: &str) -> bool {
    line.contains("the table was searched") && line.contains("kind=Whole")
}

/// How many searches of the table have found jobs so far.
pub fn with_jobs(service: &Service) -> usize {
    let found = |line: &&String| field(line, "jobs").is_some_and(|jobs| jobs != "0");
    service.lines().iter().filter(|line| line.contains("the table was searched")).filter(found).count()
}

/// Whether none is to come any more because of the start. One is made when the process begins, one when the log is
/// followed, which this line tells, and one a moment later.
pub fn of_the_start_are_over(service: &Service, followed: &str) -> bool {
    let sweeps: Vec<String> = whole(service).into_iter().filter(|line| line.contains("cause: Some(Start)")).collect();
    match &sweeps[..] {
        [] | [_] => false,
        // One sweep is made for both of the others, when the first one has kept both waiting.
        [first, _] => seconds_between(followed, first) >= LOOKS_AGAIN_AFTER,
        _ => true,
    }
}

/// From one line to another, negative where that is the earlier one: by their stamps, and less than half a day.
fn seconds_between(one: &str, other: &str) -> f64 {
    let seconds = (time_of_day(other) - time_of_day(one)).rem_euclid(SECONDS);
    if seconds > SECONDS / 2.0 { seconds - SECONDS } else { seconds }
}

fn time_of_day(line: &str) -> f64 {
    let stamp = line.split_whitespace().next().unwrap_or_default();
    let (_, time) = stamp.trim_end_matches('Z').split_once('T').unwrap_or_else(|| panic!("no stamp: {line}"));
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

#[test]
fn the_time_between_lines_is_that_of_their_stamps() {
    let [noon, later] = ["2026-02-03T12:00:00.250000Z  INFO a", "2026-02-03T12:00:01.750000Z DEBUG b"];
    assert!((seconds_between(noon, later) - 1.5).abs() < 0.001);
    assert!((seconds_between(later, noon) + 1.5).abs() < 0.001);
    let [before, after] = ["2026-02-03T23:59:59.500000Z  INFO a", "2026-02-04T00:00:01.000000Z DEBUG b"];
    assert!((seconds_between(before, after) - 1.5).abs() < 0.001);
}

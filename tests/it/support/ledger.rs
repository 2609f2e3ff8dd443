//! The loss ledger as the service tells it: which jobs only a sweep found, by cause.

use super::service::Service;
use std::collections::BTreeMap;

/// What was counted, by the counters' names.
pub type Counted = BTreeMap<String, u64>;

/// What may be lost where connections break again and again: a sweep is then sometimes the first that is back.
pub const BROKEN: [&str; 1] = ["lost_to_degraded"];

/// What the service found by a sweep although the log should have shown it, so far; by cause.
pub fn lost(service: &Service) -> Counted {
    let mut lost = Counted::new();
    for line in service.lines().iter().filter(|line| line.contains("jobs that the log had not shown")) {
        let (Some(jobs), Some(cause)) = (field(line, "jobs"), field(line, "cause")) else { panic!("{line}") };
        *lost.entry(cause).or_default() += jobs.parse::<u64>().unwrap();
    }
    lost
}

/// What the service counted, as it tells at its stop.
pub fn counted(service: &Service) -> Counted {
    let lines = service.lines();
    let line = lines.iter().find(|line| line.contains("what the service did")).expect("the service has stopped");
    let (_, counted) = line.split_once("counted=\"").expect(line);
    counted
        .trim_end_matches('"')
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap_or_else(|| panic!("{pair} in {line}")))
        .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        .collect()
}

/// Nothing was lost by the log, as both the running lines and the last one tell.
pub fn assert_nothing_lost(service: &Service) {
    assert_lost_only_to(service, &[]);
}

/// Nothing was lost but for these causes, as both the running lines and the last one tell.
pub fn assert_lost_only_to(service: &Service, causes: &[&str]) {
    let told = lost(service);
    let of_one_job = |line: &String| line.contains("[JOBID") || line.contains("job=");
    let story = || service.lines().into_iter().filter(|line| !of_one_job(line)).collect::<Vec<_>>().join("\n");
    assert!(told.keys().all(|cause| causes.contains(&cause.as_str())), "{told:?}\n{}", story());
    let counted = counted(service).into_iter().filter(|(name, _)| name.starts_with("lost_to_"));
    assert_eq!(counted.collect::<Counted>(), told);
}

/// Nothing but its start made the service search the table: at once, when the log is followed, and a moment later.
pub fn assert_swept_only_at_the_start(service: &Service) {
    let counted = counted(service);
    assert!(counted["sweeps"] <= 3, "{counted:?}");
}

/// Something was lost for this cause, and nothing for any other; how many jobs.
pub fn assert_lost_to(service: &Service, cause: &str) -> u64 {
    assert_lost_only_to(service, &[cause]);
    let lost = lost(service).get(cause).copied().unwrap_or(0);
    assert!(lost > 0, "nothing was {cause}");
    lost
}

/// What a line says that this field is.
pub fn field(line: &str, name: &str) -> Option<String> {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")))?;
    Some(value.trim_matches('"').to_owned())
}

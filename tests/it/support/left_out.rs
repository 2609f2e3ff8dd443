//! What a test can't try on this machine is told, or it would look as if it had been tried.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says so. `./test.sh` names a file, and repeats at its end what stands there.
pub fn left_out(what: &str) {
    eprintln!("left out: {what}");
    let Some(list) = std::env::var_os("STRINGS_QUEUE_LEFT_OUT") else { return };
    let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
    // In one piece, as other tests write too.
    list.write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// Whether this is a run of the slow scenarios. In a short one that is told, of a scenario that has no short form.
pub fn only_in_full(scenario: &str) -> bool {
    let full = std::env::var_os("STRINGS_QUEUE_SLOW").is_some();
    if !full {
        left_out(&format!("in full only: {scenario}"));
    }
    full
}

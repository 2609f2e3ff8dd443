//! Homes: which dispatcher looks at a job first, so that several of them do not all claim the same rows (pure).
//!
//! Rendezvous hashing (Thaler and Ravishankar, 1996): each job goes to the dispatcher whose name and its id give the
//! highest number. All who know the same dispatchers agree without a word; when one comes or goes, only its own part
//! of the jobs changes hands. Those who do not know each other yet claim the same rows, one of them in vain, which is
//! how they learn of each other.

use crate::job::JobId;
use std::collections::HashMap;

/// The dispatchers that are known to live, ourselves among them.
#[derive(Debug)]
pub struct Homes {
    own: u64,
    others: HashMap<String, u64>,
}

impl Homes {
    /// We alone.
    #[must_use]
    pub fn new(own_name: &str) -> Homes {
        Homes { own: hash(own_name), others: HashMap::new() }
    }

    /// Another one lives; false when that is known.
    pub fn add(&mut self, name: &str) -> bool {
        self.others.insert(name.to_owned(), hash(name)).is_none()
    }

    /// Another one lives no more, or is not known to.
    pub fn remove(&mut self, name: &str) {
        self.others.remove(name);
    }

    /// Whether we look at this job first.
    #[must_use]
    pub fn is_ours(&self, job: JobId) -> bool {
        let ours = mix(self.own ^ mix(job.0));
        self.others.values().all(|other| mix(other ^ mix(job.0)) <= ours)
    }

    /// Whether we would look at it first if these lived too.
    #[must_use]
    pub fn is_ours_beside(&self, job: JobId, gone: &[String]) -> bool {
        let ours = mix(self.own ^ mix(job.0));
        self.is_ours(job) && gone.iter().all(|name| mix(hash(name) ^ mix(job.0)) <= ours)
    }

    /// Whether there is no other.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }
}

/// FNV-1a, 64 bits. The same in every build, as all dispatchers must agree.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of `SplitMix64`: every bit of the result depends on every bit of the number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["strings-queue:a:1:00", "strings-queue:a:2:01", "strings-queue:b:1:02", "x"];

    fn of(name: &str, known: &[&str]) -> Homes {
        let mut homes = Homes::new(name);
        for other in known.iter().filter(|other| **other != name) {
            homes.add(other);
        }
        homes
    }

    fn homes_of(job: u64, known: &[&str]) -> Vec<&'static str> {
        NAMES.into_iter().filter(|name| known.contains(name) && of(name, known).is_ours(JobId(job))).collect()
    }

    #[test]
    fn each_job_has_one_home_and_the_homes_have_about_as_many() {
        let mut counts = HashMap::new();
        for job in 1..=4_000 {
            let homes = homes_of(job, &NAMES);
            assert_eq!(homes.len(), 1, "job {job}");
            *counts.entry(homes[0]).or_insert(0) += 1;
        }
        assert!(counts.len() == 4 && counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_was_left_to_one_that_went_is_known_by_its_name() {
        let gone = ["x".to_owned()];
        for job in (1..=1_000).map(JobId) {
            let (before, after) = (of(NAMES[0], &NAMES), of(NAMES[0], &NAMES[..3]));
            assert_eq!(after.is_ours_beside(job, &gone), before.is_ours(job), "job {job}");
        }
    }

    #[test]
    fn when_one_goes_only_its_jobs_change_hands() {
        for job in 1..=1_000 {
            let before = homes_of(job, &NAMES);
            let after = homes_of(job, &NAMES[..3]);
            assert!(before == ["x"] || before == after, "job {job}");
        }
    }

    #[test]
    fn alone_all_are_ours() {
        let mut homes = Homes::new("a");
        assert!(homes.add("b") && !homes.add("b") && !homes.is_alone());
        homes.remove("b");
        assert!(homes.is_alone() && (1..100).all(|job| homes.is_ours(JobId(job))));
    }
}

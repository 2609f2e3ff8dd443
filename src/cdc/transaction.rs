//! Work is rung when its transaction ends: this keeps it until then, and that of prepared ones still longer.

use super::decoder::Change;
use super::work::Work;
use super::xid::Xid;
use crate::wakeup::{SweepCause, Wakeup};
use std::collections::{HashSet, VecDeque};

/// How many prepared transactions with work for us are remembered. One more forgets the oldest; its commit then asks for a
/// sweep.
const KEPT_PREPARED: usize = 64;
/// The same of those without: most often all of them are other applications'.
const KEPT_EMPTY: usize = 10_000;

/// What a change did to the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on, or there is none.
    Goes,
    /// It began.
    Began,
    /// It ended; its work was rung.
    Ended,
}

/// The transaction that is being read, and the prepared ones.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// What the one being read gives to do.
    pub(super) work: Work,
    open: bool,
    prepared: VecDeque<(Xid, Work)>,
    /// Those without work for us, and the order in which they came; what ended since is in the order still.
    empty: HashSet<Xid>,
    empty_in_order: VecDeque<Xid>,
}

impl Transactions {
    /// Forgets a transaction that will not be read to its end.
    pub(super) fn abandon(&mut self) {
        self.work = Work::default();
        self.open = false;
    }

    /// Takes a change in, and rings if it ends the transaction.
    pub(super) fn apply(&mut self, change: Change, wakeup: &Wakeup) -> Step {
        match change {
            Change::Nothing | Change::Rotate(_) => Step::Goes,
            Change::Group { open } => {
                // What comes before a new group is over, even if we did not recognise its end.
                self.work.ring(wakeup);
                self.open = open;
                Step::Began
            }
            Change::Begin => {
                self.open = true;
                Step::Began
            }
            Change::Statement if self.open => Step::Goes,
            Change::Statement | Change::End => self.end(wakeup),
            Change::Prepare { one_phase, xid } => {
                self.prepare(one_phase, xid);
                self.end(wakeup)
            }
            Change::CommitPrepared(xid) => {
                match xid.and_then(|xid| self.take_prepared(&xid)) {
                    Some(mut work) => work.ring(wakeup),
                    None => self.work.sweep(SweepCause::PreparedCommit),
                }
                self.end(wakeup)
            }
            Change::RollBackPrepared(xid) => {
                xid.and_then(|xid| self.take_prepared(&xid));
                self.end(wakeup)
            }
        }
    }

    fn end(&mut self, wakeup: &Wakeup) -> Step {
        self.work.ring(wakeup);
        self.open = false;
        Step::Ended
    }

    fn prepare(&mut self, one_phase: bool, xid: Option<Xid>) {
        if one_phase {
            return;
        }
        let work = std::mem::take(&mut self.work);
        let Some(xid) = xid else { return };
        if work == Work::default() {
            return self.remember_empty(xid);
        }
        if self.prepared.len() == KEPT_PREPARED {
            self.prepared.pop_front();
        }
        self.prepared.push_back((xid, work));
    }

    /// Else its commit would look like one that we know nothing of.
    fn remember_empty(&mut self, xid: Xid) {
        if self.empty_in_order.len() == KEPT_EMPTY
            && let Some(oldest) = self.empty_in_order.pop_front()
        {
            self.empty.remove(&oldest);
        }
        self.empty_in_order.push_back(xid.clone());
        self.empty.insert(xid);
    }

    /// None: we know nothing of it.
    fn take_prepared(&mut self, xid: &Xid) -> Option<Work> {
        if self.empty.remove(xid) {
            return Some(Work::default());
        }
        let index = self.prepared.iter().position(|(other, _)| other == xid)?;
        self.prepared.remove(index).map(|(_, work)| work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;

    fn xid(number: usize) -> Option<Xid> {
        Xid::written(&format!("X'{number:08x}',X'',1"))
    }

    fn prepare(number: usize) -> Change {
        Change::Prepare { one_phase: false, xid: xid(number) }
    }

    #[test]
    fn work_waits_for_the_end() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        assert_eq!(transactions.apply(Change::Begin, &wakeup), Step::Began);
        transactions.work.job(JobId(1));
        assert_eq!(transactions.apply(Change::Statement, &wakeup), Step::Goes);
        assert!(wakeup.take().is_empty());
        assert_eq!(transactions.apply(Change::End, &wakeup), Step::Ended);
        assert_eq!(wakeup.take().jobs, [JobId(1)]);
    }

    #[test]
    fn a_group_whose_end_was_not_seen_is_rung_at_the_next() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        transactions.work.job(JobId(1));
        transactions.apply(Change::Group { open: false }, &wakeup);
        assert_eq!(wakeup.take().jobs, [JobId(1)]);
    }

    #[test]
    fn prepared_work_waits_for_its_commit() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        transactions.work.job(JobId(1));
        assert_eq!(transactions.apply(prepare(1), &wakeup), Step::Ended);
        transactions.work.job(JobId(2));
        transactions.apply(prepare(2), &wakeup);
        assert!(wakeup.take().is_empty());
        transactions.apply(Change::RollBackPrepared(xid(2)), &wakeup);
        transactions.apply(Change::CommitPrepared(xid(1)), &wakeup);
        let hints = wakeup.take();
        assert_eq!((hints.jobs, hints.sweep), (vec![JobId(1)], None));
    }

    #[test]
    fn one_phase_is_a_commit() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        transactions.work.job(JobId(1));
        transactions.apply(Change::Prepare { one_phase: true, xid: xid(1) }, &wakeup);
        assert_eq!(wakeup.take().jobs, [JobId(1)]);
    }

    #[test]
    fn a_commit_that_we_know_nothing_of_asks_for_a_sweep() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        for number in 0..=KEPT_PREPARED {
            transactions.work.job(JobId(7));
            transactions.apply(prepare(number), &wakeup);
        }
        transactions.apply(Change::CommitPrepared(xid(1)), &wakeup);
        assert_eq!(wakeup.take().jobs, [JobId(7)]);
        transactions.apply(Change::CommitPrepared(xid(0)), &wakeup);
        assert_eq!(wakeup.take().sweep, Some(SweepCause::PreparedCommit));
    }
    #[test]
    fn the_commits_of_many_prepared_transactions_of_others_ask_for_nothing() {
        let (mut transactions, wakeup) = (Transactions::default(), Wakeup::default());
        transactions.work.job(JobId(1));
        transactions.apply(prepare(KEPT_EMPTY), &wakeup);
        for number in 0..KEPT_EMPTY {
            transactions.apply(prepare(number), &wakeup);
        }
        for number in 0..KEPT_EMPTY {
            transactions.apply(Change::CommitPrepared(xid(number)), &wakeup);
        }
        assert!(wakeup.take().is_empty(), "known, and no work");
        transactions.apply(Change::CommitPrepared(xid(KEPT_EMPTY)), &wakeup);
        assert_eq!(wakeup.take().jobs, [JobId(1)]);
    }
}

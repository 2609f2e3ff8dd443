//! Where the two columns we read stand in the table.

use crate::store::LoggedColumns;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The places of `id` and `state` among the table's columns. The log has no names, so SQL tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The place of `id`, from 0.
    pub(super) id_index: usize,
    /// The place of `state`; none in a table that was not upgraded yet, or that numbers the states otherwise.
    pub(super) state_index: Option<usize>,
    /// How many columns there are.
    pub(super) column_count: usize,
    /// Places and lengths of values that the log does not tell the length of.
    pub(super) old_times: Arc<[(usize, usize)]>,
}

impl Layout {
    /// The layout of a table with these columns. `None`: there is no `id`.
    pub(super) fn of_columns(columns: &LoggedColumns) -> Option<Layout> {
        let LoggedColumns { names, has_our_states, old_times } = columns;
        let find = |name: &str| names.iter().position(|column| column.eq_ignore_ascii_case(name));
        let state_index = find("state").filter(|_| *has_our_states);
        let old_times = old_times.as_slice().into();
        Some(Layout { id_index: find("id")?, state_index, column_count: names.len(), old_times })
    }

    /// How long the values of the column are, where the log does not tell.
    pub(super) fn untold_length(&self, column: usize) -> Option<usize> {
        self.old_times.iter().find(|(place, _)| *place == column).map(|(_, length)| *length)
    }
}

/// The layout as last read by SQL, shared between the reader of the log and the watcher, who has the SQL.
///
/// The reader clears it when the table may have changed; the watcher fills it again. Each clearing has a number,
/// so that an answer to an earlier question is not taken for the table after a later change.
#[derive(Debug, Default)]
pub(super) struct LayoutSlot {
    slot: Mutex<Slot>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    question: u64,
    layout: Option<Layout>,
}

impl LayoutSlot {
    /// What is known now.
    pub(super) fn get(&self) -> Option<Layout> {
        self.lock().layout.clone()
    }

    /// Forgets the layout: a new question is open.
    pub(super) fn clear(&self) {
        {
            let mut slot = self.lock();
            slot.layout = None;
            slot.question += 1;
        }
        self.asked.notify_one();
    }

    /// Waits for a question that no one has waited for yet.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The number of the last question.
    pub(super) fn question(&self) -> u64 {
        self.lock().question
    }

    /// Answers that question; `false` if a later one is open.
    pub(super) fn answer(&self, question: u64, layout: Option<Layout>) -> bool {
        let mut slot = self.lock();
        if slot.question == question {
            slot.layout = layout;
        }
        slot.question == question
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str], has_our_states: bool) -> LoggedColumns {
        let names = names.iter().map(ToString::to_string).collect();
        LoggedColumns { names, has_our_states, old_times: vec![(2, 7)] }
    }

    #[test]
    fn columns_are_found_by_name() {
        let names = ["organization_id", "ID", "url", "state"];
        let found = Layout { id_index: 1, state_index: Some(3), column_count: 4, old_times: [(2, 7)].into() };
        assert_eq!(Layout::of_columns(&columns(&names, true)), Some(found.clone()));
        assert_eq!((found.untold_length(2), found.untold_length(1)), (Some(7), None));
        let unread = Layout { state_index: None, ..found };
        assert_eq!(Layout::of_columns(&columns(&names, false)), Some(unread), "others than ours");
        assert_eq!(Layout::of_columns(&columns(&["id"], false)).unwrap().state_index, None);
        assert_eq!(Layout::of_columns(&columns(&["url"], false)), None);
    }

    #[test]
    fn an_answer_to_an_old_question_is_refused() {
        let slot = LayoutSlot::default();
        slot.clear();
        let first = slot.question();
        slot.clear();
        let second = slot.question();
        let layout = Layout::of_columns(&columns(&["id"], false));
        assert!(!slot.answer(first, layout.clone()));
        assert_eq!(slot.get(), None);
        assert!(slot.answer(second, layout.clone()));
        assert_eq!(slot.get(), layout);
    }
}

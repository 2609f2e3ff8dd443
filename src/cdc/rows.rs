//! Row events of our table: which jobs they ask to look at.
//!
//! Body (MySQL internals, "`ROWS_EVENT`"; `Rows_event` in the source documentation): table number 6, flags 2; in
//! version 2 extra data with a length of 2 that counts itself; column count packed; a bitmap of the columns
//! present, for updates a second one for the row afterwards; then per row image a bitmap of the NULLs among the
//! present columns, and the values of the others.

use super::bytes::{Bytes, bit, ones};
use super::column::Column;
use super::compressed;
use super::event::kind;
use super::layout::Layout;
use super::work::Work;
use crate::job::{JobId, JobState};

/// What a row event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Write,
    Update,
    Delete,
}

/// How a row event is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) deed: Deed,
    extra_data: bool,
    compressed: bool,
    partial: bool,
}

impl Form {
    /// The form of events of this kind, if they are row events.
    pub(super) fn of(event_kind: u8) -> Option<Form> {
        use Deed::{Delete, Update, Write};
        let (deed, extra_data, compressed) = match event_kind {
            kind::WRITE_ROWS_V1 => (Write, false, false),
            kind::UPDATE_ROWS_V1 => (Update, false, false),
            kind::DELETE_ROWS_V1 => (Delete, false, false),
            kind::WRITE_ROWS => (Write, true, false),
            kind::UPDATE_ROWS | kind::PARTIAL_UPDATE_ROWS => (Update, true, false),
            kind::DELETE_ROWS => (Delete, true, false),
            kind::WRITE_ROWS_COMPRESSED_V1 => (Write, false, true),
            kind::UPDATE_ROWS_COMPRESSED_V1 => (Update, false, true),
            kind::DELETE_ROWS_COMPRESSED_V1 => (Delete, false, true),
            kind::WRITE_ROWS_COMPRESSED => (Write, true, true),
            kind::UPDATE_ROWS_COMPRESSED => (Update, true, true),
            kind::DELETE_ROWS_COMPRESSED => (Delete, true, true),
            _ => return None,
        };
        Some(Form { deed, extra_data, compressed, partial: event_kind == kind::PARTIAL_UPDATE_ROWS })
    }
}

/// The number of the table that a row event is about.
pub(super) fn table_number(body: &[u8]) -> Option<u64> {
    Bytes::new(body).uint(6)
}

/// The value option that says so.
const PARTIAL_JSON: u64 = 1;

/// Our table, ready to read rows of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    columns: &'a [Column],
    layout: &'a Layout,
    state: Option<usize>,
}

impl<'a> Shape<'a> {
    /// Brings the log's columns and SQL's layout together. `None`: they are not of the same table.
    pub(super) fn new(columns: &'a [Column], layout: &'a Layout) -> Option<Shape<'a>> {
        let fits = columns.len() == layout.column_count && columns.get(layout.id_index)?.is_integer();
        let state = layout.state_index.filter(|index| columns.get(*index).is_some_and(|column| column.is_enum()));
        fits.then_some(Shape { columns, layout, state })
    }

    /// Reads a row event and adds the jobs to look at. `None`: it can't be read (to its end).
    pub(super) fn read(self, form: Form, body: &[u8], work: &mut Work) -> Option<()> {
        let mut bytes = Bytes::new(body);
        bytes.skip(8)?;
        if form.extra_data {
            let length = bytes.length(2)?;
            bytes.skip(length.checked_sub(2)?)?;
        }
        if bytes.packed_length()? != self.columns.len() {
            return None;
        }
        let bitmap_length = self.columns.len().div_ceil(8);
        let before = bytes.take(bitmap_length)?;
        let after = if form.deed == Deed::Update { bytes.take(bitmap_length)? } else { before };
        if form.compressed {
            let rows = compressed::inflate(bytes.rest())?;
            return self.read_rows(form, (before, after), Bytes::new(&rows), work);
        }
        self.read_rows(form, (before, after), bytes, work)
    }

    fn read_rows(self, form: Form, present: (&[u8], &[u8]), mut rows: Bytes<'_>, work: &mut Work) -> Option<()> {
        while !rows.is_empty() {
            let left = rows.rest().len();
            let before = match form.deed {
                Deed::Update => self.image(present.0, &mut rows)?,
                Deed::Write | Deed::Delete => Image::default(),
            };
            if form.partial {
                self.skip_value_options(&mut rows)?;
            }
            let after = self.image(present.1, &mut rows)?;
            if after.is_claimable() {
                work.job(JobId(after.id.or(before.id)?));
            }
            if rows.rest().len() == left {
                return None;
            }
        }
        Some(())
    }

    /// Steps over what stands before an image whose documents may be in parts: whether any is, and then a bit for each JSON
    /// column of the table (MySQL source documentation, `Rows_event`). The parts of a document have their length before
    /// them, as a whole one has.
    fn skip_value_options(self, row: &mut Bytes<'_>) -> Option<()> {
        match row.packed()? {
            0 => Some(()),
            PARTIAL_JSON => row.skip(self.columns.iter().filter(|column| column.is_document()).count().div_ceil(8)),
            _ => None,
        }
    }

    /// Reads one image of a row; `present` says of which columns it has values.
    fn image(self, present: &[u8], row: &mut Bytes<'_>) -> Option<Image> {
        let nulls = row.take(ones(present, self.columns.len()).div_ceil(8))?;
        let mut image = Image::default();
        let mut place = 0;
        for (index, column) in self.columns.iter().enumerate() {
            if !bit(present, index) {
                continue;
            }
            place += 1;
            if bit(nulls, place - 1) {
                continue;
            }
            let value = match self.layout.untold_length(index) {
                Some(length) => row.take(length)?,
                None => column.value(row)?,
            };
            if index == self.layout.id_index {
                image.id = Bytes::new(value).uint(value.len());
            } else if Some(index) == self.state {
                image.state = Bytes::new(value).uint(value.len()).and_then(JobState::from_ordinal);
            }
        }
        Some(image)
    }
}

/// What we read of one image of a row.
#[derive(Debug, Default)]
struct Image {
    id: Option<u64>,
    state: Option<JobState>,
}

impl Image {
    /// Whether to look at the job. An image without the state is a default (`available`) or unchanged.
    fn is_claimable(&self) -> bool {
        self.state.is_none_or(JobState::is_claimable)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Row, rows_body, shape_of_ours};
    use super::*;

    fn read(event_kind: u8, body: &[u8]) -> Option<Vec<u64>> {
        let mut work = Work::default();
        let ours = shape_of_ours();
        Shape::new(&ours.0, &ours.1)?.read(Form::of(event_kind)?, body, &mut work)?;
        Some(work.jobs.into_iter().map(|job| job.0).collect())
    }

    #[test]
    fn every_row_of_an_insert_is_read_in_all_forms() {
        let rows = [Row::available(3), Row::available(u64::MAX)];
        for event_kind in
            [kind::WRITE_ROWS_V1, kind::WRITE_ROWS, kind::WRITE_ROWS_COMPRESSED_V1, kind::WRITE_ROWS_COMPRESSED]
        {
            assert_eq!(read(event_kind, &rows_body(event_kind, &rows)), Some(vec![3, u64::MAX]), "kind {event_kind}");
        }
    }

    #[test]
    fn only_updates_to_a_claimable_state_ring() {
        let rows: Vec<Row> = JobState::ALL
            .iter()
            .zip(10..)
            .map(|(state, id)| Row { state: Some(*state), ..Row::available(id) })
            .collect();
        for event_kind in
            [kind::UPDATE_ROWS_V1, kind::UPDATE_ROWS, kind::PARTIAL_UPDATE_ROWS, kind::UPDATE_ROWS_COMPRESSED]
        {
            assert_eq!(read(event_kind, &rows_body(event_kind, &rows)), Some(vec![10, 12]), "kind {event_kind}");
        }
    }

    #[test]
    fn an_image_without_the_state_rings() {
        let rows = [Row { state: None, ..Row::available(5) }];
        assert_eq!(read(kind::WRITE_ROWS, &rows_body(kind::WRITE_ROWS, &rows)), Some(vec![5]));
        assert_eq!(read(kind::UPDATE_ROWS, &rows_body(kind::UPDATE_ROWS, &rows)), Some(vec![5]));
    }

    #[test]
    fn an_update_without_the_id_afterwards_takes_the_id_before() {
        // Three columns: id, state, and a text; only the state and the text are in the image afterwards.
        let columns = shape_of_ours().0;
        let layout = shape_of_ours().1;
        let mut body = vec![0; 8];
        body.extend([2, 0, u8::try_from(columns.len()).unwrap()]);
        body.extend([1 << layout.id_index, 1 << layout.state_index.unwrap()]);
        body.push(0);
        body.extend(77_u64.to_le_bytes());
        body.extend([0, 3]);
        assert_eq!(read(kind::UPDATE_ROWS, &body), Some(vec![77]));
    }

    #[test]
    fn what_does_not_fit_is_unreadable() {
        let (columns, layout) = shape_of_ours();
        assert!(Shape::new(&columns, &Layout { column_count: 9, ..layout.clone() }).is_none());
        assert!(Shape::new(&columns, &Layout { id_index: 0, ..layout.clone() }).is_none(), "not an integer");
        assert!(Shape::new(&columns, &Layout { id_index: 99, ..layout.clone() }).is_none());
        let mut body = rows_body(kind::WRITE_ROWS, &[Row::available(1)]);
        body.pop();
        assert_eq!(read(kind::WRITE_ROWS, &body), None);
        // No column present: rows of no bytes must not be read for ever.
        let empty = [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, u8::try_from(columns.len()).unwrap(), 0, 1, 1];
        assert_eq!(read(kind::WRITE_ROWS, &empty), None);
    }
}

//! From an event of the log to what it means for us. Pure: bytes in, [`Change`] out.
//!
//! Only events of our table are decoded, and of these only two columns. Whatever can't be read asks for a sweep:
//! nothing is skipped in silence that may have been a job.

use super::bytes::Bytes;
use super::compressed;
use super::event::{EventHeader, kind};
use super::layout::LayoutSlot;
use super::query::{Logged, Statement};
use super::rows::{self, Deed, Form, Shape};
use super::table_map::{OurTables, TableName};
use super::work::Work;
use super::xid::Xid;
use crate::followed::BinlogPosition;
use crate::wakeup::SweepCause;
use std::sync::Arc;

/// What an event means for the transaction it stands in. What it gives to do is added to the [`Work`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing, or a part of a transaction.
    Nothing,
    /// The events from here on belong together. `open`: until an event that ends them; else the next statement
    /// may stand alone.
    Group { open: bool },
    /// A transaction opens.
    Begin,
    /// It ends.
    End,
    /// A statement, which stands alone if no transaction is open.
    Statement,
    /// An XA transaction is prepared, or committed in one phase.
    Prepare { one_phase: bool, xid: Option<Xid> },
    /// A prepared transaction is committed.
    CommitPrepared(Option<Xid>),
    /// A prepared transaction is rolled back.
    RollBackPrepared(Option<Xid>),
    /// The log goes on there.
    Rotate(BinlogPosition),
}

/// Bytes of a checksum at the end of an event.
const CHECKSUM: usize = 4;
/// MariaDB's GTID event: the group is one statement that needs no end (`FL_STANDALONE`).
const STANDALONE: u8 = 1;

/// In the flags of rows: the statement has no more (`STMT_END_F`).
const LAST_OF_ITS_STATEMENT: u8 = 1;

/// Bytes that `EXECUTE_LOAD_QUERY_EVENT` has more than `QUERY_EVENT`.
const MORE_IN_LOAD: usize = 13;

/// What must be remembered from event to event.
#[derive(Debug)]
pub(super) struct Decoder {
    tables: OurTables,
    layout: Arc<LayoutSlot>,
    checksums: bool,
    /// Our table was named, and rows of it are still to come.
    rows_to_come: bool,
}

impl Decoder {
    pub(super) fn new(name: TableName, layout: Arc<LayoutSlot>) -> Self {
        Decoder { tables: OurTables::new(name), layout, checksums: false, rows_to_come: false }
    }

    /// The body of an event as it comes from the wire: without its header and checksum.
    pub(super) fn body<'a>(&self, header: EventHeader, event: &'a [u8]) -> Option<&'a [u8]> {
        // A format description always has a checksum: it is what says whether the others have one.
        let tail = if self.checksums || header.kind == kind::FORMAT_DESCRIPTION { CHECKSUM } else { 0 };
        event.get(EventHeader::LENGTH..event.len().checked_sub(tail)?)
    }

    /// Learns from a format description, whose body ends with the algorithm of the checksums (1 is CRC32).
    pub(super) fn format(&mut self, body: &[u8]) {
        self.checksums = body.last() == Some(&1);
        self.tables.forget();
        self.rows_to_come = false;
    }

    /// Whether these are rows of other tables, told from the header and the first bytes of the body.
    pub(super) fn is_foreign(&self, header: EventHeader, body: &[u8]) -> bool {
        Form::of(header.kind).is_some()
            && rows::table_number(body).is_some_and(|number| self.tables.get(number).is_none())
    }

    /// Reads an event and adds to the work what it gives to do.
    pub(super) fn read(&mut self, header: EventHeader, body: &[u8], work: &mut Work) -> Change {
        match header.kind {
            kind::TABLE_MAP => {
                if self.tables.map(body).is_none() {
                    work.sweep(SweepCause::Unreadable);
                }
                self.rows_to_come |= rows::table_number(body).is_some_and(|number| self.tables.get(number).is_some());
                Change::Nothing
            }
            kind::QUERY => self.statement(Logged::read(body, 0), work),
            kind::QUERY_COMPRESSED => self.compressed_statement(body, work),
            kind::EXECUTE_LOAD_QUERY => self.statement(Logged::read(body, MORE_IN_LOAD), work),
            kind::XID => Change::End,
            kind::GTID | kind::ANONYMOUS_GTID | kind::TAGGED_GTID => self.group(false),
            // Sequence number 8, domain 4, flags 1 (MariaDB, "GTID_EVENT").
            kind::MARIADB_GTID => self.group(body.get(12).is_none_or(|flags| flags & STANDALONE == 0)),
            kind::XA_PREPARE => {
                let (one_phase, xid) = Xid::prepared(body).map_or((false, None), |(phase, xid)| (phase, Some(xid)));
                Change::Prepare { one_phase, xid }
            }
            kind::ROTATE => rotate(body).map_or(Change::Nothing, Change::Rotate),
            kind::INCIDENT => {
                work.sweep(SweepCause::Gap);
                Change::End
            }
            other => {
                if let Some(form) = Form::of(other) {
                    self.rows(form, body, work);
                } else if self.rows_to_come && !kind::is_known(other) {
                    // They may be in it: MariaDB 12.3 can write long ones in pieces (`PARTIAL_ROW_DATA_EVENT`, MDEV-32570).
                    work.sweep(SweepCause::Unreadable);
                }
                Change::Nothing
            }
        }
    }

    fn group(&mut self, open: bool) -> Change {
        self.rows_to_come = false;
        Change::Group { open }
    }

    fn rows(&mut self, form: Form, body: &[u8], work: &mut Work) {
        // Table number 6, flags 2.
        self.rows_to_come &= body.get(6).is_some_and(|flags| flags & LAST_OF_ITS_STATEMENT == 0);
        if form.deed == Deed::Delete {
            return;
        }
        let Some(number) = rows::table_number(body) else { return work.sweep(SweepCause::Unreadable) };
        let Some(ours) = self.tables.get(number) else { return };
        // While the layout is being read anew, the sweep that follows it finds the rows.
        let Some(layout) = self.layout.get() else { return work.sweep(SweepCause::Statement) };
        let Some(columns) = &ours.columns else { return work.sweep(SweepCause::Unreadable) };
        let Some(shape) = Shape::new(columns, &layout) else {
            self.layout.clear();
            return work.sweep(SweepCause::Unreadable);
        };
        if shape.read(form, body, work).is_none() {
            work.sweep(SweepCause::Unreadable);
        }
    }

    fn compressed_statement(&self, body: &[u8], work: &mut Work) -> Change {
        let logged = Logged::read(body, 0);
        let sql = logged.and_then(|logged| compressed::inflate(logged.sql));
        let logged = logged.zip(sql.as_deref()).map(|(logged, sql)| Logged { sql, ..logged });
        self.statement(logged, work)
    }

    fn statement(&self, logged: Option<Logged<'_>>, work: &mut Work) -> Change {
        let Some(logged) = logged else {
            work.sweep(SweepCause::Unreadable);
            return Change::Statement;
        };
        match Statement::read(logged, self.tables.name()) {
            Statement::Begin => Change::Begin,
            Statement::End => Change::End,
            Statement::CommitPrepared(xid) => Change::CommitPrepared(xid),
            Statement::RollBackPrepared(xid) => Change::RollBackPrepared(xid),
            Statement::Other { names_us, reshapes } => {
                if reshapes {
                    self.layout.clear();
                }
                if names_us {
                    work.sweep(SweepCause::Statement);
                }
                Change::Statement
            }
        }
    }
}

/// `ROTATE`: offset 8, name of the next file (MySQL internals, "`ROTATE_EVENT`").
fn rotate(body: &[u8]) -> Option<BinlogPosition> {
    let mut bytes = Bytes::new(body);
    let offset = bytes.uint(8)?;
    Some(BinlogPosition { file: String::from_utf8_lossy(bytes.rest()).into_owned(), offset })
}

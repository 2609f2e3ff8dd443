//! Events made by hand, for the tests of this folder.

use super::bytes::Bytes;
use super::column::Column;
use super::event::{EventHeader, kind};
use super::follower::{Follower, Surroundings};
use super::layout::{Layout, LayoutSlot};
use super::rows::{Deed, Form};
use super::table_map::TableName;
use crate::config::{DatabaseConfig, HostPort, SslMode};
use crate::followed::{BinlogPosition, Reading};
use crate::job::JobState;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;
use std::sync::Arc;

/// Columns of the table in these tests: VARCHAR(300), BIGINT, ENUM, BLOB.
pub(super) const COLUMNS: usize = 4;
const TYPES: [u8; COLUMNS] = [15, 8, 254, 252];
const METADATA: [u8; 5] = [44, 1, 247, 1, 4];

/// Our table here is `shop.queued_job`.
pub(super) fn table_name() -> TableName {
    TableName { database: "shop".into(), table: "queued_job".into(), ignore_case: false }
}

/// Where `id` and `state` are in it.
pub(super) fn layout() -> Layout {
    Layout { id_index: 1, state_index: Some(2), column_count: COLUMNS, old_times: [].into() }
}

pub(super) fn shape_of_ours() -> (Vec<Column>, Layout) {
    let mut metadata = Bytes::new(&METADATA);
    (TYPES.iter().map(|kind| Column::read(*kind, &mut metadata).unwrap()).collect(), layout())
}

/// A row of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) id: u64,
    /// None: the image has no state.
    pub(super) state: Option<JobState>,
}

impl Row {
    pub(super) fn available(id: u64) -> Row {
        Row { id, state: Some(JobState::Available) }
    }
}

/// An event: header, body, and a checksum that nobody checks.
pub(super) fn event(kind: u8, log_pos: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(EventHeader::LENGTH + body.len() + 4).unwrap();
    let mut event = vec![0; 4];
    event.push(kind);
    event.extend([1, 0, 0, 0]);
    event.extend(size.to_le_bytes());
    event.extend(log_pos.to_le_bytes());
    event.extend([0, 0]);
    event.extend(body);
    event.extend([0xcc; 4]);
    event
}

/// A format description; the events after it have checksums.
pub(super) fn format_description() -> Vec<u8> {
    let mut body = vec![4, 0];
    body.extend([0; 50 + 4]);
    body.push(19);
    body.extend([8; 40]);
    body.push(1);
    event(kind::FORMAT_DESCRIPTION, 0, &body)
}

pub(super) fn table_map(number: u64, database: &str, table: &str) -> Vec<u8> {
    let mut body = number.to_le_bytes()[..6].to_vec();
    body.extend([1, 0]);
    for name in [database, table] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend(name.as_bytes());
        body.push(0);
    }
    body.push(u8::try_from(COLUMNS).unwrap());
    body.extend(TYPES);
    body.push(u8::try_from(METADATA.len()).unwrap());
    body.extend(METADATA);
    body.push(0xff);
    body
}

/// A row event of table 7 in any form; updates come from the same row `executing`.
pub(super) fn rows_body(event_kind: u8, rows: &[Row]) -> Vec<u8> {
    let form = Form::of(event_kind).unwrap();
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    let versioned = !(kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1).contains(&event_kind)
        && !(kind::WRITE_ROWS_COMPRESSED_V1..=kind::DELETE_ROWS_COMPRESSED_V1).contains(&event_kind);
    if versioned {
        body.extend([5, 0, 1, 2, 3]);
    }
    body.push(u8::try_from(COLUMNS).unwrap());
    let has_state = rows.iter().all(|row| row.state.is_some());
    let present = if has_state { 0b1111 } else { 0b1011 };
    if form.deed == Deed::Update {
        body.push(0b1111);
    }
    body.push(present);
    let mut images = Vec::new();
    for row in rows {
        if form.deed == Deed::Update {
            images.extend(image(Row { state: Some(JobState::Executing), ..*row }));
        }
        if event_kind == kind::PARTIAL_UPDATE_ROWS {
            images.push(0);
        }
        images.extend(image(*row));
    }
    body.extend(if event_kind >= kind::QUERY_COMPRESSED { deflate(&images) } else { images });
    body
}

/// A text of 200 bytes, the id, the state, and NULL.
pub(super) fn image(row: Row) -> Vec<u8> {
    let mut image = vec![if row.state.is_some() { 0b1000 } else { 0b0100 }];
    image.extend([200, 0]);
    image.extend([b'x'; 200]);
    image.extend(row.id.to_le_bytes());
    if let Some(state) = row.state {
        image.push(u8::try_from(JobState::ALL.iter().position(|other| *other == state).unwrap()).unwrap() + 1);
    }
    image
}

pub(super) fn query_body(database: &str, sql: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(u8::try_from(database.len()).unwrap());
    body.extend([0, 0, 3, 0, 1, 2, 3]);
    body.extend(database.as_bytes());
    body.push(0);
    body.extend(sql.as_bytes());
    body
}

pub(super) fn rotate_body(file: &str, offset: u64) -> Vec<u8> {
    let mut body = offset.to_le_bytes().to_vec();
    body.extend(file.as_bytes());
    body
}

pub(super) fn xa_prepare_body(one_phase: bool, global: &str, branch: &str) -> Vec<u8> {
    let mut body = vec![u8::from(one_phase), 1, 0, 0, 0];
    body.extend(u32::try_from(global.len()).unwrap().to_le_bytes());
    body.extend(u32::try_from(branch.len()).unwrap().to_le_bytes());
    body.extend(global.as_bytes());
    body.extend(branch.as_bytes());
    body
}

/// Compresses as MariaDB does.
pub(super) fn deflate(text: &[u8]) -> Vec<u8> {
    let mut compressed = vec![0x84];
    compressed.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    let mut encoder = ZlibEncoder::new(compressed, Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A transaction payload as MySQL compresses it: events without checksums.
pub(super) fn payload_body(events: &[Vec<u8>]) -> Vec<u8> {
    let plain: Vec<u8> = events.concat();
    let packed = zstd::encode_all(&plain[..], 3).unwrap();
    let mut body = vec![2, 1, 0];
    body.extend([3, 9, 254]);
    body.extend((plain.len() as u64).to_le_bytes());
    body.extend([1, 9, 254]);
    body.extend((packed.len() as u64).to_le_bytes());
    body.push(0);
    body.extend(packed);
    body
}

/// An event as it stands in a payload.
pub(super) fn inner_event(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut inner = event(kind, 0, body);
    inner.truncate(inner.len() - 4);
    let size = u32::try_from(inner.len()).unwrap();
    inner[9..13].copy_from_slice(&size.to_le_bytes());
    inner
}

/// Settings of a server that nobody connects to.
pub(super) fn database() -> DatabaseConfig {
    DatabaseConfig {
        hosts: vec![HostPort { host: "db".into(), port: 3306 }],
        socket: None,
        user: "queue".into(),
        password: None,
        name: "shop".into(),
        ssl_mode: SslMode::Disabled,
        ssl_ca: None,
    }
}

/// A follower at `b.000001:4` that has seen the start of the stream, with the bell that it rings.
pub(super) fn follower() -> (Follower, Surroundings) {
    let (mut follower, around) = unopened_follower();
    follower.wire_event(&format_description()).unwrap();
    (follower, around)
}

/// One that has seen nothing.
pub(super) fn unopened_follower() -> (Follower, Surroundings) {
    let slot = LayoutSlot::default();
    slot.answer(0, Some(layout()));
    let start = BinlogPosition { file: "b.000001".into(), offset: 4 };
    let around = Surroundings {
        wakeup: Arc::default(),
        metrics: Arc::default(),
        layout: Arc::new(slot),
        reading: Arc::new(Reading::from(String::new(), start.clone())),
        established: Arc::default(),
    };
    (Follower::new(table_name(), start, around.clone()), around)
}

/// A whole transaction that inserts the rows, ending at `end`.
pub(super) fn insert_transaction(rows: &[Row], end: u32) -> Vec<Vec<u8>> {
    vec![
        event(kind::GTID, end - 90, &[0; 42]),
        event(kind::QUERY, end - 80, &query_body("shop", "BEGIN")),
        event(kind::TABLE_MAP, end - 70, &table_map(7, "shop", "queued_job")),
        event(kind::WRITE_ROWS, end - 60, &rows_body(kind::WRITE_ROWS, rows)),
        event(kind::XID, end, &[0; 8]),
    ]
}

/// The same within one compressed event.
pub(super) fn payload_event(rows: &[Row], end: u32) -> Vec<u8> {
    let inner = [
        inner_event(kind::QUERY, &query_body("shop", "BEGIN")),
        inner_event(kind::TABLE_MAP, &table_map(9, "shop", "orders")),
        inner_event(kind::WRITE_ROWS, &{
            let mut foreign = rows_body(kind::WRITE_ROWS, &[Row::available(99)]);
            foreign[0] = 9;
            foreign
        }),
        inner_event(kind::TABLE_MAP, &table_map(7, "shop", "queued_job")),
        inner_event(kind::WRITE_ROWS, &rows_body(kind::WRITE_ROWS, rows)),
        inner_event(kind::XID, &[0; 8]),
    ];
    event(kind::TRANSACTION_PAYLOAD, end, &payload_body(&inner))
}

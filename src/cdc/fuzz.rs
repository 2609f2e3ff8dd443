//! Bytes of any kind in place of events: nothing panics, nothing is kept without bound, and what is lost of our own
//! rows is noticed.

use super::event::kind;
use super::testing::{
    Row, deflate, event, follower, image, inner_event, insert_transaction, payload_body, payload_event, query_body,
    rotate_body, rows_body, table_map, xa_prepare_body,
};
use crate::job::JobId;
use crate::wakeup::SweepCause;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// At least so many cases; more when `PROPTEST_CASES` says so.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(cases), failure_persistence: None, ..default }
}

/// One real event of each form that we read.
fn real_events() -> Vec<Vec<u8>> {
    let rows = [Row::available(3), Row { state: None, ..Row::available(4) }, Row::available(5)];
    let mut events = insert_transaction(&rows[..1], 500);
    for form in [
        kind::WRITE_ROWS_V1,
        kind::UPDATE_ROWS_V1,
        kind::UPDATE_ROWS,
        kind::PARTIAL_UPDATE_ROWS,
        kind::WRITE_ROWS_COMPRESSED_V1,
        kind::UPDATE_ROWS_COMPRESSED,
    ] {
        events.push(event(form, 0, &rows_body(form, &rows[..1])));
        events.push(event(form, 0, &rows_body(form, &rows[1..2])));
    }
    events.extend([
        payload_event(&rows[..1], 900),
        event(kind::QUERY, 950, &query_body("shop", "INSERT INTO queued_job VALUES (1)")),
        event(kind::QUERY, 950, &query_body("shop", "XA COMMIT X'61',X'',1")),
        event(kind::XA_PREPARE, 950, &xa_prepare_body(false, "a", "")),
        event(kind::ROTATE, 950, &rotate_body("b.000002", 4)),
        event(kind::MARIADB_GTID, 950, &[0; 19]),
        event(kind::TABLE_MAP, 950, &table_map(7, "shop", "queued_job")),
        super::testing::format_description(),
    ]);
    events
}

/// How a real event is spoiled.
#[derive(Debug, Clone)]
enum Fault {
    Cut(Index),
    Set(Index, u8),
    Insert(Index, u8),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        any::<Index>().prop_map(Fault::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Fault::Set(at, byte)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Fault::Insert(at, byte)),
    ]
}

fn spoil(event: &mut Vec<u8>, fault: &Fault) {
    if event.is_empty() {
        return;
    }
    match fault {
        Fault::Cut(at) => event.truncate(at.index(event.len())),
        Fault::Set(at, byte) => {
            let at = at.index(event.len());
            event[at] = *byte;
        }
        Fault::Insert(at, byte) => event.insert(at.index(event.len()), *byte),
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn any_bytes_are_survived(events in vec(vec(any::<u8>(), 0..200), 1..8)) {
        let (mut follower, _) = follower();
        for event in &events {
            let _ = follower.wire_event(event);
        }
    }

    #[test]
    fn any_body_of_any_kind_is_survived(kinds in vec((any::<u8>(), vec(any::<u8>(), 0..120)), 1..8)) {
        let (mut follower, _) = follower();
        follower.wire_event(&event(kind::TABLE_MAP, 0, &table_map(7, "shop", "queued_job"))).unwrap();
        for (kind, body) in &kinds {
            let _ = follower.wire_event(&event(*kind, 0, &[&[7, 0, 0, 0, 0, 0, 1, 0], &body[..]].concat()));
            let _ = follower.wire_event(&event(*kind, 0, body));
        }
    }

    #[test]
    fn spoiled_events_are_survived(faults in vec((any::<Index>(), vec(fault(), 0..4)), 1..12)) {
        let events = real_events();
        let (mut follower, around) = follower();
        for (which, faults) in &faults {
            let mut event = which.get(&events).clone();
            for fault in faults {
                spoil(&mut event, fault);
            }
            let _ = follower.wire_event(&event);
            around.layout.answer(around.layout.question(), Some(super::testing::layout()));
        }
    }
}

/// The forms of row events that an INSERT has.
const INSERTS: [u8; 4] =
    [kind::WRITE_ROWS_V1, kind::WRITE_ROWS, kind::WRITE_ROWS_COMPRESSED_V1, kind::WRITE_ROWS_COMPRESSED];

/// A transaction that inserts these rows, in one of the forms.
fn insert(form: u8, rows: &[Row]) -> Vec<Vec<u8>> {
    let mut events = insert_transaction(rows, 500);
    events[3] = event(form, 440, &rows_body(form, rows));
    events
}

/// Whether each job was rung for, or a sweep, or the stream was given up, which ends in a sweep.
fn is_noticed(events: &[Vec<u8>], jobs: &[u64]) -> bool {
    let (mut follower, around) = follower();
    let broken = events.iter().any(|event| follower.wire_event(event).is_err());
    let hints = around.wakeup.take();
    broken || hints.sweep.is_some() || jobs.iter().all(|job| hints.jobs.contains(&JobId(*job)))
}

/// A checksum's place holds no data: nobody misses what is cut off there.
const CHECKSUM: usize = 4;

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn rows_that_are_cut_short_are_never_passed_over_in_silence(
        form in proptest::sample::select(&INSERTS[..]), ids in vec(any::<u64>(), 1..4), at in any::<Index>(),
    ) {
        let rows: Vec<Row> = ids.iter().map(|id| Row::available(*id)).collect();
        let mut events = insert(form, &rows);
        prop_assert!(is_noticed(&events, &ids));
        let length = events[3].len() - CHECKSUM;
        // A cut just between two rows would leave a whole event; only the length in its header could tell.
        events[3].truncate(1 + at.index(length - 1));
        prop_assert!(is_noticed(&events, &ids), "cut at {} of {length}", events[3].len());
    }

    #[test]
    fn compressed_rows_with_a_wrong_byte_are_never_passed_over_in_silence(
        form in proptest::sample::select(&INSERTS[2..]), id in any::<u64>(), at in any::<Index>(), flip in 1_u8..,
    ) {
        let mut events = insert(form, &[Row::available(id)]);
        let body = rows_body(form, &[Row::available(id)]);
        let compressed = body.len() - deflate(&image(Row::available(id))).len();
        let at = 19 + compressed + at.index(body.len() - compressed);
        events[3][at] ^= flip;
        prop_assert!(is_noticed(&events, &[id]), "byte {at} of {}", events[3].len());
    }

    #[test]
    fn compressed_transactions_that_are_cut_short_are_never_passed_over_in_silence(
        id in any::<u64>(), at in any::<Index>(),
    ) {
        let mut whole = payload_event(&[Row::available(id)], 900);
        prop_assert!(is_noticed(&[whole.clone()], &[id]));
        whole.truncate(1 + at.index(whole.len() - CHECKSUM - 1));
        prop_assert!(is_noticed(&[whole], &[id]));
    }

    #[test]
    fn an_event_kept_aside_is_what_is_lost_and_no_other(rows in vec((any::<u64>(), any::<bool>()), 1..12)) {
        let (mut follower, around) = follower();
        let mut expected = Vec::new();
        for (id, ours) in &rows {
            let mut events = insert_transaction(&[Row::available(*id)], 500);
            if *ours {
                expected.push(JobId(*id));
            } else {
                events[2] = event(kind::TABLE_MAP, 430, &table_map(7, "shop", "orders"));
            }
            for event in &events {
                follower.wire_event(event).unwrap();
            }
        }
        let hints = around.wakeup.take();
        expected.sort_unstable();
        expected.dedup();
        let mut jobs = hints.jobs;
        jobs.sort_unstable();
        jobs.dedup();
        prop_assert_eq!((jobs, hints.sweep), (expected, None));
    }
}

/// Megabytes of nothing, compressed to kilobytes.
const BOMB: usize = 16 << 20;

#[test]
fn a_compressed_event_that_says_it_is_small_is_read_no_further() {
    let mut bomb = deflate(&vec![0; BOMB]);
    assert!(bomb.len() < BOMB / 500);
    bomb[1..5].copy_from_slice(&1_000_u32.to_be_bytes());
    // Its own end is what a reader of the whole would wait for.
    assert_eq!(super::compressed::inflate(&bomb), None);
    for said in [u32::MAX, 1 << 31, (256 << 20) + 1] {
        bomb[1..5].copy_from_slice(&said.to_be_bytes());
        assert_eq!(super::compressed::inflate(&bomb), None, "{said}");
    }
}

#[test]
fn a_compressed_transaction_with_an_event_of_gigabytes_asks_for_a_sweep() {
    let mut huge = inner_event(kind::WRITE_ROWS, &rows_body(kind::WRITE_ROWS, &[Row::available(1)]));
    huge[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    huge.resize(BOMB, 0);
    let inner = [inner_event(kind::TABLE_MAP, &table_map(7, "shop", "queued_job")), huge];
    let (mut follower, around) = follower();
    follower.wire_event(&event(kind::TRANSACTION_PAYLOAD, 900, &payload_body(&inner))).unwrap();
    assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Unreadable));
}

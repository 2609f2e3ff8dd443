//! Bytes of any kind in place of events: nothing panics, nothing is kept without bound.

use super::event::kind;
use super::testing::{
    Row, event, follower, insert_transaction, payload_event, query_body, rotate_body, rows_body, table_map,
    xa_prepare_body,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

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
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

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

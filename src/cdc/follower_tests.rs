//! Streams made by hand, through a follower.

use super::event::{EventHeader, kind};
use super::follower::Follower;
use super::layout::Layout;
use super::testing::{
    self, Row, event, insert_transaction, payload_event, query_body, rotate_body, rows_body, table_map,
};
use crate::job::JobId;
use crate::wakeup::{Hints, SweepCause};

fn feed(follower: &mut Follower, events: &[Vec<u8>]) {
    for event in events {
        follower.wire_event(event).unwrap();
    }
}

fn hints_after(events: &[Vec<u8>]) -> Hints {
    let (mut follower, around) = testing::follower();
    feed(&mut follower, events);
    around.wakeup.take()
}

#[test]
fn a_transaction_is_rung_for_at_its_end_and_moves_the_bookmark() {
    let (mut follower, around) = testing::follower();
    let events = insert_transaction(&[Row::available(3), Row::available(4)], 500);
    let (last, before) = events.split_last().unwrap();
    feed(&mut follower, before);
    assert!(around.wakeup.take().is_empty());
    assert_eq!((follower.bookmark().offset, follower.transactions_read()), (4, 0));
    follower.wire_event(last).unwrap();
    assert_eq!(around.wakeup.take().jobs, [JobId(3), JobId(4)]);
    assert_eq!((follower.bookmark().offset, follower.transactions_read()), (500, 1));
}

#[test]
fn nothing_is_believed_before_the_format_is_known() {
    let (mut follower, around) = testing::unopened_follower();
    feed(&mut follower, &[event(kind::ROTATE, 0, &rotate_body("other.000009", 4))]);
    feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
    assert!(around.wakeup.take().is_empty());
    assert_eq!(follower.bookmark().to_string(), "b.000001:4");
}

#[test]
fn a_compressed_transaction_is_one_event() {
    let (mut follower, around) = testing::follower();
    let payload = payload_event(&[Row::available(3)], 700);
    let header = EventHeader::parse(&payload).unwrap();
    assert_eq!(follower.event(header, &payload[EventHeader::LENGTH..payload.len() - 4]), 6);
    assert_eq!(around.wakeup.take().jobs, [JobId(3)]);
    assert_eq!(follower.bookmark().offset, 700);
}

#[test]
fn a_compressed_transaction_that_is_broken_asks_for_a_sweep() {
    let mut payload = payload_event(&[Row::available(3)], 700);
    payload.truncate(payload.len() - 20);
    assert_eq!(hints_after(&[payload]).sweep, Some(SweepCause::Unreadable));
}

#[test]
fn rows_that_can_not_be_read_ask_for_a_sweep() {
    let mut events = insert_transaction(&[Row::available(3)], 500);
    let rows = rows_body(kind::WRITE_ROWS, &[Row::available(3)]);
    events[3] = event(kind::WRITE_ROWS, 440, &rows[..rows.len() - 1]);
    let hints = hints_after(&events);
    assert_eq!((hints.jobs, hints.sweep), (vec![], Some(SweepCause::Unreadable)));
}

/// As rows in pieces are.
#[test]
fn what_nobody_knows_in_place_of_our_rows_asks_for_a_sweep() {
    let sweep_after = |table, unknown: &[Vec<u8>]| {
        let gtid = event(kind::MARIADB_GTID, 300, &[0; 19]);
        let map = event(kind::TABLE_MAP, 400, &table_map(7, "shop", table));
        hints_after(&[&[gtid, map][..], unknown, &[event(kind::XID, 531, &[0; 8])]].concat()).sweep
    };
    let pieces = [event(172, 450, &[1; 50]), event(172, 500, &[2; 50])];
    assert_eq!(sweep_after("queued_job", &pieces), Some(SweepCause::Unreadable));
    assert_eq!(sweep_after("other", &pieces), None);
    let rows = event(kind::WRITE_ROWS_V1, 440, &rows_body(kind::WRITE_ROWS_V1, &[Row::available(3)]));
    assert_eq!(sweep_after("queued_job", &[rows.clone(), event(172, 480, &[1; 40])]), None, "the next statement's");
    let mut more_to_come = rows;
    more_to_come[19 + 6] = 0;
    assert_eq!(sweep_after("queued_job", &[more_to_come, event(172, 480, &[1; 40])]), Some(SweepCause::Unreadable));
}

#[test]
fn a_table_that_does_not_fit_is_asked_for_anew() {
    let (mut follower, around) = testing::follower();
    let other = Layout { column_count: 9, ..testing::layout() };
    around.layout.answer(0, Some(other));
    feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
    assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Unreadable));
    assert_eq!(around.layout.get(), None);
    feed(&mut follower, &insert_transaction(&[Row::available(4)], 900));
    assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Statement));
    around.layout.answer(around.layout.question(), Some(testing::layout()));
    feed(&mut follower, &insert_transaction(&[Row::available(5)], 1300));
    assert_eq!(around.wakeup.take().jobs, [JobId(5)]);
}

#[test]
fn a_change_of_the_table_forgets_its_columns() {
    let (mut follower, around) = testing::follower();
    feed(&mut follower, &[event(kind::QUERY, 400, &query_body("shop", "ALTER TABLE queued_job ADD x INT"))]);
    assert_eq!(around.layout.get(), None);
    assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Statement));
    assert_eq!(follower.bookmark().offset, 400);
}

#[test]
fn a_load_logged_as_a_statement_asks_for_a_sweep() {
    let mut body = query_body("shop", "LOAD DATA INFILE 'x' INTO TABLE `queued_job`");
    for _ in 0..13 {
        body.insert(13, 9);
    }
    assert_eq!(hints_after(&[event(kind::EXECUTE_LOAD_QUERY, 400, &body)]).sweep, Some(SweepCause::Statement));
}

#[test]
fn an_incident_is_a_gap() {
    assert_eq!(hints_after(&[event(kind::INCIDENT, 400, &[1, 0, 0])]).sweep, Some(SweepCause::Gap));
}

#[test]
fn table_numbers_begin_anew_with_a_file() {
    let (mut follower, around) = testing::follower();
    feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
    feed(&mut follower, &[event(kind::ROTATE, 540, &rotate_body("b.000002", 4)), testing::format_description()]);
    around.wakeup.take();
    let rows = rows_body(kind::WRITE_ROWS, &[Row::available(4)]);
    feed(&mut follower, &[event(kind::WRITE_ROWS, 300, &rows), event(kind::XID, 331, &[0; 8])]);
    assert!(around.wakeup.take().is_empty(), "the number may be another table's now");
    assert_eq!(follower.bookmark().to_string(), "b.000002:331");
}

#[test]
fn mariadb_events_without_a_position_are_reckoned() {
    let (mut follower, around) = testing::follower();
    let map = event(kind::TABLE_MAP, 0, &table_map(7, "shop", "queued_job"));
    let rows = event(kind::WRITE_ROWS_V1, 0, &rows_body(kind::WRITE_ROWS_V1, &[Row::available(3)]));
    let gtid = event(kind::MARIADB_GTID, 46, &[0; 19]);
    let end = event(kind::XID, 0, &[0; 8]);
    let length = 46 + map.len() + rows.len() + end.len();
    feed(&mut follower, &[gtid, map, rows, end]);
    assert_eq!(around.wakeup.take().jobs, [JobId(3)]);
    assert_eq!(follower.bookmark().offset, length as u64);
}

//! What a finished withdrawal leaves behind: at most 8 rows and 2 KiB.

use portcullis_core::slot::{AttemptKind, Purpose, SlotOutcome};
use portcullis_core::withdrawal::StateCode;
use portcullis_store::chain::{ChainAdvance, Inclusion};
use portcullis_store::slot::{NewAttempt, NewSlot};

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS};
use crate::rail::{NONCE_FIRST, block, blocks, digest_of, inclusion, signed, slot_at};

const COUNT: u64 = 5_000;
const SET: u64 = 500;

async fn used_bytes(fixture: &Fixture) -> i64 {
    let pages = fixture.number("SELECT page_count FROM pragma_page_count").await;
    let free = fixture.number("SELECT freelist_count FROM pragma_freelist_count").await;
    let size = fixture.number("SELECT page_size FROM pragma_page_size").await;
    (pages - free) * size
}

/// Takes one set the whole way, in the stages of the roles.
async fn finish_set(fixture: &Fixture, set: u64) {
    let names = set * SET..(set + 1) * SET;
    let requests = names.map(|n| {
        fixture.submission(&format!("order-2026-11-20-{n:06}"), "customer-0042", 1_000_000)
    });
    let accepted = fixture.intake.submit_many(requests.collect(), PATIENCE_MS).await;
    assert_eq!(accepted.expect("answers").len(), 500);
    fixture.clock.advance(20);
    assert_eq!(fixture.validate_all().await, 500);
    let queued = fixture.store.queued(CHAIN, SET).await.expect("reads");
    let first = NONCE_FIRST + set * SET;
    let slots: Vec<NewSlot> = queued
        .iter()
        .zip(first..)
        .map(|(record, nonce)| fixture.new_slot(slot_at(0, nonce), &[record.id]))
        .collect();
    let leases = [fixture.sender_lease(0).await];
    fixture.store.bind(&leases, &slots).await.expect("binds");
    let attempts: Vec<NewAttempt> = slots
        .iter()
        .map(|new| NewAttempt {
            slot_id: new.id,
            signed: signed(new.slot, AttemptKind::Payload, 40),
        })
        .collect();
    fixture.store.commit_attempts(&leases, &attempts, &[]).await.expect("commits");
    assert_eq!(fixture.send_due().await, 500);
    let number = 100 + set;
    let advance = ChainAdvance { forget_below: number.saturating_sub(1), ..blocks(number, number) };
    fixture.advance(advance).await.expect("advances");
    let seen: Vec<Inclusion> = slots
        .iter()
        .zip(&attempts)
        .map(|(new, attempt)| inclusion(new, &attempt.signed, block(number, 0)))
        .collect();
    assert!(
        slots.iter().all(|new| {
            new.purpose == Purpose::Pay && new.payload_digest == digest_of(new.slot)
        })
    );
    assert!(seen.iter().all(|seen| seen.outcome == SlotOutcome::Paid));
    let monitor = fixture.monitor().await;
    fixture.store.include(&monitor, &seen).await.expect("includes");
    fixture.clock.advance(20_000);
    assert_eq!(fixture.confirm(number).await, 500);
    assert_eq!(fixture.finalize(number).await, 500);
}

#[tokio::test]
async fn a_finished_withdrawal_keeps_at_most_two_kibibytes_and_eight_rows() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.fund("customer-0042", COUNT * 1_000_000).await;
    let before = used_bytes(&fixture).await;
    for set in 0..COUNT / SET {
        finish_set(&fixture, set).await;
    }
    let count = i64::try_from(COUNT).expect("few");
    let bytes = (used_bytes(&fixture).await - before) / count;
    let mut rows = 0;
    for table in ["withdrawals", "postings", "slots", "bindings", "attempts", "work", "headers"] {
        rows += fixture.number(format!("SELECT count(*) FROM {table}")).await;
    }
    println!("a finished withdrawal keeps {bytes} bytes and {} rows", rows / count);
    assert!(bytes <= 2_048, "{bytes} bytes");
    assert!(rows <= 8 * count, "{rows} rows of {count} withdrawals");
    assert_eq!(fixture.number("SELECT count(*) FROM work").await, 0);
    let last = &fixture.all().await[0];
    assert_eq!((last.state.code(), last.timeline.len()), (StateCode::Confirmed, 10));
    fixture.check().await;
}

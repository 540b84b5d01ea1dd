//! What the monitor's writes refuse.

use portcullis_core::slot::{AttemptKind, SlotOutcome};
use portcullis_core::withdrawal::StateCode;
use portcullis_store::StoreError;
use portcullis_store::chain::{ChainAdvance, Inclusion};

use crate::fixture::{CHAIN, Fixture, units};
use crate::rail::{NONCE_FIRST, block, blocks, header, inclusion, reorg, signed, slot_at};

fn is_conflict(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict { .. } | StoreError::Duplicate { .. }))
}

#[tokio::test]
async fn only_a_stored_block_holds_an_inclusion() {
    let fixture = Fixture::open().await;
    let (sent, new, attempt) = fixture.sent("w").await;
    for unknown in [block(101, 1), block(103, 0)] {
        let outcome = fixture.include(inclusion(&new, &attempt, unknown)).await;
        assert!(is_conflict(&outcome), "{unknown:?}: {outcome:?}");
    }
    assert_eq!(fixture.read(&sent).await, sent);
    // Seen on one fork, recorded after the chain went another way.
    fixture.advance(reorg(100, 102, 1)).await.expect("advances");
    let outcome = fixture.include(inclusion(&new, &attempt, block(101, 0))).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    fixture.check().await;
}

#[tokio::test]
async fn below_all_stored_blocks_the_evidence_is_enough() {
    let fixture = Fixture::open().await;
    let (sent, new, attempt) = fixture.sent("w").await;
    let outcome = fixture.include(inclusion(&new, &attempt, block(99, 0))).await;
    assert_eq!(outcome, Ok(()), "nothing that is followed could still undo it");
    assert_eq!(fixture.read(&sent).await.state.code(), StateCode::Confirming);
    fixture.check().await;
}

#[tokio::test]
async fn only_an_attempt_of_the_slot_consumes_it() {
    let fixture = Fixture::open().await;
    let (_, new, _) = fixture.sent("w").await;
    let other = fixture.queue("other", 1).await;
    let (_, other_attempt) = fixture.sign(&other, NONCE_FIRST + 1).await;
    let never_committed = signed(new.slot, AttemptKind::Payload, 9);
    for attempt in [&other_attempt, &never_committed] {
        let outcome = fixture.include(inclusion(&new, attempt, block(101, 0))).await;
        assert!(is_conflict(&outcome), "{outcome:?}");
    }
    fixture.check().await;
}

#[tokio::test]
async fn a_slot_is_consumed_once() {
    let fixture = Fixture::open().await;
    let (_, new, attempt) = fixture.sent("w").await;
    let seen = inclusion(&new, &attempt, block(101, 0));
    fixture.include(seen.clone()).await.expect("includes");
    let again = fixture.include(seen).await;
    assert!(is_conflict(&again), "{again:?}");
    let elsewhere = fixture.include(inclusion(&new, &attempt, block(102, 0))).await;
    assert!(is_conflict(&elsewhere), "{elsewhere:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_set_of_inclusions_is_recorded_whole_or_not_at_all() {
    let fixture = Fixture::open().await;
    let (sent, new, attempt) = fixture.sent("w").await;
    let good = inclusion(&new, &attempt, block(101, 0));
    let bad = Inclusion { slot_id: fixture.new_slot(slot_at(0, 9), &[]).id, ..good.clone() };
    let lease = fixture.monitor().await;
    let outcome = fixture.store.include(&lease, &[good, bad]).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    assert_eq!(fixture.read(&sent).await, sent);
}

#[tokio::test]
async fn blocks_follow_each_other() {
    let fixture = Fixture::open().await;
    fixture.advance(blocks(100, 102)).await.expect("begins anywhere");
    let stray = ChainAdvance { headers: vec![header(103, 1, 1)], ..ChainAdvance::default() };
    let outcome = fixture.advance(stray).await;
    assert!(is_conflict(&outcome), "a child of another block: {outcome:?}");
    let again = fixture.advance(blocks(102, 103)).await;
    assert!(is_conflict(&again), "a height is stored once: {again:?}");
    let beyond = fixture.advance(blocks(104, 105)).await;
    assert!(is_conflict(&beyond), "no height is left out: {beyond:?}");
    fixture.advance(blocks(103, 104)).await.expect("advances");
    let forget = ChainAdvance { forget_below: 103, ..blocks(105, 105) };
    fixture.advance(forget).await.expect("advances");
    let kept = fixture.store.headers(CHAIN, 99).await.expect("reads");
    let numbers: Vec<u64> = kept.iter().map(|header| header.block.number).collect();
    assert_eq!(numbers, [103, 104, 105], "oldest first");
    let newest = fixture.store.headers(CHAIN, 2).await.expect("reads");
    assert_eq!(newest, kept[1..]);
    assert_eq!(fixture.store.headers(1, 9).await, Ok(vec![]), "chains share nothing");
}

#[tokio::test]
async fn a_final_block_that_leaves_the_chain_stops_everything() {
    let fixture = Fixture::open().await;
    let (_, new, attempt) = fixture.sent("w").await;
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    let outcome = fixture.advance(reorg(100, 103, 1)).await;
    assert!(matches!(outcome, Err(StoreError::Halted { .. })), "{outcome:?}");
    let stored = fixture.store.headers(CHAIN, 9).await.expect("reads");
    assert_eq!(stored.last().map(|header| header.block), Some(block(102, 0)), "nothing is written");
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.check().await;
}

#[tokio::test]
async fn evidence_of_before_a_reorg_ends_nothing() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let reverted =
        Inclusion { outcome: SlotOutcome::Reverted, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(reverted).await.expect("includes");
    fixture.confirm(101).await;
    let read_before = fixture.deep(101).await;
    assert_eq!(read_before[0].outcome, SlotOutcome::Reverted);
    // On the other fork the very same transaction pays.
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    fixture.include(inclusion(&new, &attempt, block(102, 1))).await.expect("includes");
    fixture.confirm(102).await;
    let lease = fixture.monitor().await;
    let outcome = fixture.store.finalize(&lease, &read_before).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    assert_eq!((fixture.finalize(102).await, fixture.finalize(102).await), (1, 0), "once");
    fixture.check().await;
}

#[tokio::test]
async fn a_revert_of_before_a_reorg_does_not_fail_what_our_cancel_won() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let cancel = signed(new.slot, AttemptKind::Cancel, 2);
    fixture.commit(&new, &cancel).await.expect("commits");
    let reverted =
        Inclusion { outcome: SlotOutcome::Reverted, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(reverted).await.expect("includes");
    fixture.confirm(101).await;
    let read_before = fixture.deep(101).await;
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    fixture.include(inclusion(&new, &cancel, block(102, 1))).await.expect("includes");
    fixture.confirm(102).await;
    let lease = fixture.monitor().await;
    let outcome = fixture.store.finalize(&lease, &read_before).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Broadcasted);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    assert_eq!(fixture.finalize(102).await, 1);
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Queued);
    fixture.check().await;
}

#[tokio::test]
async fn only_what_is_deep_enough_is_confirmed_and_ended() {
    let fixture = Fixture::open().await;
    let (_, first, first_attempt) = fixture.sent("first").await;
    let second = fixture.queue("second", 1).await;
    let (second, second_attempt) = fixture.sign(&second, NONCE_FIRST + 1).await;
    fixture.include(inclusion(&first, &first_attempt, block(101, 0))).await.expect("includes");
    fixture.include(inclusion(&second, &second_attempt, block(102, 0))).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.confirm(101).await), (1, 0));
    assert_eq!((fixture.finalize(102).await, fixture.confirm(102).await), (1, 1));
    assert_eq!((fixture.finalize(101).await, fixture.finalize(102).await), (0, 1));
    fixture.check().await;
}

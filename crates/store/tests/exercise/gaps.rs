//! Gaps: found between the chain's count and the next nonce, and filled by the holder of the lease alone.

use portcullis_core::slot::{Purpose, SlotStage};
use portcullis_store::StoreError;
use portcullis_store::slot::NewSlot;

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{NONCE_FIRST, sender, slot_at};

/// Sender 0 with slots at its first two nonces and its fourth: a restored database may look so.
async fn with_gap() -> Fixture {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    for (n, name) in [(0, "a"), (1, "b")] {
        let record = fixture.queue(name, 1).await;
        fixture.sign(&record, NONCE_FIRST + n).await;
    }
    fixture.sql(format!("UPDATE senders SET nonce_next = {}", NONCE_FIRST + 3)).await;
    let record = fixture.queue("d", 1).await;
    fixture.sign(&record, NONCE_FIRST + 3).await;
    fixture
}

async fn gaps(fixture: &Fixture, count: u64) -> Vec<u64> {
    let found = fixture.store.gaps(CHAIN, &[(sender(0), count)]).await.expect("reads");
    found.into_iter().map(|slot| slot.nonce).collect()
}

fn filler(fixture: &Fixture, nonce: u64) -> NewSlot {
    fixture.new_slot(slot_at(0, nonce), &[])
}

#[tokio::test]
async fn a_nonce_without_a_slot_is_a_gap_until_it_is_filled() {
    let fixture = with_gap().await;
    assert_eq!(gaps(&fixture, NONCE_FIRST).await, [NONCE_FIRST + 2]);
    assert_eq!(gaps(&fixture, NONCE_FIRST + 3).await, [0_u64; 0], "the chain is past it");
    assert_eq!(gaps(&fixture, NONCE_FIRST + 99).await, [0_u64; 0]);
    assert_eq!(fixture.store.gaps(CHAIN, &[(sender(7), 0)]).await, Ok(vec![]), "a stranger");
    let lease = fixture.sender_lease(0).await;
    let new = filler(&fixture, NONCE_FIRST + 2);
    fixture.store.fill_gap(&lease, &new).await.expect("fills");
    let slot = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    assert_eq!((slot.purpose, slot.stage), (Purpose::Fill, SlotStage::Bound));
    assert_eq!(gaps(&fixture, NONCE_FIRST).await, [0_u64; 0]);
    let next = fixture.store.senders(CHAIN).await.expect("reads")[0].1;
    assert_eq!(next, NONCE_FIRST + 4, "a gap takes no new nonce");
    fixture.check().await;
}

#[tokio::test]
async fn only_a_nonce_that_nothing_has_is_filled() {
    let fixture = with_gap().await;
    let lease = fixture.sender_lease(0).await;
    let taken = fixture.store.fill_gap(&lease, &filler(&fixture, NONCE_FIRST + 1)).await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })), "{taken:?}");
    let beyond = fixture.store.fill_gap(&lease, &filler(&fixture, NONCE_FIRST + 9)).await;
    assert!(matches!(beyond, Err(StoreError::Conflict { .. })), "{beyond:?}");
    let record = fixture.queue("x", 1).await;
    let paying = fixture.new_slot(slot_at(0, NONCE_FIRST + 2), &[record.id]);
    let paying = fixture.store.fill_gap(&lease, &paying).await;
    assert!(matches!(paying, Err(StoreError::Conflict { .. })), "a filler pays nobody: {paying:?}");
    fixture.store.fill_gap(&lease, &filler(&fixture, NONCE_FIRST + 4)).await.expect("the next one");
    let next = fixture.store.senders(CHAIN).await.expect("reads")[0].1;
    assert_eq!(next, NONCE_FIRST + 5, "which is taken by it");
    fixture.store.raise_halt("restore", "the journal knows more").await.expect("raises");
    let halted = fixture.store.fill_gap(&lease, &filler(&fixture, NONCE_FIRST + 2)).await;
    assert_eq!(halted, Err(StoreError::Halted { reason: "restore".into() }));
    fixture.clock.advance(60_000);
    let late = fixture.store.fill_gap(&lease, &filler(&fixture, NONCE_FIRST + 2)).await;
    assert!(late.is_err(), "neither halted nor without its lease: {late:?}");
}

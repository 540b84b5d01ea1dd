//! Final slots that left the chain: open again, with their money held, and nothing else touched.

use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::StoreError;

use crate::fixture::{CHAIN, Fixture, kinds, units};
use crate::rail::{block, blocks, inclusion};

#[tokio::test]
async fn a_final_slot_is_opened_again_with_its_money_held() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.store.reopen_slot(new.id, "reconcile").await.expect("opens");

    let record = fixture.read(&record).await;
    assert_eq!(record.state, State::Broadcasted { slot: new.id });
    assert_eq!(kinds(&record).last(), Some(&"reconciled"));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is there");
    assert_eq!((open.stage, open.payments.len()), (SlotStage::Sent, 1));
    let headers = fixture.store.headers(CHAIN, 99).await.expect("reads");
    assert_eq!(headers, [], "the monitor begins anew");
    fixture.check().await;

    // The same bytes are sent, and it is paid as before.
    let sendable = fixture.store.claim_sendable(CHAIN, "one", 9, 1).await.expect("claims");
    assert_eq!((sendable.len(), sendable[0].hash), (1, attempt.hash));
    fixture.clock.advance(10);
    fixture.advance(blocks(100, 103)).await.expect("advances");
    fixture.include(inclusion(&new, &attempt, block(103, 0))).await.expect("includes");
    assert_eq!((fixture.confirm(103).await, fixture.finalize(103).await), (1, 1));
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.check().await;
    fixture.store.verify_audit().await.expect("holds");
}

#[tokio::test]
async fn what_is_not_final_is_not_opened_again() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let refused = fixture.store.reopen_slot(new.id, "reconcile").await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    fixture.confirm(101).await;
    let refused = fixture.store.reopen_slot(new.id, "reconcile").await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    assert_ne!(fixture.store.headers(CHAIN, 99).await.expect("reads"), []);
    fixture.check().await;
}

//! Differences that an operator accepts: once, whole, and only on a final end.

use portcullis_core::id::SlotId;
use portcullis_core::slot::{AttemptKind, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{HoldReason, State};
use portcullis_store::StoreError;
use portcullis_store::reconcile::{
    AcceptedDifference, ForeignSlot, Freed, ImportedAttempt, ImportedEnd, SlotImport,
};
use portcullis_store::slot::NewSlot;

use crate::fixture::{Fixture, units};
use crate::rail::{block, block_at, digest_of, signed};

fn accepted(fixture: &Fixture, id: &str) -> AcceptedDifference {
    AcceptedDifference {
        id: id.to_owned(),
        kind: "foreign".to_owned(),
        subject: "a slot".to_owned(),
        detail: "consumed by another".to_owned(),
        reason: "the key is retired".to_owned(),
        actor: "cli:test".to_owned(),
        at: fixture.now(),
    }
}

/// The slot consumed by a transaction that is not ours.
fn foreign(fixture: &Fixture, new: &NewSlot, seen: SlotStage) -> ForeignSlot {
    let other = signed(new.slot, AttemptKind::Cancel, 99);
    let end = ImportedEnd {
        outcome: SlotOutcome::Canceled,
        hash: other.hash,
        block: block(101, 0),
        block_at: block_at(101),
        gas_used: 21_000,
        effective_gas_price_wei: 30_000_000_000,
    };
    ForeignSlot {
        held: Vec::new(),
        import: SlotImport {
            id: SlotId::from_parts(fixture.now(), fixture.random()),
            slot: new.slot,
            seen: Some(seen),
            purpose: Purpose::Pay,
            rail: Rail::Direct,
            payload_digest: digest_of(new.slot),
            attempts: vec![ImportedAttempt {
                hash: other.hash,
                kind: AttemptKind::Cancel,
                at: fixture.now(),
            }],
            payments: Vec::new(),
            end: Some(end),
        },
    }
}

#[tokio::test]
async fn an_accepted_consumption_ends_the_slot_and_frees_what_it_carried() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let slot = foreign(&fixture, &new, SlotStage::Sent);
    let difference = accepted(&fixture, "one");
    let freed = fixture.store.accept_difference(&difference, Some(&slot)).await;
    assert_eq!(freed, Ok(Freed { released: 1, held: 0 }));
    assert_eq!(fixture.read(&record).await.state, State::Queued);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is there");
    assert_eq!((open.stage, open.payments.len()), (SlotStage::Final, 0));
    let words: Vec<Option<&str>> =
        open.attempts.iter().map(|attempt| attempt.last_outcome.as_deref()).collect();
    assert_eq!(words, [Some("accepted"), Some("not ours, and accepted by an operator")]);
    assert_eq!(fixture.store.accepted_differences().await, Ok(vec![difference.clone()]));
    let again = fixture.store.accept_difference(&difference, None).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    fixture.store.verify_audit().await.expect("holds");
    fixture.check().await;
}

#[tokio::test]
async fn what_may_be_paid_by_it_is_held() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let mut slot = foreign(&fixture, &new, SlotStage::Sent);
    slot.held.push(record.id);
    let freed = fixture.store.accept_difference(&accepted(&fixture, "one"), Some(&slot)).await;
    assert_eq!(freed, Ok(Freed { released: 0, held: 1 }));
    let held = State::Held { reason: HoldReason::Restore, slot: None };
    assert_eq!(fixture.read(&record).await.state, held);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn without_a_final_end_or_in_another_stage_nothing_is_written() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let mut open_ended = foreign(&fixture, &new, SlotStage::Sent);
    open_ended.import.end = None;
    let elsewhere = foreign(&fixture, &new, SlotStage::Signed);
    for slot in [open_ended, elsewhere] {
        let refused =
            fixture.store.accept_difference(&accepted(&fixture, "one"), Some(&slot)).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(fixture.read(&record).await.state, State::Broadcasted { slot: new.id });
    }
    assert_eq!(fixture.store.accepted_differences().await, Ok(vec![]));
    fixture.check().await;
}

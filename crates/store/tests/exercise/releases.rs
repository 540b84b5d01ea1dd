//! Slots that were consumed without paying: only their final end lets a payment go.

use portcullis_core::amount::Amount;
use portcullis_core::id::SlotId;
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::slot::{AttemptKind, SlotOutcome};
use portcullis_core::withdrawal::{FailureReason, HoldReason, State, StateCode};
use portcullis_store::StoreError;
use portcullis_store::chain::Inclusion;
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{CHAIN, Fixture, kinds, units};
use crate::rail::{NONCE_FIRST, block, inclusion, reorg, sender, signed, slot_at};

/// A payment whose slot our own cancel won, confirmed but not final.
async fn canceled(fixture: &Fixture) -> (WithdrawalRecord, NewSlot) {
    let (record, new, _) = fixture.sent("w").await;
    let cancel = signed(new.slot, AttemptKind::Cancel, 2);
    fixture.commit(&new, &cancel).await.expect("commits");
    assert_eq!(fixture.send_due().await, 1);
    fixture.include(inclusion(&new, &cancel, block(101, 0))).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    (record, new)
}

#[tokio::test]
async fn our_cancel_frees_the_payment_at_its_final_end_and_not_before() {
    let fixture = Fixture::open().await;
    let (record, new) = canceled(&fixture).await;
    let before = fixture.read(&record).await;
    assert_eq!(before.state, State::Broadcasted { slot: new.id }, "confirmed is not final");
    let early = fixture.new_slot(slot_at(0, NONCE_FIRST + 1), &[record.id]);
    let lease = fixture.sender_lease(0).await;
    assert!(fixture.store.bind(&[lease], &[early]).await.is_err());
    assert_eq!(fixture.finalize(101).await, 1);
    let released = fixture.read(&record).await;
    assert_eq!(released.state, State::Queued);
    assert_eq!(kinds(&released).last(), Some(&"released"));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    let rides = fixture.store.rides(&[record.id]).await.expect("reads");
    assert_eq!((rides.len(), rides[0].live), (1, false), "the ride is remembered");
    fixture.check().await;
}

#[tokio::test]
async fn a_released_payment_meets_policy_again_before_it_is_bound_again() {
    let fixture = Fixture::open().await;
    let (record, _) = canceled(&fixture).await;
    fixture.finalize(101).await;
    assert_eq!(fixture.store.queued(CHAIN, 9).await, Ok(vec![]), "not the signer's yet");
    let again = fixture.new_slot(slot_at(0, NONCE_FIRST + 1), &[record.id]);
    let lease = fixture.sender_lease(0).await;
    let leases = [lease];
    let early = fixture.store.bind(&leases, std::slice::from_ref(&again)).await;
    assert!(matches!(early, Err(StoreError::Conflict { .. })), "{early:?}");
    let judge = |record: &WithdrawalRecord, total: Amount| {
        assert_eq!(total, record.amount, "the day's total has it already");
        Verdict::Pass(Rule::Default)
    };
    assert_eq!(fixture.store.validate(9, &judge).await, Ok(1));
    let totals = fixture.pairs("SELECT total, '' FROM windows").await;
    assert_eq!(totals, [("100".to_owned(), String::new())], "it is not counted twice");
    let again = NewSlot { id: SlotId::from_parts(fixture.now().plus_millis(1), 0), ..again };
    fixture.store.bind(&leases, &[again]).await.expect("binds again");
    let rides = fixture.store.rides(&[record.id]).await.expect("reads");
    assert_eq!(rides.iter().map(|ride| ride.live).collect::<Vec<_>>(), [false, true]);
    fixture.check().await;
}

#[tokio::test]
async fn a_released_payment_that_policy_refuses_now_is_held() {
    let fixture = Fixture::open().await;
    let (record, _) = canceled(&fixture).await;
    fixture.finalize(101).await;
    let refuse = |_: &WithdrawalRecord, _: Amount| Verdict::Refuse(Rule::AssetEnabled);
    assert_eq!(fixture.store.validate(9, &refuse).await, Ok(1));
    let held = State::Held { reason: HoldReason::Compliance, slot: None };
    assert_eq!(fixture.read(&record).await.state, held, "it was accepted once");
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_final_revert_fails_the_payment_and_gives_the_money_back() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let reverted =
        Inclusion { outcome: SlotOutcome::Reverted, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(reverted).await.expect("includes");
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Broadcasted);
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)), "still reserved");
    assert_eq!(fixture.finalize(101).await, 1);
    let failed = fixture.read(&record).await;
    assert_eq!(failed.state, State::Failed { reason: FailureReason::Reverted });
    assert_eq!(failed.reason.as_deref(), Some("reverted"));
    let detail = failed.timeline.last().and_then(|event| event.detail.clone());
    assert_eq!(detail, Some(format!("reverted by {}", attempt.hash)));
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_reorg_takes_a_revert_back() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let reverted =
        Inclusion { outcome: SlotOutcome::Reverted, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(reverted).await.expect("includes");
    fixture.confirm(101).await;
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    assert_eq!(fixture.deep(103).await, []);
    assert_eq!(fixture.send_due().await, 1, "sent again");
    fixture.include(inclusion(&new, &attempt, block(102, 1))).await.expect("includes");
    fixture.confirm(102).await;
    assert_eq!(fixture.finalize(102).await, 1);
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.check().await;
}

#[tokio::test]
async fn a_filler_ends_without_a_payment() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let filler = fixture.new_slot(slot_at(0, NONCE_FIRST), &[]);
    let lease = fixture.sender_lease(0).await;
    fixture.store.bind(&[lease], std::slice::from_ref(&filler)).await.expect("binds");
    let attempt = signed(filler.slot, AttemptKind::Cancel, 1);
    fixture.commit(&filler, &attempt).await.expect("commits");
    assert_eq!(fixture.send_due().await, 1);
    fixture.advance(crate::rail::blocks(100, 102)).await.expect("advances");
    let filled =
        Inclusion { outcome: SlotOutcome::Filled, ..inclusion(&filler, &attempt, block(100, 0)) };
    fixture.include(filled).await.expect("includes");
    assert_eq!((fixture.confirm(100).await, fixture.finalize(100).await), (1, 1));
    assert_eq!(fixture.store.own_addresses(CHAIN).await, Ok(vec![sender(0)]));
    fixture.check().await;
}

//! The vault rail: many payments a slot, each with an outcome of its own, and rides that a reorg brings back.

use std::collections::BTreeSet;

use portcullis_core::amount::Amount;
use portcullis_core::id::WithdrawalId;
use portcullis_core::intent::SignedAttempt;
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{FailureReason, HoldReason, State, StateCode};
use portcullis_store::StoreError;
use portcullis_store::chain::Inclusion;
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{CHAIN, Fixture, units};
use crate::rail::{NONCE_FIRST, block, blocks, inclusion, reorg, signed, slot_at};

use ItemOutcome::{Failed, Paid, Skipped, Voided};

/// A slot of the vault rail with these payments, signed and sent.
pub(crate) async fn ride(
    fixture: &Fixture,
    nonce: u64,
    records: &[&WithdrawalRecord],
    purpose: Purpose,
) -> (NewSlot, SignedAttempt) {
    // Bindings of one payment are told apart by the moment of their end.
    fixture.clock.advance(10);
    let payments: Vec<WithdrawalId> = records.iter().map(|record| record.id).collect();
    let new =
        NewSlot { purpose, rail: Rail::Vault, ..fixture.new_slot(slot_at(0, nonce), &payments) };
    let lease = fixture.sender_lease(0).await;
    fixture.store.bind(&[lease], std::slice::from_ref(&new)).await.expect("binds");
    let attempt = signed(new.slot, AttemptKind::Payload, 1);
    fixture.commit(&new, &attempt).await.expect("commits");
    assert_eq!(fixture.send_due().await, 1);
    (new, attempt)
}

/// The slot as consumed by its payload, with one outcome for each payment.
pub(crate) fn outcomes(
    new: &NewSlot,
    attempt: &SignedAttempt,
    at: (u64, u8),
    items: &[ItemOutcome],
) -> Inclusion {
    Inclusion {
        items: new.payments.iter().copied().zip(items.iter().copied()).collect(),
        ..inclusion(new, attempt, block(at.0, at.1))
    }
}

/// Lets go what confirmed slots did not pay, and puts it before policy again.
pub(crate) async fn release(fixture: &Fixture) -> usize {
    let unpaid = fixture.store.unpaid_slots(CHAIN, 99).await.expect("reads");
    let lease = fixture.monitor().await;
    fixture.store.release_unpaid(&lease, &unpaid).await.expect("releases");
    let pass = |_: &WithdrawalRecord, _: Amount| Verdict::Pass(Rule::Default);
    fixture.store.validate(99, &pass).await.expect("validates")
}

async fn two(fixture: &Fixture) -> (WithdrawalRecord, WithdrawalRecord) {
    fixture.register(1).await;
    let records = (fixture.queue("one", 100).await, fixture.queue("two", 50).await);
    fixture.advance(blocks(100, 104)).await.expect("advances");
    records
}

pub(crate) async fn codes(fixture: &Fixture, records: &[&WithdrawalRecord]) -> Vec<StateCode> {
    let mut codes = Vec::new();
    for record in records {
        codes.push(fixture.read(record).await.state.code());
    }
    codes
}

#[tokio::test]
async fn items_of_a_slot_go_their_own_ways() {
    let fixture = Fixture::open().await;
    let (one, two) = two(&fixture).await;
    let (first, attempt) = ride(&fixture, NONCE_FIRST, &[&one, &two], Purpose::Pay).await;
    fixture.include(outcomes(&first, &attempt, (101, 0), &[Paid, Failed])).await.expect("includes");
    assert_eq!(
        codes(&fixture, &[&one, &two]).await,
        [StateCode::Confirming, StateCode::Broadcasted]
    );
    assert_eq!(fixture.store.unpaid_slots(CHAIN, 9).await, Ok(vec![]), "not confirmed yet");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(release(&fixture).await, 1, "the failed one alone");
    assert_eq!(codes(&fixture, &[&one, &two]).await, [StateCode::Confirmed, StateCode::Queued]);
    let (second, again) = ride(&fixture, NONCE_FIRST + 1, &[&two], Purpose::Pay).await;
    fixture.include(outcomes(&second, &again, (103, 0), &[Paid])).await.expect("includes");
    fixture.confirm(103).await;
    assert_eq!(fixture.finalize(103).await, 2);
    for record in [&one, &two] {
        let state = fixture.read(record).await.state;
        assert!(matches!(state, State::Confirmed { is_final: true, .. }), "{state:?}");
    }
    fixture.check().await;
}

#[tokio::test]
async fn after_three_failed_rides_somebody_has_to_decide() {
    let fixture = Fixture::open().await;
    let (one, _) = two(&fixture).await;
    for (number, nonce) in (101..=104).zip(NONCE_FIRST..) {
        let (new, attempt) = ride(&fixture, nonce, &[&one], Purpose::Pay).await;
        // A whole call that reverts counts like an item that fails, and our own cancel does not.
        let seen = match number {
            102 => {
                let cancel = signed(new.slot, AttemptKind::Cancel, 2);
                fixture.commit(&new, &cancel).await.expect("commits");
                inclusion(&new, &cancel, block(number, 0))
            }
            103 => Inclusion {
                outcome: SlotOutcome::Reverted,
                ..outcomes(&new, &attempt, (number, 0), &[])
            },
            _ => outcomes(&new, &attempt, (number, 0), &[Failed]),
        };
        fixture.include(seen).await.expect("includes");
        fixture.confirm(number).await;
        let passed = release(&fixture).await;
        assert_eq!(passed, usize::from(number < 104), "ride in block {number}");
    }
    let held = State::Held { reason: HoldReason::Failing, slot: None };
    assert_eq!(fixture.read(&one).await.state, held);
    assert_eq!(fixture.buckets("alice").await.0, units(0), "nothing is given back");
    fixture.check().await;
}

/// The first slot failed a payment, which rides a second one; a reorg puts the first one back.
async fn undone(fixture: &Fixture, one: &WithdrawalRecord) -> [(NewSlot, SignedAttempt); 2] {
    let first = ride(fixture, NONCE_FIRST, &[one], Purpose::Pay).await;
    fixture.include(outcomes(&first.0, &first.1, (101, 0), &[Failed])).await.expect("includes");
    fixture.confirm(101).await;
    release(fixture).await;
    let second = ride(fixture, NONCE_FIRST + 1, &[one], Purpose::Pay).await;
    fixture.advance(reorg(100, 104, 1)).await.expect("advances");
    assert_eq!(fixture.send_due().await, 1, "the first slot's bytes are sent again");
    [first, second]
}

#[tokio::test]
async fn a_slot_that_pays_after_all_takes_its_payment_back() {
    let fixture = Fixture::open().await;
    let (one, _) = two(&fixture).await;
    let [first, second] = undone(&fixture, &one).await;
    fixture.include(outcomes(&second.0, &second.1, (102, 1), &[Skipped])).await.expect("includes");
    fixture.confirm(102).await;
    assert_eq!(
        fixture.store.unexplained_skips(CHAIN).await,
        Ok(vec![]),
        "the first may explain it"
    );
    fixture.include(outcomes(&first.0, &first.1, (101, 1), &[Paid])).await.expect("includes");
    let state = fixture.read(&one).await.state;
    assert_eq!(state, State::Confirming { slot: first.0.id, block: block(101, 1) });
    let rides = fixture.store.rides(&[one.id]).await.expect("reads");
    assert_eq!(rides.iter().map(|ride| ride.live).collect::<Vec<_>>(), [true, false]);
    assert_eq!(fixture.store.unexplained_skips(CHAIN).await, Ok(vec![]), "and it did");
    fixture.confirm(102).await;
    assert_eq!(fixture.finalize(102).await, 2);
    let state = fixture.read(&one).await.state;
    assert!(matches!(state, State::Confirmed { is_final: true, .. }), "{state:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_payment_that_waits_in_the_queue_is_paid_by_the_slot_that_it_left() {
    let fixture = Fixture::open().await;
    let (one, _) = two(&fixture).await;
    let (first, attempt) = ride(&fixture, NONCE_FIRST, &[&one], Purpose::Pay).await;
    fixture.include(outcomes(&first, &attempt, (101, 0), &[Failed])).await.expect("includes");
    fixture.confirm(101).await;
    release(&fixture).await;
    fixture.advance(reorg(100, 104, 1)).await.expect("advances");
    fixture.include(outcomes(&first, &attempt, (102, 1), &[Paid])).await.expect("includes");
    let state = fixture.read(&one).await.state;
    assert_eq!(state, State::Confirming { slot: first.id, block: block(102, 1) });
    assert_eq!(fixture.store.queued(CHAIN, 9).await.map(|queued| queued.len()), Ok(1));
    fixture.confirm(102).await;
    assert_eq!(fixture.finalize(102).await, 1);
    fixture.check().await;
}

#[tokio::test]
async fn a_number_that_nobody_here_used_is_told() {
    let fixture = Fixture::open().await;
    let (one, _) = two(&fixture).await;
    let (new, attempt) = ride(&fixture, NONCE_FIRST, &[&one], Purpose::Pay).await;
    fixture.include(outcomes(&new, &attempt, (101, 0), &[Skipped])).await.expect("includes");
    assert_eq!(fixture.store.unexplained_skips(CHAIN).await, Ok(vec![]), "not confirmed yet");
    fixture.confirm(101).await;
    let skips = fixture.store.unexplained_skips(CHAIN).await.expect("reads");
    let told: BTreeSet<_> = skips.iter().map(|skip| (skip.withdrawal, skip.number)).collect();
    assert_eq!(told, BTreeSet::from([(one.id, one.number)]));
    assert_eq!(release(&fixture).await, 0, "it is no evidence of anything");
    assert_eq!(fixture.finalize(101).await, 0, "nor the end of its slot");
    assert_eq!(codes(&fixture, &[&one]).await, [StateCode::Broadcasted]);
}

#[tokio::test]
async fn a_refund_needs_every_ride_final_and_the_number_voided_for_good() {
    let fixture = Fixture::open().await;
    let (one, _) = two(&fixture).await;
    let (first, attempt) = ride(&fixture, NONCE_FIRST, &[&one], Purpose::Pay).await;
    fixture.include(outcomes(&first, &attempt, (101, 0), &[Failed])).await.expect("includes");
    fixture.confirm(101).await;
    release(&fixture).await;
    fixture.store.hold(&[one.id], HoldReason::Voiding, "given up").await.expect("holds");
    assert_eq!(fixture.store.voidable(CHAIN, None, 9).await, Ok(vec![]), "its ride is not final");
    let early = NewSlot {
        purpose: Purpose::Void,
        rail: Rail::Vault,
        ..fixture.new_slot(slot_at(0, NONCE_FIRST + 1), &[one.id])
    };
    let lease = fixture.sender_lease(0).await;
    let bound = fixture.store.bind(&[lease], &[early]).await;
    assert!(matches!(bound, Err(StoreError::Conflict { .. })), "{bound:?}");
    assert_eq!(fixture.finalize(101).await, 1);
    let voidable = fixture.store.voidable(CHAIN, None, 9).await.expect("reads");
    assert_eq!(voidable.iter().map(|record| record.id).collect::<Vec<_>>(), [one.id]);
    assert_eq!(fixture.store.voidable(CHAIN, Some(one.id), 9).await, Ok(vec![]), "none behind it");
    let (void, attempt) = ride(&fixture, NONCE_FIRST + 1, &[&one], Purpose::Void).await;
    assert_eq!(fixture.store.voidable(CHAIN, None, 9).await, Ok(vec![]), "under way");
    let voided = Inclusion {
        outcome: SlotOutcome::Voided,
        ..outcomes(&void, &attempt, (103, 0), &[Voided])
    };
    fixture.include(voided).await.expect("includes");
    fixture.confirm(103).await;
    let held = State::Held { reason: HoldReason::Voiding, slot: Some(void.id) };
    assert_eq!(fixture.read(&one).await.state, held, "confirmed is not final");
    assert_eq!(fixture.finalize(103).await, 1);
    let failed = State::Failed { reason: FailureReason::Voided };
    assert_eq!(fixture.read(&one).await.state, failed);
    assert_eq!(
        fixture.store.slot(void.slot).await.map(|it| it.map(|it| it.stage)),
        Ok(Some(SlotStage::Final))
    );
    fixture.check().await;
}

//! Clients that take a withdrawal back while a transaction carries it.

use portcullis_core::slot::AttemptKind;
use portcullis_core::withdrawal::{HoldReason, State, StateCode};
use portcullis_store::cancel::{CancelOutcome, RefundOutcome};
use portcullis_store::command::CommandKind;
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{CHAIN, Fixture, kinds, units};
use crate::rail::{NONCE_FIRST, block, inclusion, signed, slot_at};

async fn cancel(fixture: &Fixture, record: &WithdrawalRecord) -> CancelOutcome {
    fixture.store.cancel(fixture.tenant, record.id, "key:test").await.expect("answers")
}

/// The cancel wins the slot and becomes final.
async fn cancel_wins(fixture: &Fixture, new: &NewSlot) {
    let bytes = signed(new.slot, AttemptKind::Cancel, 2);
    fixture.commit(new, &bytes).await.expect("commits");
    assert_eq!(fixture.send_due().await, 1);
    fixture.include(inclusion(new, &bytes, block(101, 0))).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
}

#[tokio::test]
async fn a_cancel_that_its_client_asked_for_ends_the_withdrawal_when_it_is_final() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let asked = cancel(&fixture, &record).await;
    let CancelOutcome::Asked(told) = &asked else { panic!("{asked:?}") };
    assert_eq!(told.state.code(), StateCode::Broadcasted, "nothing is decided yet");
    assert_eq!(cancel(&fixture, &record).await, asked, "twice is once");
    let commands = fixture.store.open_commands(CHAIN, 9).await.expect("reads");
    assert_eq!(commands.len(), 1);
    assert_eq!((commands[0].kind, commands[0].slot), (CommandKind::Cancel, new.slot));
    assert_eq!(commands[0].requested_by, "key:test");
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    cancel_wins(&fixture, &new).await;
    let ended = fixture.read(&record).await;
    assert_eq!(ended.state, State::Canceled);
    assert_eq!(kinds(&ended).last(), Some(&"released"));
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    assert!(matches!(cancel(&fixture, &record).await, CancelOutcome::Canceled(_)));
    assert_eq!(fixture.number("SELECT count(*) FROM work").await, 0);
    fixture.check().await;
}

#[tokio::test]
async fn an_operators_cancel_queues_the_payment_again() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let asked = fixture.store.request_command(CommandKind::Cancel, new.slot, "cli:op", "late");
    assert_eq!(asked.await, Ok(true));
    cancel_wins(&fixture, &new).await;
    assert_eq!(fixture.read(&record).await.state, State::Queued);
}

#[tokio::test]
async fn a_payment_that_wins_is_paid_whatever_its_client_wished() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    assert!(matches!(cancel(&fixture, &record).await, CancelOutcome::Asked(_)));
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    let refused = cancel(&fixture, &record).await;
    assert_eq!(refused, CancelOutcome::Refused(StateCode::Confirming), "a block holds it");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.check().await;
}

#[tokio::test]
async fn a_payment_among_others_cannot_be_canceled_alone() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let one = fixture.queue("one", 10).await;
    let two = fixture.queue("two", 10).await;
    let new = fixture.new_slot(slot_at(0, NONCE_FIRST), &[one.id, two.id]);
    let lease = fixture.sender_lease(0).await;
    fixture.store.bind(&[lease], &[new]).await.expect("binds");
    assert_eq!(cancel(&fixture, &one).await, CancelOutcome::BoundInBatch);
    assert_eq!(fixture.store.open_commands(CHAIN, 9).await, Ok(vec![]));
}

#[tokio::test]
async fn a_payment_that_rode_the_vault_is_voided_before_its_money_is_free() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    fixture.sql("UPDATE slots SET rail = 'vault'").await;
    assert_eq!(cancel(&fixture, &record).await, CancelOutcome::BoundInBatch, "while it rides");
    fixture.sql("UPDATE slots SET rail = 'direct'").await;
    let other = signed(new.slot, AttemptKind::Cancel, 2);
    fixture.commit(&new, &other).await.expect("commits");
    assert_eq!(fixture.send_due().await, 1);
    assert_ne!(attempt.hash, other.hash);
    fixture.include(inclusion(&new, &other, block(101, 0))).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
    fixture.sql("UPDATE slots SET rail = 'vault'").await;
    assert_eq!(fixture.read(&record).await.state, State::Queued);
    let asked = cancel(&fixture, &record).await;
    assert!(matches!(asked, CancelOutcome::Asked(_)), "{asked:?}");
    let voiding = State::Held { reason: HoldReason::Voiding, slot: None };
    let held = fixture.read(&record).await;
    assert_eq!((held.state, held.cancel_requested), (voiding, true));
    let again = cancel(&fixture, &record).await;
    assert_eq!(again, CancelOutcome::Refused(StateCode::Held), "under way already");
    let voidable = fixture.store.voidable(CHAIN, None, 9).await.expect("reads");
    assert_eq!(voidable.len(), 1);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
}

#[tokio::test]
async fn an_operator_gives_up_what_is_held_and_nothing_else() {
    let fixture = Fixture::open().await;
    let refund = |record: &WithdrawalRecord| fixture.store.refund(record.id, "ops", "asked to");
    let record = fixture.queue("w", 100).await;
    assert_eq!(refund(&record).await, Ok(RefundOutcome::Refused(StateCode::Queued)));
    fixture.store.hold(&[record.id], HoldReason::Tamper, "looks odd").await.expect("holds");
    assert_eq!(cancel(&fixture, &record).await, CancelOutcome::Refused(StateCode::Held));
    assert_eq!(refund(&record).await, Ok(RefundOutcome::Refunded));
    assert_eq!(fixture.read(&record).await.state, State::Canceled);
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    assert_eq!(refund(&record).await, Ok(RefundOutcome::Refused(StateCode::Canceled)));
    fixture.check().await;
}

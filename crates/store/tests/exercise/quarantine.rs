//! Withdrawals that an operator or the engine has to set aside, and bring back.

use portcullis_core::withdrawal::{HoldReason, State, StateCode};
use portcullis_store::StoreError;
use portcullis_store::intake::{IntakeError, Submitted};
use portcullis_store::work::ResumeOutcome;

use crate::fixture::{CHAIN, Fixture, pass, units};
use crate::rail::{NONCE_FIRST, block, inclusion};

#[tokio::test]
async fn a_damaged_row_does_not_stop_the_others() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let damaged = fixture.accept("damaged", "alice", 10).await;
    let sound = fixture.accept("sound", "alice", 10).await;
    let id = alloy_primitives::hex::encode(damaged.id.to_bytes());
    fixture.sql(format!("UPDATE withdrawals SET amount = 'lots' WHERE id = X'{id}'")).await;
    let refused = fixture.store.validate(9, &pass).await.expect_err("it cannot be read");
    let StoreError::Corrupt { table, row, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*table, row.as_str()), ("withdrawals", id.as_str()));
    assert_eq!(fixture.store.quarantine(damaged.id, "unreadable").await, Ok(true));
    assert_eq!(fixture.store.validate(9, &pass).await, Ok(1));
    assert_eq!(fixture.read(&sound).await.state, State::Queued);
    assert_eq!(fixture.store.quarantine(damaged.id, "unreadable").await, Ok(false), "once");
    fixture.sql(format!("UPDATE withdrawals SET amount = '10' WHERE id = X'{id}'")).await;
    let repaired = fixture.read(&damaged).await;
    assert_eq!(repaired.state, State::Held { reason: HoldReason::Tamper, slot: None });
    assert_eq!(fixture.buckets("alice").await, (units(80), units(20), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn what_a_slot_carries_is_not_set_aside_alone() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 10).await;
    fixture.bind(&record, NONCE_FIRST).await;
    assert_eq!(fixture.store.quarantine(record.id, "unreadable").await, Ok(false));
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Signing);
}

#[tokio::test]
async fn an_operator_resumes_what_no_slot_carries() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    let resume = || fixture.store.resume(record.id, "cli:operator", "looked into");
    assert_eq!(resume().await, Ok(ResumeOutcome::Refused(StateCode::Queued)));
    fixture.store.hold(&[record.id], HoldReason::Compliance, "list").await.expect("holds");
    assert_eq!(resume().await, Ok(ResumeOutcome::Resumed));
    assert_eq!(fixture.store.queued(CHAIN, 9).await, Ok(vec![]), "policy looks at it first");
    assert_eq!(fixture.validate_all().await, 1);
    assert_eq!(fixture.store.queued(CHAIN, 9).await.map(|queued| queued.len()), Ok(1));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(10), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_balance_that_somebody_raised_is_not_reserved_from() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 10).await;
    fixture.sql("UPDATE balances SET available = '1000'").await;
    let outcome = fixture.submit(fixture.submission("w", "alice", 5)).await;
    let Submitted::InsufficientBalance { available } = outcome else { panic!("{outcome:?}") };
    assert_eq!(available, units(0), "nothing is believed of it");
}

#[tokio::test]
async fn what_the_ledger_cannot_settle_waits_alone_and_halts() {
    let fixture = Fixture::open().await;
    let (good, good_slot, good_bytes) = fixture.sent("good").await;
    let bad = fixture.queue("bad", 100).await;
    let (bad_slot, bad_bytes) = fixture.sign(&bad, NONCE_FIRST + 1).await;
    fixture.include(inclusion(&good_slot, &good_bytes, block(101, 0))).await.expect("includes");
    fixture.include(inclusion(&bad_slot, &bad_bytes, block(101, 0))).await.expect("includes");
    let id = alloy_primitives::hex::encode(bad.id.to_bytes());
    fixture.sql(format!("UPDATE withdrawals SET account_id = 'bob' WHERE id = X'{id}'")).await;
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.read(&good).await.state.code(), StateCode::Confirmed);
    assert_eq!(fixture.read(&bad).await.state.code(), StateCode::Confirming);
    let halts = fixture.store.halts().await.expect("reads");
    assert_eq!(halts.iter().map(|halt| halt.reason.as_str()).collect::<Vec<_>>(), ["ledger"]);
    fixture.sql(format!("UPDATE withdrawals SET account_id = 'alice' WHERE id = X'{id}'")).await;
    assert_eq!(fixture.confirm(101).await, 1, "repaired, it is settled");
}

#[tokio::test]
async fn nothing_new_is_accepted_while_the_database_may_be_an_old_one() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 10).await;
    fixture.store.raise_halt("restore", "the journal knows more").await.expect("halts");
    let asked = fixture.intake.submit(fixture.submission("w", "alice", 5), 2_000).await;
    assert!(matches!(asked, Err(IntakeError::Store(StoreError::Halted { .. }))), "{asked:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM withdrawals").await, 0);
}

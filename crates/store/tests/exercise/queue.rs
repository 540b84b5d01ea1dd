//! Withdrawals that wait: put off, held, failed before a binding, taken back by their clients.

use portcullis_core::id::TenantId;
use portcullis_core::withdrawal::{FailureReason, HoldReason, State};
use portcullis_store::StoreError;
use portcullis_store::cancel::CancelOutcome;
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::work::QueueDepth;

use crate::fixture::{CHAIN, Fixture, kinds, units};
use crate::rail::NONCE_FIRST;

#[tokio::test]
async fn work_that_is_put_off_is_not_due() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    let until = fixture.now().plus_millis(500);
    fixture.store.defer(&[record.id], until, "no funds").await.expect("defers");
    assert_eq!(fixture.store.queued(CHAIN, 9).await, Ok(vec![]));
    fixture.clock.set(until);
    let told = WithdrawalRecord {
        reason: Some("no funds".into()),
        timeline: Vec::new(),
        ..record.clone()
    };
    assert_eq!(fixture.store.queued(CHAIN, 9).await, Ok(vec![told]));
    assert_eq!(fixture.number("SELECT receives FROM work").await, 0, "waiting is no failure");
    fixture.register(1).await;
    fixture.sign(&record, NONCE_FIRST).await;
    fixture
        .store
        .defer(&[record.id], until.plus_millis(500), "no funds")
        .await
        .expect("says nothing");
    assert_eq!(fixture.read(&record).await.reason, None, "it waits for nothing any more");
    assert_eq!(fixture.send_due().await, 1, "what moved on meanwhile is not put off");
}

#[tokio::test]
async fn depths_and_ages_are_shown() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    fixture.accept("a", "alice", 1).await;
    fixture.clock.advance(400);
    fixture.accept("b", "alice", 1).await;
    fixture.clock.advance(100);
    let depth = |stage, depth, oldest_age_ms| QueueDepth { stage, depth, oldest_age_ms };
    let empty = |stage| depth(stage, 0, None);
    let expected = ["sign", "broadcast", "monitor", "held"].map(empty);
    let mut queues = fixture.store.queues().await.expect("counts");
    assert_eq!(queues.remove(0), depth("validate", 2, Some(500)));
    assert_eq!(queues, expected);
}

#[tokio::test]
async fn a_held_withdrawal_keeps_its_money_reserved() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    fixture.store.hold(&[record.id], HoldReason::Tamper, "seal").await.expect("holds");
    let held = fixture.read(&record).await;
    assert_eq!(held.state, State::Held { reason: HoldReason::Tamper, slot: None });
    assert_eq!(held.reason.as_deref(), Some("tamper"));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(10), units(0)));
    assert_eq!(fixture.store.queued(CHAIN, 9).await, Ok(vec![]));
    let again = fixture.store.hold(&[record.id], HoldReason::Tamper, "seal").await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_preflight_failure_gives_the_money_back() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    fixture.store.fail_preflight(&[record.id], "execution reverted").await.expect("fails");
    let failed = fixture.read(&record).await;
    assert_eq!(failed.state, State::Failed { reason: FailureReason::Preflight });
    assert_eq!(
        failed.timeline.last().and_then(|it| it.detail.as_deref()),
        Some("execution reverted")
    );
    assert_eq!(fixture.buckets("alice").await, (units(10), units(0), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_bound_payment_does_not_fail_by_a_preflight() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let queued = fixture.queue("queued", 10).await;
    let bound = fixture.queue("bound", 10).await;
    fixture.bind(&bound, NONCE_FIRST).await;
    let outcome = fixture.store.fail_preflight(&[queued.id, bound.id], "late").await;
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
    assert_eq!(fixture.read(&queued).await.state, State::Queued, "all of it or nothing");
    fixture.check().await;
}

#[tokio::test]
async fn a_client_cancels_until_it_is_bound() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.fund("alice", 10).await;
    let pending = fixture.accept("pending", "alice", 10).await;
    let cancel = |id| fixture.store.cancel(fixture.tenant, id, "key:test");
    let CancelOutcome::Canceled(canceled) = cancel(pending.id).await.expect("answers") else {
        panic!("a pending withdrawal can be canceled")
    };
    assert_eq!(canceled.state, State::Canceled);
    assert_eq!(kinds(&canceled), ["accepted", "canceled"]);
    assert_eq!(fixture.buckets("alice").await, (units(10), units(0), units(0)));
    let again = cancel(pending.id).await;
    assert_eq!(again, Ok(CancelOutcome::Canceled(canceled)), "twice is once");
    let queued = fixture.queue("queued", 10).await;
    assert!(matches!(cancel(queued.id).await, Ok(CancelOutcome::Canceled(_))));
    let bound = fixture.queue("bound", 10).await;
    fixture.bind(&bound, NONCE_FIRST).await;
    assert!(matches!(cancel(bound.id).await, Ok(CancelOutcome::Asked(_))));
    let stranger = fixture.store.cancel(TenantId::from_bytes([2; 16]), bound.id, "x").await;
    assert_eq!(stranger, Ok(CancelOutcome::Unknown));
    let audited = "SELECT count(*) FROM audit WHERE action = 'withdrawal.cancel'";
    assert_eq!(fixture.number(audited).await, 2);
    fixture.check().await;
}

#[tokio::test]
async fn a_halt_is_raised_once_and_cleared_with_a_reason() {
    let fixture = Fixture::open().await;
    let store = &fixture.store;
    store.raise_halt("tamper", "asset USDC").await.expect("raises");
    store.raise_halt("tamper", "asset POL").await.expect("is in force already");
    store.raise_halt("reorg", "block 7").await.expect("another reason");
    let halts = store.halts().await.expect("lists");
    let seen: Vec<_> =
        halts.iter().map(|halt| (halt.reason.as_str(), halt.detail.as_str())).collect();
    assert_eq!(seen, [("tamper", "asset USDC"), ("reorg", "block 7")]);
    assert_eq!(store.clear_halt(halts[0].id, "cli:alice", "checked").await, Ok(true));
    assert_eq!(store.clear_halt(halts[0].id, "cli:alice", "checked").await, Ok(false));
    assert_eq!(store.halts().await, Ok(vec![halts[1].clone()]));
    store.raise_halt("tamper", "asset USDC").await.expect("again");
    assert_eq!(store.halts().await.map(|halts| halts.len()), Ok(2));
    fixture.check().await;
}

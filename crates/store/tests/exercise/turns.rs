//! The order of payment, as the store keeps it.

use portcullis_core::id::TenantId;
use portcullis_core::turn::{SPACING_MS, head_start_ms};
use portcullis_core::withdrawal::Priority;
use portcullis_store::intake::Submission;
use portcullis_store::transition::Stage;

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS, accepted, pass};
use crate::rail::NONCE_FIRST;

const OTHER: TenantId = TenantId::from_bytes([2; 16]);

async fn fund(fixture: &Fixture, tenant: TenantId, account: &str) {
    let mut deposit = fixture.deposit_of(account, 1_000_000);
    deposit.tenant = tenant;
    fixture.store.deposit(&fixture.keys, &deposit).await.expect("credits");
}

/// Accepts `count` of an account, and lets policy pass them.
async fn queue_many(fixture: &Fixture, tenant: TenantId, account: &str, count: usize) {
    fund(fixture, tenant, account).await;
    let requests: Vec<Submission> = (0..count)
        .map(|n| {
            let name = format!("{account}-{n}-{:x}", fixture.random());
            Submission { tenant, ..fixture.submission(&name, account, 1) }
        })
        .collect();
    let outcomes = fixture.intake.submit_many(requests, PATIENCE_MS).await.expect("answers");
    for outcome in outcomes {
        drop(accepted(outcome));
    }
    while fixture.store.validate(500, &pass).await.expect("validates") > 0 {}
}

async fn queue_one(fixture: &Fixture, account: &str, priority: Priority) -> String {
    fund(fixture, fixture.tenant, account).await;
    let name = format!("{account}-{:x}", fixture.random());
    let submission = Submission { priority, ..fixture.submission(&name, account, 1) };
    accepted(fixture.submit(submission).await);
    fixture.validate_all().await;
    name
}

/// The external ids of what is paid next.
async fn next(fixture: &Fixture, count: u64) -> Vec<String> {
    let queued = fixture.store.queued(CHAIN, count).await.expect("reads");
    queued.iter().map(|record| record.external_id.to_string()).collect()
}

#[tokio::test]
async fn a_backlog_keeps_neither_tenants_nor_accounts_waiting() {
    let fixture = Fixture::open().await;
    queue_many(&fixture, fixture.tenant, "heavy", 1_500).await;
    fixture.clock.advance(3_000);
    queue_many(&fixture, OTHER, "light", 10).await;
    queue_many(&fixture, fixture.tenant, "neighbour", 10).await;
    let first = next(&fixture, 120).await;
    let of = |account: &str| first.iter().filter(|name| name.starts_with(account)).count();
    assert_eq!((of("light"), of("neighbour")), (10, 10), "{first:?}");
    assert_eq!(fixture.store.check_ledger().await, Ok(3));
}

#[tokio::test]
async fn higher_priorities_go_first_and_nothing_starves() {
    let fixture = Fixture::open().await;
    let standard = queue_one(&fixture, "a", Priority::Standard).await;
    let vip = queue_one(&fixture, "b", Priority::Vip).await;
    let urgent = queue_one(&fixture, "c", Priority::Urgent).await;
    assert_eq!(next(&fixture, 9).await, [urgent.clone(), vip.clone(), standard.clone()]);
    fixture.clock.advance(head_start_ms(Priority::Vip) + SPACING_MS * 4);
    let late = queue_one(&fixture, "d", Priority::Vip).await;
    assert_eq!(next(&fixture, 9).await, [urgent, vip, standard, late], "it has waited long enough");
}

#[tokio::test]
async fn an_account_is_paid_in_the_order_of_its_requests() {
    let fixture = Fixture::open().await;
    queue_many(&fixture, fixture.tenant, "a", 300).await;
    queue_many(&fixture, fixture.tenant, "a", 300).await;
    let queued = fixture.store.queued(CHAIN, 1_000).await.expect("reads");
    let numbers: Vec<u64> = queued.iter().map(|record| record.number.sequence).collect();
    assert_eq!(numbers.len(), 600);
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn what_is_put_off_keeps_its_distance_to_what_comes_later() {
    let fixture = Fixture::open().await;
    queue_many(&fixture, fixture.tenant, "poor", 100).await;
    let queued = fixture.store.queued(CHAIN, 500).await.expect("reads");
    let ids: Vec<_> = queued.iter().map(|record| record.id).collect();
    // As a signer does that finds no funds, for ten minutes.
    for _ in 0..10 {
        let until = fixture.now().plus_millis(60_000);
        fixture.store.defer(&ids, until, "no funds").await.expect("defers");
        assert_eq!(next(&fixture, 9).await, Vec::<String>::new());
        fixture.clock.set(until);
    }
    let order: Vec<_> = next(&fixture, 500).await;
    let before: Vec<_> = queued.iter().map(|record| record.external_id.to_string()).collect();
    assert_eq!(order, before, "among themselves they stand as they stood");
    queue_many(&fixture, OTHER, "light", 10).await;
    let first = next(&fixture, 30).await;
    let light = first.iter().filter(|name| name.starts_with("light")).count();
    assert_eq!(light, 10, "they do not all come before who waits for nothing: {first:?}");
}

#[tokio::test]
async fn what_comes_back_from_its_slot_keeps_its_turn() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fund(&fixture, fixture.tenant, "alice").await;
    let first = fixture.accept("first", "alice", 1).await;
    fixture.validate_all().await;
    let turn = fixture.number("SELECT turn_at FROM work").await;
    fixture.sign(&first, NONCE_FIRST).await;
    fixture.clock.advance(5_000);
    assert_eq!(fixture.number("SELECT turn_at FROM work").await, turn);
    queue_many(&fixture, fixture.tenant, "alice", 3).await;
    let back = "UPDATE work SET stage = 'validate' WHERE withdrawal_id = \
                (SELECT id FROM withdrawals WHERE external_id = 'first')";
    assert_eq!(fixture.sql(back).await, 1);
    assert_eq!(fixture.store.first_due(Stage::Validate, None).await, Ok(Some(first.id)));
}

#[tokio::test]
async fn lines_end_when_nothing_waits_and_are_forgotten_when_they_are_over() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    queue_many(&fixture, fixture.tenant, "heavy", 400).await;
    assert_eq!(
        fixture.number("SELECT count(*) FROM \"lines\"").await,
        2,
        "the account's and the tenant's"
    );
    // All of it is sent.
    assert_eq!(fixture.sql("UPDATE work SET stage = 'broadcast'").await, 400);
    let turn = async |fixture: &Fixture| {
        fixture.number("SELECT max(turn_at) FROM work WHERE stage <> 'broadcast'").await
    };
    queue_many(&fixture, fixture.tenant, "heavy", 1).await;
    let now = fixture.now().as_millis();
    assert_eq!(
        turn(&fixture).await,
        now + SPACING_MS,
        "it is not made to wait for what it was given"
    );
    fixture.clock.advance(SPACING_MS);
    queue_many(&fixture, fixture.tenant, "another", 1).await;
    let left = fixture.pairs("SELECT account_id, '' FROM \"lines\" ORDER BY 1").await;
    let left: Vec<&str> = left.iter().map(|(account, _)| account.as_str()).collect();
    assert_eq!(left, ["", "another"], "what is over is gone");
}

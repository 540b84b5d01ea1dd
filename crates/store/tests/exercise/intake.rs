//! Single requests, and requests that share a transaction by being one batch.

use alloy_primitives::B256;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::withdrawal::{Priority, State};
use portcullis_store::intake::{IntakeError, Submission, Submitted};
use portcullis_store::{StoreError, TimelineEvent};

use crate::fixture::{Fixture, PATIENCE_MS, accepted, account, external, kinds, units};

fn told(outcome: &Submitted) -> String {
    match outcome {
        Submitted::Accepted(_) => "accepted".into(),
        Submitted::Existing(_) => "existing".into(),
        Submitted::Conflict { .. } => "conflict".into(),
        Submitted::InsufficientBalance { available } => format!("{available} available"),
        Submitted::UnknownAccount => "unknown".into(),
        Submitted::QueueFull => "full".into(),
    }
}

async fn submit_many(fixture: &Fixture, all: Vec<Submission>) -> Vec<Submitted> {
    fixture.intake.submit_many(all, PATIENCE_MS).await.expect("answers")
}

#[tokio::test]
async fn an_accepted_request_is_reserved_numbered_and_sealed() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_000).await;
    let submission = Submission {
        priority: Priority::Vip,
        metadata: Some(r#"{"order":7}"#.into()),
        ..fixture.submission("w1", "alice", 300)
    };
    let record = accepted(fixture.submit(submission.clone()).await);
    assert_eq!(record.id, submission.id);
    assert_eq!((record.tenant, &record.external_id), (fixture.tenant, &external("w1")));
    assert_eq!((record.chain_id, record.token), (submission.chain_id, submission.token));
    assert_eq!((record.amount, record.to), (submission.amount, submission.to));
    assert_eq!((record.priority, &record.metadata), (Priority::Vip, &submission.metadata));
    assert_eq!(record.number, PayoutNumber { epoch: 1, sequence: 1 });
    let reference = PaymentRef::derive(
        fixture.deployment,
        fixture.tenant,
        &submission.external_id,
        submission.token,
        submission.to,
        submission.amount,
    );
    assert_eq!(record.reference, reference);
    let event =
        TimelineEvent { sequence: 1, at: fixture.now(), kind: "accepted".into(), detail: None };
    assert_eq!((record.state, &record.timeline), (State::Pending, &vec![event]));
    assert_eq!(fixture.buckets("alice").await, (units(700), units(300), units(0)));
    assert_eq!(fixture.read(&record).await, record, "what is answered is what is stored");
    let found = fixture.store.withdrawal_by_external_id(fixture.tenant, &external("w1")).await;
    assert_eq!(found, Ok(Some(record)));
    fixture.check().await;
}

#[tokio::test]
async fn every_payment_has_a_number_of_its_own() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let mut numbers = Vec::new();
    for name in ["a", "b", "c"] {
        // One commit each.
        let submission = fixture.submission(name, "alice", 1);
        let outcome = fixture.intake.submit(submission, PATIENCE_MS).await;
        let Ok(Submitted::Accepted(record)) = outcome else {
            panic!("{name} got no number of its own: {outcome:?}")
        };
        numbers.push(record.number);
    }
    let expected: Vec<_> = (1..=3).map(|sequence| PayoutNumber { epoch: 1, sequence }).collect();
    assert_eq!(numbers, expected);
    fixture.check().await;
}

#[tokio::test]
async fn after_a_restore_numbers_are_of_an_epoch_that_nobody_has_used() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    assert_eq!(fixture.accept("a", "alice", 1).await.number.epoch, 1);
    // The journal, or a backup's own record, knows numbers of these epochs.
    for (known, opened) in [(1, 2), (1, 2), (5, 6), (2, 6)] {
        assert_eq!(fixture.store.open_epoch_above(known, "test").await, Ok(opened));
    }
    let number = fixture.accept("b", "alice", 1).await.number;
    assert_eq!(number, PayoutNumber { epoch: 6, sequence: 1 });
}

#[tokio::test]
async fn the_native_coin_is_no_token() {
    let fixture = Fixture::open().await;
    let mut deposit = fixture.deposit_of("alice", 10);
    deposit.asset = fixture.native.id;
    fixture.store.deposit(&fixture.keys, &deposit).await.expect("credits");
    let submission = Submission {
        asset: fixture.native.id,
        token: None,
        ..fixture.submission("w1", "alice", 10)
    };
    let record = accepted(fixture.submit(submission).await);
    assert_eq!(fixture.read(&record).await.token, None);
    fixture.check().await;
}

#[tokio::test]
async fn the_same_request_finds_itself_and_another_body_conflicts() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_000).await;
    let submission = fixture.submission("w1", "alice", 300);
    let record = accepted(fixture.submit(submission.clone()).await);
    let again = Submission { id: fixture.submission("x", "alice", 1).id, ..submission.clone() };
    match fixture.submit(again).await {
        Submitted::Existing(existing) => assert_eq!(*existing, record),
        other => panic!("{other:?}"),
    }
    let changed = Submission { request_hash: B256::ZERO, ..submission.clone() };
    match fixture.submit(changed).await {
        Submitted::Conflict { existing } => assert_eq!(existing, record.id),
        other => panic!("{other:?}"),
    }
    let of_other_tenant = Submission {
        tenant: portcullis_core::id::TenantId::from_bytes([2; 16]),
        ..fixture.submission("w1", "alice", 300)
    };
    let outcome = fixture.submit(of_other_tenant).await;
    assert!(matches!(outcome, Submitted::UnknownAccount), "tenants share nothing: {outcome:?}");
    assert_eq!(fixture.buckets("alice").await.1, units(300), "reserved once");
    fixture.check().await;
}

#[tokio::test]
async fn what_is_not_covered_is_refused() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let all = vec![
        fixture.submission("a", "alice", 101),
        fixture.submission("b", "bob", 1),
        Submission { asset: fixture.native.id, ..fixture.submission("c", "alice", 1) },
        fixture.submission("d", "alice", 100),
        fixture.submission("e", "alice", 1),
    ];
    let outcomes = submit_many(&fixture, all).await;
    let told: Vec<String> = outcomes.iter().map(told).collect();
    let expected = ["100 available", "unknown", "0 available", "accepted", "0 available"];
    assert_eq!(told, expected);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)));
    assert_eq!(fixture.number("SELECT sequence_next FROM deployment").await, 2);
    fixture.check().await;
}

#[tokio::test]
async fn requests_that_overdraw_together_are_taken_in_their_order() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let all = (0..10).map(|n| fixture.submission(&format!("w{n}"), "alice", 30)).collect();
    let outcomes = submit_many(&fixture, all).await;
    let fits: Vec<bool> =
        outcomes.iter().map(|outcome| matches!(outcome, Submitted::Accepted(_))).collect();
    assert_eq!(fits, [[true; 3].as_slice(), &[false; 7]].concat());
    assert_eq!(fixture.buckets("alice").await, (units(10), units(90), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn repeats_inside_one_group_are_told_apart() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let first = fixture.submission("w", "alice", 60);
    let same = Submission { id: fixture.submission("x", "alice", 1).id, ..first.clone() };
    let other = Submission { request_hash: B256::ZERO, ..same.clone() };
    let poor = fixture.submission("poor", "alice", 90);
    let poor_again = Submission { id: fixture.submission("y", "alice", 1).id, ..poor.clone() };
    let outcomes = submit_many(&fixture, vec![first.clone(), same, other, poor, poor_again]).await;
    let told: Vec<String> = outcomes.iter().map(told).collect();
    let expected = ["accepted", "existing", "conflict", "40 available", "40 available"];
    assert_eq!(told, expected, "a refusal is not remembered");
    let [record] = <[_; 1]>::try_from(fixture.all().await).expect("one withdrawal");
    assert_eq!(record.id, first.id);
    fixture.check().await;
}

#[tokio::test]
async fn a_batch_above_one_group_keeps_its_order() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_200).await;
    let all: Vec<Submission> =
        (0..1_201).map(|n| fixture.submission(&format!("w{n}"), "alice", 1)).collect();
    let names: Vec<_> = all.iter().map(|submission| submission.external_id.clone()).collect();
    let outcomes = submit_many(&fixture, all).await;
    assert_eq!(outcomes.len(), 1_201);
    for (index, (outcome, name)) in outcomes.iter().zip(&names).enumerate() {
        match outcome {
            Submitted::Accepted(record) => assert_eq!(&record.external_id, name),
            other => assert_eq!(index, 1_200, "{other:?}"),
        }
    }
    fixture.check().await;
}

#[tokio::test]
async fn without_a_deployment_nothing_is_accepted() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 10).await;
    fixture.sql("DELETE FROM deployment").await;
    let outcome = fixture.intake.submit(fixture.submission("w", "alice", 1), PATIENCE_MS).await;
    let refused = matches!(outcome, Err(IntakeError::Store(StoreError::Corrupt { .. })));
    assert!(refused, "{outcome:?}");
    assert_eq!(fixture.all().await, []);
}

#[tokio::test]
async fn accounts_and_external_ids_are_case_sensitive() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    fixture.fund("Alice", 7).await;
    fixture.accept("w", "alice", 10).await;
    let upper = fixture.accept("W", "Alice", 7).await;
    assert_eq!(kinds(&upper), ["accepted"]);
    assert_eq!(fixture.buckets("alice").await.0, units(90));
    assert_eq!(fixture.buckets("Alice").await.0, units(0));
    let unknown = fixture.store.account(fixture.tenant, &account("ALICE")).await;
    assert_eq!(unknown, Ok(None));
    fixture.check().await;
}

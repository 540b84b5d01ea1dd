//! Many callers at once: they share commits, and none of them pays for another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_store::StoreError;
use portcullis_store::intake::{Intake, IntakeError, Submission, Submitted};

use crate::fixture::{Fixture, PATIENCE_MS, units};

/// Counts the commits of intake.
#[derive(Default)]
struct Commits(AtomicU64);

impl EffectGate for Commits {
    fn pass(&self, point: EffectPoint) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if point.happened && point.effect == "intake" {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn five_hundred_callers_share_a_few_commits() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 490).await;
    let commits = Arc::new(Commits::default());
    let gated = fixture.store.clone().with_gate(Arc::<Commits>::clone(&commits));
    let intake = Intake::new(gated, Arc::clone(&fixture.keys));
    // One account is unknown in every tenth request; the last ten valid ones are not covered.
    let requests: Vec<Submission> = (0..500_u32)
        .map(|n| {
            let from = if n % 10 == 3 { "nobody" } else { "alice" };
            fixture.submission(&format!("w{n}"), from, if n < 440 { 1 } else { 2 })
        })
        .collect();
    let callers = requests.iter().cloned().map(|request| {
        let intake = intake.clone();
        async move { intake.submit(request, PATIENCE_MS).await.expect("answers") }
    });
    let outcomes = join_all(callers).await;
    let count = |matching: fn(&Submitted) -> bool| {
        outcomes.iter().filter(|outcome| matching(outcome)).count()
    };
    let unknown = count(|outcome| matches!(outcome, Submitted::UnknownAccount));
    let poor = count(|outcome| matches!(outcome, Submitted::InsufficientBalance { .. }));
    let accepted = count(|outcome| matches!(outcome, Submitted::Accepted(_)));
    assert_eq!((unknown, poor, accepted), (50, 7, 443));
    for (request, outcome) in requests.iter().zip(&outcomes) {
        if let Submitted::Accepted(record) = outcome {
            assert_eq!(record.id, request.id, "every caller gets the answer to its own request");
        }
    }
    let commits = commits.0.load(Ordering::SeqCst);
    assert!(commits <= 3, "{commits} commits");
    assert_eq!(fixture.buckets("alice").await, (units(0), units(490), units(0)));
    fixture.check().await;
}

/// A request whose id is taken: the database refuses the row, which no check before it foresees.
fn poisoned(fixture: &Fixture, name: &str, like: &Submission) -> Submission {
    Submission { id: like.id, ..fixture.submission(name, "alice", 1) }
}

#[tokio::test]
async fn a_request_that_the_database_refuses_fails_alone() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let taken = fixture.submission("taken", "alice", 1);
    fixture.submit(taken.clone()).await;
    let requests: Vec<Submission> = (0..37)
        .map(|n| match n {
            11 | 12 | 30 => poisoned(&fixture, &format!("bad{n}"), &taken),
            _ => fixture.submission(&format!("w{n}"), "alice", 1),
        })
        .collect();
    let callers = requests.into_iter().map(|request| fixture.intake.submit(request, PATIENCE_MS));
    let outcomes = join_all(callers).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        let expected = match outcome {
            Ok(Submitted::Accepted(_)) => ![11, 12, 30].contains(&index),
            Err(IntakeError::Store(StoreError::Duplicate { key, .. })) => {
                key == "PRIMARY" && [11, 12, 30].contains(&index)
            }
            _ => false,
        };
        assert!(expected, "request {index}: {outcome:?}");
    }
    assert_eq!(fixture.buckets("alice").await, (units(65), units(35), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_damaged_row_fails_only_who_asks_for_it() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let damaged = fixture.submission("damaged", "alice", 1);
    fixture.submit(damaged.clone()).await;
    fixture.sql("UPDATE withdrawals SET to_address = X'00' WHERE external_id = 'damaged'").await;
    let requests =
        [fixture.submission("a", "alice", 1), damaged, fixture.submission("b", "alice", 1)];
    let callers = requests.into_iter().map(|request| fixture.intake.submit(request, PATIENCE_MS));
    let outcomes = join_all(callers).await;
    assert!(matches!(outcomes[0], Ok(Submitted::Accepted(_))), "{:?}", outcomes[0]);
    match &outcomes[1] {
        Err(IntakeError::Store(error @ StoreError::Corrupt { table, column, .. })) => {
            assert_eq!((*table, *column), ("withdrawals", "to_address"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(outcomes[2], Ok(Submitted::Accepted(_))), "{:?}", outcomes[2]);
}

//! A full house: what is refused changes nothing, and what was accepted before is answered.

use std::sync::Arc;

use futures::future::join_all;
use portcullis_store::intake::{Intake, IntakeError, IntakeLimits, Submission, Submitted};

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS, units};
use crate::rail::NONCE_FIRST;

fn bounded(fixture: &Fixture, limits: IntakeLimits) -> Intake {
    Intake::bounded(fixture.store.clone(), Arc::clone(&fixture.keys), limits)
}

fn requests(fixture: &Fixture, names: &[&str]) -> Vec<Submission> {
    names.iter().map(|name| fixture.submission(name, "alice", 1)).collect()
}

fn words(outcomes: &[Submitted]) -> Vec<&'static str> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Submitted::Accepted(_) => "accepted",
            Submitted::Existing(_) => "existing",
            Submitted::Conflict { .. } => "conflict",
            Submitted::QueueFull => "full",
            Submitted::InsufficientBalance { .. } | Submitted::UnknownAccount => "refused",
        })
        .collect()
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_new_and_answers_what_it_knows() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.fund("alice", 100).await;
    let intake = bounded(&fixture, IntakeLimits { queue_max: 3, ..IntakeLimits::default() });
    let submit = async |names: &[&str]| {
        let outcomes = intake.submit_many(requests(&fixture, names), PATIENCE_MS).await;
        words(&outcomes.expect("answers"))
    };
    assert_eq!(submit(&["a", "b"]).await, ["accepted", "accepted"]);
    // As many as fit, in their order; the retries among them take no room.
    let outcomes = submit(&["c", "a", "d", "d", "b"]).await;
    assert_eq!(outcomes, ["accepted", "existing", "full", "full", "existing"]);
    let other = Submission { request_hash: [9; 32].into(), ..fixture.submission("a", "alice", 1) };
    let outcome = intake.submit(other, PATIENCE_MS).await.expect("answers");
    assert!(matches!(outcome, Submitted::Conflict { .. }), "{outcome:?}");
    assert_eq!(fixture.buckets("alice").await, (units(97), units(3), units(0)));
    assert_eq!(fixture.number("SELECT count(*) FROM withdrawals").await, 3);
    assert_eq!(
        fixture.number("SELECT sequence_next FROM deployment").await,
        4,
        "no number is lost"
    );
    // What is bound to a slot waits no longer: there is room for another.
    fixture.validate_all().await;
    let first = fixture.store.queued(CHAIN, 1).await.expect("reads").remove(0);
    fixture.sign(&first, NONCE_FIRST).await;
    fixture.clock.advance(250);
    assert_eq!(submit(&["d", "e"]).await, ["accepted", "full"]);
    fixture.check().await;
}

#[tokio::test]
async fn the_bound_holds_under_many_callers() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let intake = bounded(&fixture, IntakeLimits { queue_max: 40, ..IntakeLimits::default() });
    let callers = (0..60).map(|n| {
        let request = fixture.submission(&format!("w{n}"), "alice", 1);
        intake.submit(request, PATIENCE_MS)
    });
    let outcomes: Vec<Submitted> =
        join_all(callers).await.into_iter().map(|outcome| outcome.expect("answers")).collect();
    let count = |word| words(&outcomes).into_iter().filter(|found| *found == word).count();
    assert_eq!((count("accepted"), count("full")), (40, 20));
    assert_eq!(fixture.number("SELECT count(*) FROM work").await, 40);
    fixture.check().await;
}

#[tokio::test]
async fn requests_that_wait_for_a_commit_are_bounded() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let intake = bounded(&fixture, IntakeLimits { waiting_max: 5, ..IntakeLimits::default() });
    // While another process has the lock, one leads and the others wait.
    let lock = fixture.lock().await;
    let callers: Vec<_> = (0..8)
        .map(|n| {
            let request = fixture.submission(&format!("w{n}"), "alice", 1);
            intake.submit(request, 300)
        })
        .collect();
    let outcomes = join_all(callers).await;
    let busy = outcomes.iter().filter(|it| matches!(it, Err(IntakeError::Busy))).count();
    let waited = outcomes.iter().filter(|it| matches!(it, Err(IntakeError::Unavailable))).count();
    assert_eq!((busy, waited), (2, 6), "the leader takes its group out of the queue");
    lock.release().await;
    // Nobody waits for those any more: they take no room, and nothing of them is written.
    let many = requests(&fixture, &["a", "b", "c", "d", "e"]);
    let outcomes = intake.submit_many(many, PATIENCE_MS).await.expect("answers");
    assert_eq!(words(&outcomes), ["accepted"; 5]);
    let many = requests(&fixture, &["f", "g", "h", "i", "j", "k"]);
    let outcome = intake.submit_many(many, PATIENCE_MS).await;
    assert!(matches!(outcome, Err(IntakeError::Busy)), "more at once than ever fit");
    assert_eq!(fixture.number("SELECT count(*) FROM withdrawals").await, 5);
    fixture.check().await;
}

//! Two processes on one database, and one that somebody else has locked.

use std::time::{Duration, Instant};

use portcullis_store::intake::{Intake, IntakeError, Submitted};

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS, units};
use crate::rail::{LEASE_MS, sender, slot_at};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_two_processes_wait_for_each_other() {
    let fixture = Fixture::open().await;
    let other = fixture.another(10_000).await;
    let writers: Vec<_> = [fixture.store.clone(), other]
        .into_iter()
        .flat_map(|store| [store.clone(), store])
        .map(|store| {
            let keys = fixture.keys.clone();
            let deposits: Vec<_> = (0..50).map(|_| fixture.deposit_of("alice", 3)).collect();
            tokio::spawn(async move {
                for deposit in &deposits {
                    store.deposit(&keys, deposit).await.expect("waits for its turn");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("does not panic");
    }
    assert_eq!(fixture.buckets("alice").await.0, units(600), "no update was lost");
    fixture.store.check_ledger().await.expect("adds up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_at_two_processes_is_one_withdrawal() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_000).await;
    let second = Intake::new(fixture.another(10_000).await, fixture.keys.clone());
    let requests: Vec<_> =
        (0..60).map(|n| fixture.submission(&format!("w{n}"), "alice", 1)).collect();
    let submit = |intake: Intake, mut requests: Vec<portcullis_store::intake::Submission>| {
        for request in &mut requests {
            request.id = fixture.submission("x", "alice", 1).id;
        }
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for request in requests {
                outcomes.push(intake.submit(request, PATIENCE_MS).await.expect("answers"));
            }
            outcomes
        })
    };
    let one = submit(fixture.intake.clone(), requests.clone());
    let two = submit(second, requests);
    let (one, two) = (one.await.expect("answers"), two.await.expect("answers"));
    for pair in one.iter().zip(&two) {
        let ids = match pair {
            (Submitted::Accepted(a), Submitted::Existing(b))
            | (Submitted::Existing(a), Submitted::Accepted(b)) => (a.id, b.id),
            other => panic!("{other:?}"),
        };
        assert_eq!(ids.0, ids.1);
    }
    assert_eq!(fixture.buckets("alice").await, (units(940), units(60), units(0)));
    fixture.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intake_says_at_its_deadline_that_nothing_was_written() {
    let fixture = Fixture::open_with(10_000, 2).await;
    fixture.fund("alice", 100).await;
    let lock = fixture.lock().await;
    let begun = Instant::now();
    let requests: Vec<_> =
        (0..20).map(|n| fixture.submission(&format!("w{n}"), "alice", 1)).collect();
    let callers = requests.iter().map(|request| fixture.intake.submit(request.clone(), 300));
    for outcome in futures::future::join_all(callers).await {
        assert!(matches!(outcome, Err(IntakeError::Unavailable)), "{outcome:?}");
    }
    let waited = begun.elapsed();
    assert!(waited < Duration::from_millis(1_500), "it took {waited:?}");
    lock.release().await;
    for request in requests {
        assert!(matches!(fixture.submit(request).await, Submitted::Accepted(_)));
    }
    assert_eq!(fixture.buckets("alice").await, (units(80), units(20), units(0)));
    fixture.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_has_the_lease() {
    let fixture = Fixture::open().await;
    let stores = [fixture.store.clone(), fixture.another(10_000).await];
    for round in 0..20 {
        let names = [format!("sender:{round}")];
        let asked = stores.iter().zip(["one", "two"]).map(|(store, holder)| {
            let (store, names) = (store.clone(), names.clone());
            tokio::spawn(async move { store.acquire_leases(&names, holder, LEASE_MS).await })
        });
        let mut held = 0;
        for answer in asked.collect::<Vec<_>>() {
            held += answer.await.expect("does not panic").expect("answers").len();
        }
        assert_eq!(held, 1, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_signers_one_binds_a_payment() {
    let fixture = Fixture::open().await;
    fixture.register(2).await;
    let stores = [fixture.store.clone(), fixture.another(10_000).await];
    for round in 0..10 {
        let record = fixture.queue(&format!("w{round}"), 1).await;
        let mut attempts = Vec::new();
        for (index, store) in (0..2).zip(&stores) {
            let senders = store.senders(CHAIN).await.expect("reads");
            let known = senders.iter().find(|(address, _)| *address == sender(index));
            let new = fixture.new_slot(slot_at(index, known.expect("is there").1), &[record.id]);
            let lease = fixture.sender_lease(index).await;
            let store = store.clone();
            attempts.push(tokio::spawn(async move { store.bind(&[lease], &[new]).await }));
        }
        let mut bound = 0;
        for attempt in attempts {
            match attempt.await.expect("does not panic") {
                Ok(()) => bound += 1,
                Err(error) => assert!(error.is_lost_race(), "{error}"),
            }
        }
        assert_eq!(bound, 1);
        fixture.check().await;
    }
}

//! Leaders that end in the middle of their group.

use futures::future::join_all;
use portcullis_core::id::WithdrawalId;
use portcullis_store::intake::{IntakeError, Submission, Submitted};
use portcullis_testkit::SeededEntropy;

use crate::fixture::{Fixture, PATIENCE_MS, units};
use crate::polls::drop_after;

fn id_of(outcome: &Submitted) -> Option<WithdrawalId> {
    match outcome {
        Submitted::Accepted(record) | Submitted::Existing(record) => Some(record.id),
        _ => None,
    }
}

/// While one request is committed, others gather behind it; the first of them leads them all next,
/// and is dropped somewhere on its way.
#[tokio::test]
async fn followers_are_answered_when_their_leader_ends() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100_000).await;
    let mut dropped = 0;
    for round in 0..160 {
        let name = |kind: &str, n: u64| format!("{kind}{n}-{round}");
        let opener = fixture.submission(&name("opener", 0), "alice", 1);
        let leader = fixture.submission(&name("leader", 0), "alice", 1);
        let followers: Vec<Submission> =
            (0..5).map(|n| fixture.submission(&name("follower", n), "alice", 1)).collect();
        let open = fixture.intake.submit(opener, PATIENCE_MS);
        let lead = fixture.intake.submit(leader, PATIENCE_MS);
        let lead = drop_after(lead, 1 + round % 40, round % 4);
        let follow = join_all(
            followers.iter().cloned().map(|request| fixture.intake.submit(request, PATIENCE_MS)),
        );
        let (opened, led, followed) = tokio::join!(open, lead, follow);
        assert!(matches!(opened, Ok(Submitted::Accepted(_))), "{opened:?}");
        dropped += u32::from(led.is_none());
        for (request, outcome) in followers.iter().zip(followed) {
            let outcome = outcome.expect("a follower is answered");
            assert_eq!(id_of(&outcome), Some(request.id), "{outcome:?}");
        }
        fixture.check().await;
    }
    assert!(dropped >= 20, "only {dropped} leaders ended early");
}

/// Everybody may end; whoever asks again gets its one withdrawal.
#[tokio::test]
async fn a_repeat_after_any_end_finds_or_makes_one_withdrawal() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100_000).await;
    let mut entropy = SeededEntropy::new(4);
    for round in 0..25 {
        let requests: Vec<Submission> =
            (0..8).map(|n| fixture.submission(&format!("w{round}-{n}"), "alice", 1)).collect();
        let first = requests.iter().cloned().map(|request| {
            let (polls, lingering) = (1 + entropy.below(40), entropy.below(3));
            drop_after(fixture.intake.submit(request, PATIENCE_MS), polls, lingering)
        });
        let first = join_all(first.collect::<Vec<_>>()).await;
        let again = requests.iter().cloned();
        let again =
            join_all(again.map(|request| fixture.intake.submit(request, PATIENCE_MS))).await;
        for ((request, before), after) in requests.iter().zip(first).zip(again) {
            let after = after.expect("answers");
            assert_eq!(id_of(&after), Some(request.id));
            let was_accepted = matches!(before, Some(Ok(Submitted::Accepted(_))));
            let is_new = matches!(after, Submitted::Accepted(_));
            assert!(!(was_accepted && is_new), "an accepted request was lost");
        }
    }
    assert_eq!(fixture.all().await.len(), 200);
    assert_eq!(fixture.buckets("alice").await, (units(99_800), units(200), units(0)));
    fixture.check().await;
}

/// Deadlines pass at arbitrary moments. "Nothing was written" is never said of what is written.
#[tokio::test]
async fn unavailable_means_that_nothing_is_written() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100_000).await;
    let mut said = [0_u32; 3];
    for round in 0..120_u64 {
        let requests: Vec<Submission> =
            (0..6).map(|n| fixture.submission(&format!("w{round}-{n}"), "alice", 1)).collect();
        let callers = requests.iter().zip(0..).map(|(request, n)| {
            // Deadlines of 0 to 255 ms fall before, into and behind the commit, on a slow database too.
            fixture.intake.submit(request.clone(), (1 << ((round + n) % 9)) - 1)
        });
        let outcomes = join_all(callers).await;
        fixture.check().await;
        for (request, outcome) in requests.iter().zip(outcomes) {
            let known = fixture.store.withdrawal(fixture.tenant, request.id).await.expect("reads");
            match outcome {
                Ok(outcome) => {
                    said[0] += 1;
                    assert_eq!(id_of(&outcome), known.map(|record| record.id));
                }
                Err(IntakeError::Unavailable) => {
                    said[1] += 1;
                    assert_eq!(known, None, "it said that nothing was written");
                }
                Err(IntakeError::OutcomeUnknown) => said[2] += 1,
                Err(IntakeError::Store(error)) => panic!("{error}"),
                Err(IntakeError::Busy) => panic!("there is room"),
            }
        }
    }
    assert!(said[0] > 0 && said[1] > 0, "the deadlines are all on one side: {said:?}");
}

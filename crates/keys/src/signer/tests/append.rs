//! What a call leaves behind when it ends early, and what happens when the journal cannot be written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex as StdMutex;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::*;

type Passage = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Stops whoever comes to one side of the append, for ever, and says so.
struct StopAt {
    happened: bool,
    reached: Arc<Notify>,
}

impl EffectGate for StopAt {
    fn pass(&self, point: EffectPoint) -> Passage {
        if point.happened != self.happened {
            return Box::pin(std::future::ready(()));
        }
        self.reached.notify_one();
        Box::pin(std::future::pending())
    }
}

/// Does something at the first passage.
struct Once(StdMutex<Option<Box<dyn FnOnce() + Send>>>);

impl Once {
    fn new(act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self(StdMutex::new(Some(Box::new(act)))))
    }
}

impl EffectGate for Once {
    fn pass(&self, point: EffectPoint) -> Passage {
        assert_eq!(point.effect, "journal");
        if let Some(act) = self.0.lock().expect("nobody panicked").take() {
            act();
        }
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn a_call_dropped_around_the_append_leaves_all_or_nothing() {
    for journaled in [false, true] {
        let bench = Bench::new();
        let signer = bench.signer();
        let reached = Arc::new(Notify::new());
        let stopped = signer
            .clone()
            .with_gate(Arc::new(StopAt { happened: journaled, reached: Arc::clone(&reached) }));
        let intents = vec![bench.pay(1, 1), bench.pay(2, 2)];
        tokio::select! {
            _ = stopped.sign(intents.clone()) => panic!("it stops at the gate"),
            () = reached.notified() => {}
        }
        // The lock is free again, and the journal is whole.
        let found = signer.journal().attempt_hashes(bench.slot(1));
        assert_eq!(found.len(), usize::from(journaled));
        let again: Vec<B256> = signer
            .sign(intents)
            .await
            .into_iter()
            .map(|outcome| outcome.expect("the same intents fit").hash)
            .collect();
        assert_eq!(found, again[..usize::from(journaled)], "the same bytes as before");
        drop((signer, stopped));
        let lines = bench.journal().reader().lines();
        assert_eq!(lines, if journaled { 5 } else { 3 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_dropped_anywhere_leaves_all_or_nothing() {
    let bench = Bench::new();
    let signer = bench.signer();
    for round in 0..200_u64 {
        let (one, other) = (round * 2 + 1, round * 2 + 2);
        let before = signer.journal().lines();
        let mut call = Box::pin(signer.sign(vec![bench.pay(one, one), bench.pay(other, other)]));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..=round {
            if let Poll::Ready(outcomes) = call.as_mut().poll(&mut context) {
                assert!(outcomes.iter().all(Result::is_ok));
                break;
            }
            std::thread::yield_now();
        }
        drop(call);
        // Waits for whatever the dropped call still has under way.
        signer.record_audit_head(round, B256::ZERO).await.expect("the journal is whole");
        let written = signer.journal().lines() - before;
        assert!(written == 1 || written == 3, "round {round}: {written} lines");
    }
    let lines = signer.journal().lines();
    drop(signer);
    assert_eq!(bench.journal().reader().lines(), lines);
}

#[tokio::test]
async fn without_the_journal_nothing_leaves() {
    let bench = Bench::new();
    let path = bench.journal_path();
    let gate = Once::new(move || std::fs::remove_file(path).expect("our own file"));
    let signer = bench.signer().with_gate(gate);
    let mut tampered = bench.pay(3, 3);
    tampered.payments[0].amount = units(1);
    let outcomes = signer.sign(vec![bench.pay(1, 1), tampered, bench.pay(2, 2)]).await;
    assert!(matches!(outcomes[0], Err(SigningRefusal::Journal { .. })), "{outcomes:?}");
    assert!(outcomes[1].as_ref().is_err_and(SigningRefusal::is_tamper), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(SigningRefusal::Journal { .. })), "{outcomes:?}");
    // And nothing more, until somebody has looked.
    let outcome = sign_one(&signer, bench.pay(1, 1)).await;
    assert!(matches!(outcome, Err(SigningRefusal::Journal { .. })), "{outcome:?}");
    assert!(signer.journal().slot(bench.slot(1)).is_none());
    drop(signer);
    // Nor does a restart forget that something was signed.
    let opened = Journal::open(&mut bench.keystore(), NOW);
    assert!(matches!(opened, Err(JournalError::Missing { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_keystore_that_cannot_note_its_first_signature_gives_none() {
    let bench = Bench::new();
    let signer = bench.signer();
    std::fs::remove_file(bench.path()).expect("our own file");
    let outcome = sign_one(&signer, bench.pay(1, 1)).await;
    assert!(matches!(outcome, Err(SigningRefusal::Journal { .. })), "{outcome:?}");
    assert_eq!(signer.journal().lines(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_calls_at_once_do_not_both_pay() {
    let bench = Bench::new();
    let signer = bench.signer();
    for sequence in 1..=50 {
        let calls = [1, 2].map(|half| {
            let (signer, intent) = (signer.clone(), bench.pay(sequence * 2 + half, sequence));
            tokio::spawn(async move { sign_one(&signer, intent).await })
        });
        let mut paid = 0;
        for call in calls {
            match call.await.expect("it does not panic") {
                Ok(_) => paid += 1,
                Err(refusal) => {
                    assert!(refusal.journal_knows_more(), "{refusal}");
                }
            }
        }
        assert_eq!(paid, 1, "payment {sequence}");
    }
}

#[tokio::test]
async fn the_audit_head_is_remembered() {
    let bench = Bench::new();
    let signer = bench.signer();
    signer.record_audit_head(1, B256::with_last_byte(1)).await.expect("appended");
    signer.record_audit_head(2, B256::with_last_byte(2)).await.expect("appended");
    drop(signer);
    let head = bench.journal().reader().audit_head().expect("two were written");
    assert_eq!((head.sequence, head.hash, head.at), (2, B256::with_last_byte(2), NOW));
    assert_eq!(bench.keystore().signed_with(), None, "it is no signature");
}

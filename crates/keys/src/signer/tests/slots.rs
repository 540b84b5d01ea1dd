//! The rules of slots and payments: what the journal allows.

use super::*;

/// One step of a story and what comes of it.
type Step = (SigningIntent, &'static str);

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(_) => "signed",
        Err(SigningRefusal::SlotUsed { .. }) => "slot used",
        Err(SigningRefusal::SlotOfOthers { .. }) => "slot of others",
        Err(SigningRefusal::SlotCanceled { .. }) => "slot canceled",
        Err(SigningRefusal::PaymentElsewhere { .. }) => "elsewhere",
        Err(SigningRefusal::PaymentReleased { .. }) => "released",
        Err(SigningRefusal::NumberReused { .. }) => "number reused",
        Err(SigningRefusal::RepeatedInCall { .. }) => "repeated",
        Err(_) => "something else",
    }
}

fn evidence(transaction_hash: B256, cause: EvidenceCause) -> ReleaseEvidence {
    ReleaseEvidence {
        block_number: 5,
        block_hash: B256::with_last_byte(5),
        transaction_hash,
        cause,
        is_final: true,
    }
}

fn release(bench: &Bench, nonce: u64, sequence: u64, evidence: ReleaseEvidence) -> Release {
    Release { number: payment(sequence).number, slot: bench.slot(nonce), evidence }
}

/// The same request under another number, as intake gives it after a restore.
fn renumbered(bench: &Bench, nonce: u64, sequence: u64, epoch: u64) -> SigningIntent {
    let mut intent = bench.pay(nonce, sequence);
    intent.payments[0].number.epoch = epoch;
    let payment = intent.payments[0].clone();
    intent.payments[0] = sealed(payment);
    intent
}

/// Payment `sequence` of another amount, so that its payload is another.
fn of_amount(bench: &Bench, nonce: u64, sequence: u64, amount: u64) -> SigningIntent {
    let mut intent = bench.pay(nonce, sequence);
    let payment = intent.payments.remove(0);
    intent.payments.push(sealed(PaymentIntent { amount: units(amount), ..payment }));
    intent
}

/// Another payment under the number of payment 1.
fn under_the_first_number(bench: &Bench) -> SigningIntent {
    let mut intent = bench.pay(8, 8);
    let payment8 = intent.payments.remove(0);
    intent.payments.push(sealed(PaymentIntent { number: payment(1).number, ..payment8 }));
    intent
}

fn stories(bench: &Bench) -> Vec<Vec<Step>> {
    let paid = (bench.pay(1, 1), "signed");
    let canceled = (bench.cancel(1), "signed");
    vec![
        // The same again is a resumption or a replacement.
        vec![paid.clone(), paid.clone()],
        // Another payload never fits, nor does another payment with the same payload.
        vec![paid.clone(), (of_amount(bench, 1, 2, 5), "slot used")],
        vec![paid.clone(), (bench.pay(1, 2), "slot of others"), (bench.pay(2, 2), "signed")],
        // A cancel always fits, and the payload stays what it was.
        vec![paid.clone(), canceled.clone(), paid.clone(), canceled.clone()],
        vec![paid.clone(), canceled.clone(), (of_amount(bench, 1, 2, 5), "slot used")],
        // A slot that was canceled or filled first never pays; its payment is free for another.
        vec![canceled.clone(), (bench.pay(1, 1), "slot canceled"), canceled.clone()],
        vec![canceled.clone(), (bench.pay(2, 1), "signed")],
        // A payment stays in its slot, whether or not that was canceled since.
        vec![paid.clone(), (bench.pay(2, 1), "elsewhere"), (bench.pay(2, 2), "signed")],
        vec![paid.clone(), canceled, (bench.pay(2, 1), "elsewhere")],
        // Nor does a new number free it, nor may its number mean another payment.
        vec![paid.clone(), (renumbered(bench, 2, 1, 2), "elsewhere")],
        vec![paid.clone(), (renumbered(bench, 1, 1, 2), "slot of others")],
        vec![paid, (under_the_first_number(bench), "number reused")],
    ]
}

#[tokio::test]
async fn a_slot_carries_one_fixed_set_and_a_payment_one_slot() {
    let count = stories(&Bench::new()).len();
    for (restarted, at) in (0..count).flat_map(|at| [(false, at), (true, at)]) {
        let bench = Bench::new();
        let mut signer = bench.signer();
        for (intent, expected) in stories(&bench).swap_remove(at) {
            let outcome = sign_one(&signer, intent).await;
            assert_eq!(word(&outcome), expected, "story {at}: {outcome:?}");
            let knows_more = outcome.is_err_and(|refusal| refusal.journal_knows_more());
            assert_eq!(knows_more, expected != "signed");
            if restarted {
                drop(signer);
                signer = bench.signer();
            }
        }
    }
}

#[tokio::test]
async fn within_a_call_nothing_comes_twice() {
    let bench = Bench::new();
    let signer = bench.signer();
    let mut forged = bench.pay(4, 4);
    forged.payments[0].to = Address::repeat_byte(0xcc);
    let outcomes = signer
        .sign(vec![
            bench.pay(1, 1),
            bench.pay(1, 1),
            bench.cancel(1),
            bench.pay(2, 1),
            renumbered(&bench, 3, 1, 2),
            forged,
            bench.pay(4, 4),
        ])
        .await;
    let words: Vec<&str> = outcomes.iter().map(word).collect();
    let repeated = "repeated";
    assert_eq!(
        words,
        ["signed", repeated, repeated, repeated, repeated, "something else", "signed"]
    );
    assert_eq!(signer.journal().lines(), 3);
}

#[tokio::test]
async fn a_release_frees_the_payment_and_closes_the_slot_to_it() {
    let bench = Bench::new();
    let signer = bench.signer();
    sign_one(&signer, bench.pay(1, 1)).await.expect("in order");
    let cancel = sign_one(&signer, bench.cancel(1)).await.expect("in order");
    let proof = release(&bench, 1, 1, evidence(cancel.hash, EvidenceCause::Canceled));
    signer.record_release(vec![proof, proof]).await.expect("it fits");
    assert_eq!(signer.journal().lines(), 4, "one release is one line");
    signer.record_release(vec![proof]).await.expect("it is there already");
    assert_eq!(signer.journal().lines(), 4);
    drop(signer);
    let signer = bench.signer();
    for (intent, expected) in [
        (bench.pay(1, 1), "released"),
        (bench.pay(2, 1), "signed"),
        (bench.pay(2, 1), "signed"),
        (bench.pay(3, 1), "elsewhere"),
        (bench.pay(1, 1), "released"),
    ] {
        let outcome = sign_one(&signer, intent).await;
        assert_eq!(word(&outcome), expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn what_was_released_under_one_number_may_be_paid_under_the_next() {
    let bench = Bench::new();
    let signer = bench.signer();
    let paid = sign_one(&signer, bench.pay(1, 1)).await.expect("in order");
    let proof = release(&bench, 1, 1, evidence(paid.hash, EvidenceCause::Reverted));
    signer.record_release(vec![proof]).await.expect("it fits");
    let outcome = sign_one(&signer, renumbered(&bench, 2, 1, 2)).await;
    assert_eq!(word(&outcome), "signed", "{outcome:?}");
    let outcome = sign_one(&signer, bench.pay(3, 1)).await;
    assert_eq!(word(&outcome), "elsewhere", "{outcome:?}");
}

#[tokio::test]
async fn a_release_that_does_not_fit_the_journal_writes_nothing() {
    let bench = Bench::new();
    let signer = bench.signer();
    let paid = sign_one(&signer, bench.pay(1, 1)).await.expect("in order");
    let cancel = sign_one(&signer, bench.cancel(1)).await.expect("in order");
    sign_one(&signer, bench.pay(2, 2)).await.expect("in order");
    let fits = release(&bench, 2, 2, evidence(B256::ZERO, EvidenceCause::Canceled));
    for (nonce, sequence) in [(1, 2), (2, 1), (3, 3)] {
        let wrong = release(&bench, nonce, sequence, fits.evidence);
        let recorded = signer.record_release(vec![fits, wrong]).await;
        assert!(matches!(recorded, Err(JournalError::NothingToRelease { .. })), "{recorded:?}");
    }
    for (hash, cause) in [
        (paid.hash, EvidenceCause::Canceled),
        (cancel.hash, EvidenceCause::Reverted),
        (paid.hash, EvidenceCause::Foreign),
        (cancel.hash, EvidenceCause::Foreign),
    ] {
        let wrong = release(&bench, 1, 1, evidence(hash, cause));
        let recorded = signer.record_release(vec![fits, wrong]).await;
        assert!(matches!(recorded, Err(JournalError::EvidenceContradicts { .. })), "{recorded:?}");
    }
    assert_eq!(signer.journal().lines(), 4);
    assert_eq!(word(&sign_one(&signer, bench.pay(5, 2)).await), "elsewhere");
}

//! Dead letters: written at the fifth failure, redriven, resolved or discarded; and nothing is ever lost by one.

use portcullis_core::error_class::ErrorClass;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::recovery::LETTER_KEPT_MS;
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::{HoldReason, State, StateCode};
use portcullis_store::dead_letter::{
    DeadLetter, DeadLetterQueue, FailedRequest, FailedSlot, LetterEnd, LetterError, LetterOutcome,
};
use portcullis_store::transition::Stage;

use crate::fixture::{CHAIN, Fixture, units};
use crate::rail::{NONCE_FIRST, block, inclusion};

fn error(class: ErrorClass) -> LetterError {
    let code = Some("test".to_owned());
    LetterError { class, code, message: "it failed".into(), details: None }
}

/// One more failed receive; says whether it became a letter.
async fn fail(fixture: &Fixture, withdrawal: WithdrawalId, class: ErrorClass) -> bool {
    fixture.clock.advance(10);
    let retry_at = fixture.now();
    let failed = FailedRequest { withdrawal, error: error(class), retry_at, chance: 0 };
    let letters = fixture.store.fail_requests(&[failed]).await.expect("counts");
    !letters.is_empty()
}

async fn fail_five_times(fixture: &Fixture, id: WithdrawalId, class: ErrorClass) {
    for receive in 1..=5 {
        assert_eq!(fail(fixture, id, class).await, receive == 5, "receive {receive}");
    }
}

async fn open(fixture: &Fixture) -> Vec<DeadLetter> {
    fixture.store.dead_letters(None, false, 99).await.expect("reads")
}

async fn only(fixture: &Fixture) -> DeadLetter {
    let [letter] = <[_; 1]>::try_from(open(fixture).await).expect("one letter");
    letter
}

#[tokio::test]
async fn the_fifth_failed_receive_makes_a_letter_and_its_neighbours_go_on() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    let other = fixture.queue("other", 10).await;
    fail_five_times(&fixture, record.id, ErrorClass::Unknown).await;
    let letter = only(&fixture).await;
    assert_eq!((letter.queue, &letter.subject), (DeadLetterQueue::Request, &record.id.to_string()));
    assert_eq!(
        (letter.attempt_count, letter.redrives, letter.tenant),
        (5, 0, Some(fixture.tenant))
    );
    assert_eq!(letter.error, error(ErrorClass::Unknown));
    assert_eq!(letter.failed_at, fixture.now());
    assert_eq!((letter.redrive_at, &letter.end), (None, &None), "an operator decides");
    let original: serde_json::Value =
        serde_json::from_str(&letter.original_message).expect("is JSON");
    assert_eq!(original["external_id"], "w");
    assert_eq!(original["status"], "QUEUED");
    fixture.clock.advance(1_000_000);
    let queued = fixture.store.queued(CHAIN, 9).await.expect("reads");
    assert_eq!(queued.iter().map(|it| it.id).collect::<Vec<_>>(), [other.id], "it is not due");
    assert_eq!(fixture.store.first_due(Stage::Sign, Some(CHAIN)).await, Ok(Some(other.id)));
    assert_eq!(fixture.read(&record).await.state, State::Queued, "it stands where it stood");
    assert!(!fail(&fixture, record.id, ErrorClass::Unknown).await, "a letter is written once");
    assert_eq!(fixture.buckets("alice").await, (units(0), units(20), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_passing_class_is_redriven_less_and_less_often() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    for (redrives, pause_ms) in [(0, 60_000), (1, 120_000), (2, 240_000)] {
        fail_five_times(&fixture, record.id, ErrorClass::Network).await;
        let letter = only(&fixture).await;
        assert_eq!((letter.redrives, letter.attempt_count), (redrives, 5 * (redrives + 1)));
        let due = fixture.now().plus_millis(pause_ms);
        assert_eq!(letter.redrive_at, Some(due));
        fixture.clock.set(due.plus_millis(-1));
        assert_eq!(fixture.store.due_dead_letters(9).await, Ok(vec![]));
        fixture.clock.set(due);
        assert_eq!(fixture.store.due_dead_letters(9).await, Ok(vec![letter.clone()]));
        let redriven = fixture.store.redrive_dead_letter(letter.id, "recovery", "passes").await;
        assert_eq!(redriven, Ok(LetterOutcome::Done));
        assert_eq!(open(&fixture).await, []);
        assert_eq!(fixture.store.queued(CHAIN, 9).await.map(|queued| queued.len()), Ok(1));
    }
    let all = fixture.store.dead_letters(None, true, 99).await.expect("reads");
    assert_eq!(all.len(), 3, "ended letters are kept");
    let again = fixture.store.redrive_dead_letter(all[0].id, "cli:op", "again").await;
    assert_eq!(again, Ok(LetterOutcome::Ended));
    let nobody = fixture.store.redrive_dead_letter(999, "cli:op", "what").await;
    assert_eq!(nobody, Ok(LetterOutcome::Unknown));
    let audited = "SELECT count(*) FROM audit WHERE action = 'dead-letter.redriven'";
    assert_eq!(fixture.number(audited).await, 3);
    fixture.check().await;
}

#[tokio::test]
async fn a_discarded_letter_leaves_its_withdrawal_held() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    fail_five_times(&fixture, record.id, ErrorClass::InvalidTransaction).await;
    let letter = only(&fixture).await;
    let discarded = fixture.store.discard_dead_letter(letter.id, "cli:op", "ticket 881").await;
    assert_eq!(discarded, Ok(LetterOutcome::Held(record.id)));
    let held = fixture.read(&record).await;
    assert_eq!(held.state, State::Held { reason: HoldReason::Failing, slot: None });
    assert_eq!(fixture.buckets("alice").await, (units(0), units(10), units(0)), "not refunded");
    let ended = fixture.store.dead_letter(letter.id).await.expect("reads").expect("is kept");
    let end = ended.end.expect("it ended");
    assert_eq!((end.how, end.by.as_str()), (LetterEnd::Discarded, "cli:op"));
    assert_eq!(end.reason, "ticket 881");
    let audited = "SELECT count(*) FROM audit WHERE action = 'dead-letter.discarded' AND detail = 'ticket 881'";
    assert_eq!(fixture.number(audited).await, 1);
    fixture.store.resume(record.id, "cli:op", "the cap is raised").await.expect("resumes");
    assert_eq!(fixture.validate_all().await, 1, "it goes on");
    fixture.check().await;
}

fn failed_slot(slot: SlotId, class: ErrorClass) -> FailedSlot {
    FailedSlot { queue: DeadLetterQueue::SignedTx, slot, error: error(class), chance: 0 }
}

#[tokio::test]
async fn a_slot_with_a_letter_is_sent_and_followed_as_before() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    for receive in 1..=5 {
        let failed = [failed_slot(new.id, ErrorClass::InvalidTransaction)];
        let letters = fixture.store.fail_slots(&failed).await.expect("counts");
        assert_eq!(letters.len(), usize::from(receive == 5));
    }
    let letter = only(&fixture).await;
    assert_eq!((letter.queue, &letter.subject), (DeadLetterQueue::SignedTx, &new.id.to_string()));
    let original: serde_json::Value =
        serde_json::from_str(&letter.original_message).expect("is JSON");
    assert_eq!((&original["nonce"], &original["source"]), (&NONCE_FIRST.into(), &"REQUEST".into()));
    fixture.clock.advance(60_000);
    let due = fixture.store.claim_sendable(CHAIN, "claim", 9, 1_000).await.expect("claims");
    assert_eq!(due.len(), 1, "it is sent all the same");
    let discarded = fixture.store.discard_dead_letter(letter.id, "cli:op", "seen").await;
    assert_eq!(discarded, Ok(LetterOutcome::Done));
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Broadcasted);
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    fixture.check().await;
}

#[tokio::test]
async fn a_letter_is_over_when_its_work_went_on() {
    let fixture = Fixture::open().await;
    let (_, new, _) = fixture.sent("sent").await;
    let waiting = fixture.queue("waiting", 10).await;
    fail_five_times(&fixture, waiting.id, ErrorClass::Unknown).await;
    for _ in 0..5 {
        let failed = [failed_slot(new.id, ErrorClass::Unknown)];
        fixture.store.fail_slots(&failed).await.expect("counts");
    }
    assert_eq!(open(&fixture).await.len(), 2);
    let long_ago = fixture.now().plus_millis(-LETTER_KEPT_MS);
    assert_eq!(fixture.store.tidy_dead_letters(long_ago).await, Ok(0), "both stand");
    fixture.clock.advance(60_000);
    assert_eq!(fixture.send_due().await, 1, "a provider takes the bytes");
    assert_eq!(fixture.store.tidy_dead_letters(long_ago).await, Ok(1));
    assert_eq!(only(&fixture).await.queue, DeadLetterQueue::Request);
    fixture.store.cancel(fixture.tenant, waiting.id, "key:test").await.expect("cancels");
    assert_eq!(fixture.store.tidy_dead_letters(long_ago).await, Ok(1));
    assert_eq!(open(&fixture).await, []);
    fixture.clock.advance(LETTER_KEPT_MS);
    let before = fixture.now().plus_millis(-LETTER_KEPT_MS);
    fixture.store.tidy_dead_letters(before).await.expect("tidies");
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters").await, 2, "for four days");
    let before = before.plus_millis(1);
    fixture.store.tidy_dead_letters(before).await.expect("tidies");
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters").await, 0);
    let slot = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    assert_eq!(slot.stage, SlotStage::Sent);
}

#[tokio::test]
async fn a_letter_is_over_when_its_withdrawal_is_set_aside() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 10).await;
    fail_five_times(&fixture, record.id, ErrorClass::Unknown).await;
    assert_eq!(fixture.store.quarantine(record.id, "unreadable").await, Ok(true));
    let long_ago = fixture.now().plus_millis(-LETTER_KEPT_MS);
    assert_eq!(fixture.store.tidy_dead_letters(long_ago).await, Ok(1));
    assert_eq!(open(&fixture).await, []);
    fixture.check().await;
}

#[tokio::test]
async fn letters_are_counted_by_queue() {
    let fixture = Fixture::open().await;
    let one = fixture.queue("one", 1).await;
    let two = fixture.queue("two", 1).await;
    fail_five_times(&fixture, one.id, ErrorClass::Timeout).await;
    fail_five_times(&fixture, two.id, ErrorClass::Unknown).await;
    let counts = fixture.store.count_dead_letters().await.expect("counts");
    let expected = [
        (DeadLetterQueue::Request, 2, 1),
        (DeadLetterQueue::SignedTx, 0, 0),
        (DeadLetterQueue::BroadcastTx, 0, 0),
    ];
    assert_eq!(counts, expected);
    let of_queue = fixture.store.dead_letters(Some(DeadLetterQueue::SignedTx), true, 9).await;
    assert_eq!(of_queue, Ok(vec![]));
}

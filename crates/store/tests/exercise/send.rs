//! Claims of committed bytes, and what their sends came to.

use portcullis_core::slot::{AttemptKind, SlotStage};
use portcullis_core::withdrawal::StateCode;
use portcullis_store::send::{SendResult, Sendable};
use portcullis_store::slot::NewSlot;

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{NONCE_FIRST, signed};

async fn claim(fixture: &Fixture, claim: &str, limit: u64) -> Vec<Sendable> {
    fixture.store.claim_sendable(CHAIN, claim, limit, 1_000).await.expect("claims")
}

fn refused(fixture: &Fixture, sendable: &Sendable, pause_ms: i64) -> SendResult {
    SendResult {
        slot_id: sendable.slot_id,
        hash: sendable.hash,
        outcome: "connection refused".into(),
        accepted: false,
        due_at: fixture.now().plus_millis(pause_ms),
    }
}

/// Signed payments at consecutive nonces.
async fn signed_slots(fixture: &Fixture, count: u64) -> Vec<NewSlot> {
    fixture.register(1).await;
    let mut slots = Vec::new();
    for n in 0..count {
        let record = fixture.queue(&format!("w{n}"), 1).await;
        slots.push(fixture.sign(&record, NONCE_FIRST + n).await.0);
    }
    slots
}

#[tokio::test]
async fn the_lowest_nonces_are_claimed_first_and_by_one() {
    let fixture = Fixture::open().await;
    let slots = signed_slots(&fixture, 3).await;
    let first = claim(&fixture, "one", 2).await;
    let nonces = |all: &[Sendable]| all.iter().map(|it| it.slot.nonce).collect::<Vec<_>>();
    assert_eq!(nonces(&first), [NONCE_FIRST, NONCE_FIRST + 1]);
    assert_eq!(nonces(&claim(&fixture, "two", 9).await), [NONCE_FIRST + 2]);
    assert_eq!(claim(&fixture, "three", 9).await, [], "all are taken");
    assert_eq!(fixture.store.claim_sendable(1, "four", 9, 1).await, Ok(vec![]), "another chain");
    fixture.clock.advance(1_000);
    let again = claim(&fixture, "three", 9).await;
    assert_eq!(nonces(&again).len(), 3, "a claim that ran out is free");
    assert_eq!(again[0].receives, 1);
    // The one whose claim ran out comes back: what it saw is noted, its claim is not its own any more.
    let late = SendResult { accepted: true, ..refused(&fixture, &first[0], 0) };
    fixture.store.record_sends("one", &[late]).await.expect("records");
    assert_eq!(claim(&fixture, "four", 9).await, [], "the claim of its successor holds");
    let mut stages = Vec::new();
    for new in &slots[..2] {
        let found = fixture.store.slot(new.slot).await.expect("reads");
        stages.push(found.expect("is open").stage);
    }
    assert_eq!(stages, [SlotStage::Sent, SlotStage::Sending]);
}

/// As many of them as a set has, all due before the others, kept the others waiting for ever.
#[tokio::test]
async fn slots_without_bytes_of_ours_do_not_keep_the_others_waiting() {
    let fixture = Fixture::open().await;
    let slots = signed_slots(&fixture, 3).await;
    for new in &slots[..2] {
        let id = alloy_primitives::hex::encode(new.id.to_bytes());
        fixture.sql(format!("UPDATE attempts SET raw = X'' WHERE slot_id = X'{id}'")).await;
    }
    let claimed = claim(&fixture, "one", 2).await;
    assert_eq!(claimed.iter().map(|it| it.slot_id).collect::<Vec<_>>(), [slots[2].id]);
    assert_eq!(fixture.store.first_sendable(CHAIN).await, Ok(None), "nothing else is due");
}

#[tokio::test]
async fn a_refused_send_stays_in_doubt_and_is_due_again() {
    let fixture = Fixture::open().await;
    let slots = signed_slots(&fixture, 1).await;
    let sendable = claim(&fixture, "one", 9).await.remove(0);
    let result = refused(&fixture, &sendable, 300);
    fixture.store.record_sends("one", &[result]).await.expect("records");
    let [record] = <[_; 1]>::try_from(fixture.all().await).expect("one");
    assert_eq!(record.state.code(), StateCode::Broadcasting, "an error proves nothing");
    assert_eq!(claim(&fixture, "two", 9).await, [], "not due yet");
    fixture.clock.advance(300);
    let again = claim(&fixture, "two", 9).await;
    assert_eq!((again.len(), again[0].receives, again[0].hash), (1, 1, sendable.hash));
    let rides = fixture.store.rides(&[record.id]).await.expect("reads");
    assert_eq!(rides[0].attempts[0].last_outcome.as_deref(), Some("connection refused"));
    assert_eq!(rides[0].slot_id, slots[0].id);
    fixture.check().await;
}

#[tokio::test]
async fn a_replacement_goes_out_at_once_and_instead() {
    let fixture = Fixture::open().await;
    let (_, new, _) = fixture.sent("w").await;
    for _ in 0..3 {
        fixture.clock.advance(60_000);
        assert_eq!(fixture.send_due().await, 1);
    }
    let dearer = signed(new.slot, AttemptKind::Payload, 2);
    fixture.commit(&new, &dearer).await.expect("commits");
    let sendable = claim(&fixture, "now", 9).await;
    assert_eq!(sendable.len(), 1);
    assert_eq!((sendable[0].hash, &sendable[0].raw), (dearer.hash, &dearer.raw));
    assert_eq!(sendable[0].receives, 0, "the pauses begin anew");
}

#[tokio::test]
async fn what_a_node_says_is_kept_short() {
    let fixture = Fixture::open().await;
    signed_slots(&fixture, 1).await;
    let sendable = claim(&fixture, "one", 9).await.remove(0);
    let outcome = "<html>".repeat(10_000);
    let result = SendResult { outcome, ..refused(&fixture, &sendable, 1) };
    fixture.store.record_sends("one", &[result]).await.expect("records");
    assert!(fixture.number("SELECT length(last_outcome) FROM attempts").await <= 255);
}

#[tokio::test]
async fn new_bytes_of_a_slot_send_those_behind_it_again() {
    let fixture = Fixture::open().await;
    let slots = signed_slots(&fixture, 3).await;
    assert_eq!(fixture.send_due().await, 3);
    assert_eq!(claim(&fixture, "idle", 9).await, [], "nothing is due");
    let nonces = |all: &[Sendable]| all.iter().map(|it| it.slot.nonce).collect::<Vec<_>>();
    let dearer = signed(slots[1].slot, AttemptKind::Payload, 2);
    fixture.commit(&slots[1], &dearer).await.expect("commits");
    let again = claim(&fixture, "now", 9).await;
    assert_eq!(nonces(&again), [NONCE_FIRST + 1, NONCE_FIRST + 2], "not the one before it");
    // Old bytes under way while new ones are committed do not put the new ones off.
    let newest = signed(slots[1].slot, AttemptKind::Payload, 3);
    fixture.commit(&slots[1], &newest).await.expect("commits");
    let late: Vec<SendResult> = again
        .iter()
        .map(|sent| SendResult { accepted: true, ..refused(&fixture, sent, 60_000) })
        .collect();
    fixture.store.record_sends("now", &late).await.expect("records");
    let next = claim(&fixture, "next", 9).await;
    assert_eq!(next[0].hash, newest.hash);
}

#[tokio::test]
async fn what_a_provider_took_has_failed_no_more() {
    let fixture = Fixture::open().await;
    signed_slots(&fixture, 1).await;
    for round in 0..3 {
        let sendable = claim(&fixture, "one", 9).await.remove(0);
        assert_eq!(sendable.receives, round);
        let result = refused(&fixture, &sendable, 1);
        fixture.store.record_sends("one", &[result]).await.expect("records");
        fixture.clock.advance(1);
    }
    assert_eq!(fixture.send_due().await, 1);
    assert_eq!(fixture.number("SELECT receives FROM slots").await, 0);
}

#[tokio::test]
async fn predecessors_are_sent_again_at_once() {
    let fixture = Fixture::open().await;
    let slots = signed_slots(&fixture, 3).await;
    assert_eq!(fixture.send_due().await, 3);
    fixture.store.send_below(slots[1].slot).await.expect("hurries");
    let due = claim(&fixture, "now", 9).await;
    assert_eq!(due.iter().map(|it| it.slot.nonce).collect::<Vec<_>>(), [NONCE_FIRST]);
}

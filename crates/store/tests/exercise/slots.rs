//! What a binding and a commit of bytes refuse.

use portcullis_core::slot::{AttemptKind, Purpose, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::StoreError;
use portcullis_store::slot::{NewAttempt, NewSlot};

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{NONCE_FIRST, block, inclusion, sender, signed, slot_at};

fn is_conflict(outcome: &Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Conflict { .. } | StoreError::Duplicate { .. }))
}

async fn bind(fixture: &Fixture, slots: &[NewSlot]) -> Result<(), StoreError> {
    let leases = [fixture.sender_lease(0).await, fixture.sender_lease(1).await];
    fixture.store.bind(&leases, slots).await
}

#[tokio::test]
async fn several_senders_bind_in_one_commit() {
    let fixture = Fixture::open().await;
    fixture.register(2).await;
    let (a, b) = (fixture.queue("a", 1).await, fixture.queue("b", 1).await);
    let c = fixture.queue("c", 1).await;
    let slots = [
        fixture.new_slot(slot_at(0, NONCE_FIRST + 1), &[b.id]),
        fixture.new_slot(slot_at(0, NONCE_FIRST), &[a.id]),
        fixture.new_slot(slot_at(1, NONCE_FIRST), &[c.id]),
        fixture.new_slot(slot_at(1, NONCE_FIRST + 1), &[]),
    ];
    bind(&fixture, &slots).await.expect("binds");
    let mut senders = fixture.store.senders(CHAIN).await.expect("reads");
    senders.sort_unstable_by_key(|(address, _)| *address == sender(1));
    assert_eq!(senders, [(sender(0), NONCE_FIRST + 2), (sender(1), NONCE_FIRST + 2)]);
    let open = fixture.store.unsigned_slots(CHAIN, &[sender(0)]).await.expect("reads");
    let nonces: Vec<_> = open.iter().map(|open| (open.slot.nonce, open.payments[0].id)).collect();
    assert_eq!(nonces, [(NONCE_FIRST, a.id), (NONCE_FIRST + 1, b.id)]);
    let filler = fixture.store.slot(slots[3].slot).await.expect("reads").expect("is open");
    assert_eq!((filler.purpose, filler.payments.len()), (Purpose::Fill, 0));
    fixture.check().await;
}

#[tokio::test]
async fn a_slot_carries_several_payments_in_their_order() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(fixture.queue(name, 1).await.id);
    }
    ids.swap(0, 2);
    let new = fixture.new_slot(slot_at(0, NONCE_FIRST), &ids);
    bind(&fixture, std::slice::from_ref(&new)).await.expect("binds");
    fixture.commit(&new, &signed(new.slot, AttemptKind::Payload, 1)).await.expect("commits");
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    assert_eq!(open.payments.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    assert!(open.payments.iter().all(|record| record.state == State::Signed { slot: new.id }));
    fixture.check().await;
}

#[tokio::test]
async fn nonces_are_given_once_and_without_gaps() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let (a, b) = (fixture.queue("a", 1).await, fixture.queue("b", 1).await);
    let at = |nonce, id| fixture.new_slot(slot_at(0, nonce), &[id]);
    for slots in [
        vec![at(NONCE_FIRST + 1, a.id)],
        vec![at(NONCE_FIRST - 1, a.id)],
        vec![at(NONCE_FIRST, a.id), at(NONCE_FIRST + 2, b.id)],
        vec![at(NONCE_FIRST, a.id), at(NONCE_FIRST, b.id)],
        vec![fixture.new_slot(slot_at(7, NONCE_FIRST), &[a.id])],
    ] {
        let outcome = bind(&fixture, &slots).await;
        assert!(is_conflict(&outcome), "{outcome:?} for {slots:?}");
        fixture.check().await;
    }
    assert_eq!(fixture.store.senders(CHAIN).await, Ok(vec![(sender(0), NONCE_FIRST)]));
    bind(&fixture, &[at(NONCE_FIRST, a.id)]).await.expect("binds");
    let again = bind(&fixture, &[at(NONCE_FIRST, b.id)]).await;
    assert!(is_conflict(&again), "the nonce is gone: {again:?}");
    fixture.register(1).await;
    let senders = fixture.store.senders(CHAIN).await;
    assert_eq!(senders, Ok(vec![(sender(0), NONCE_FIRST + 1)]), "a start gives no nonce back");
}

#[tokio::test]
async fn a_payment_is_bound_to_one_slot() {
    let fixture = Fixture::open().await;
    fixture.register(2).await;
    let record = fixture.queue("w", 1).await;
    let at = |index, nonce| fixture.new_slot(slot_at(index, nonce), &[record.id]);
    let twice_at_once = bind(&fixture, &[at(0, NONCE_FIRST), at(1, NONCE_FIRST)]).await;
    assert!(is_conflict(&twice_at_once), "{twice_at_once:?}");
    let twice_in_one = fixture.new_slot(slot_at(0, NONCE_FIRST), &[record.id, record.id]);
    assert!(is_conflict(&bind(&fixture, &[twice_in_one]).await));
    bind(&fixture, &[at(0, NONCE_FIRST)]).await.expect("binds");
    let again = bind(&fixture, &[at(1, NONCE_FIRST)]).await;
    assert!(is_conflict(&again), "{again:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM slots").await, 1);
    // And should the code ever forget: the database refuses a second live binding by itself.
    let forged = "INSERT INTO bindings (slot_id, position, withdrawal_id, released_at) \
                  SELECT X'00', 0, withdrawal_id, 0 FROM bindings";
    let refused = fixture.try_sql(forged).await.expect_err("one live binding is there");
    let refused = refused.to_lowercase();
    assert!(refused.contains("unique") || refused.contains("bindings_by_withdrawal"), "{refused}");
    fixture.check().await;
}

#[tokio::test]
async fn only_queued_payments_of_the_chain_are_bound() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.store.register_senders(80_002, &[(sender(0), NONCE_FIRST)]).await.expect("registers");
    let queued = fixture.queue("queued", 1).await;
    fixture.fund("alice", 1).await;
    let pending = fixture.accept("pending", "alice", 1).await;
    let unknown = fixture.submission("x", "alice", 1).id;
    for id in [pending.id, unknown] {
        let new = fixture.new_slot(slot_at(0, NONCE_FIRST), &[id]);
        let outcome = bind(&fixture, &[new]).await;
        assert!(is_conflict(&outcome), "{outcome:?}");
    }
    let mut elsewhere = slot_at(0, NONCE_FIRST);
    elsewhere.chain_id = 80_002;
    let outcome = bind(&fixture, &[fixture.new_slot(elsewhere, &[queued.id])]).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_halted_engine_binds_nothing() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 1).await;
    fixture.store.raise_halt("restore", "the journal knows more").await.expect("raises");
    let new = fixture.new_slot(slot_at(0, NONCE_FIRST), &[record.id]);
    let halted = bind(&fixture, std::slice::from_ref(&new)).await;
    assert_eq!(halted, Err(StoreError::Halted { reason: "restore".into() }));
    assert_eq!(fixture.read(&record).await.state, State::Queued);
    let id = fixture.store.halts().await.expect("lists")[0].id;
    fixture.store.clear_halt(id, "cli:alice", "imported").await.expect("clears");
    bind(&fixture, &[new]).await.expect("binds");
}

#[tokio::test]
async fn a_slot_takes_no_other_payload() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 1).await;
    let new = fixture.bind(&record, NONCE_FIRST).await;
    let good = signed(new.slot, AttemptKind::Payload, 1);
    let mut other_payload = good.clone();
    other_payload.payload_digest = signed(slot_at(0, 9), AttemptKind::Payload, 1).payload_digest;
    let other_nonce = signed(slot_at(0, NONCE_FIRST + 1), AttemptKind::Payload, 1);
    for attempt in [&other_payload, &other_nonce] {
        let outcome = fixture.commit(&new, attempt).await;
        assert!(is_conflict(&outcome), "{outcome:?}");
    }
    let stranger = fixture.new_slot(slot_at(0, NONCE_FIRST), &[]);
    let unknown_slot = fixture.commit(&stranger, &good).await;
    assert!(is_conflict(&unknown_slot), "{unknown_slot:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM attempts").await, 0);
    fixture.commit(&new, &good).await.expect("commits");
    fixture.commit(&new, &good).await.expect("the same bytes again are there already");
    assert_eq!(fixture.number("SELECT count(*) FROM attempts").await, 1);
    fixture.check().await;
}

#[tokio::test]
async fn replacements_and_cancels_stay_in_their_slot_until_a_block_consumes_it() {
    let fixture = Fixture::open().await;
    let (record, new, first) = fixture.sent("w").await;
    let dearer = signed(new.slot, AttemptKind::Payload, 2);
    let cancel = signed(new.slot, AttemptKind::Cancel, 3);
    fixture.commit(&new, &dearer).await.expect("a replacement");
    fixture.commit(&new, &cancel).await.expect("a cancel");
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    let hashes: Vec<_> = open.attempts.iter().map(|attempt| attempt.hash).collect();
    assert_eq!(hashes, [first.hash, dearer.hash, cancel.hash]);
    assert_eq!(open.stage, SlotStage::Sent);
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Broadcasted);
    // An older attempt may win all the same.
    fixture.include(inclusion(&new, &first, block(101, 0))).await.expect("includes");
    let late = fixture.commit(&new, &signed(new.slot, AttemptKind::Payload, 4)).await;
    assert!(is_conflict(&late), "a consumed slot takes no more bytes: {late:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_set_of_attempts_is_committed_whole_or_not_at_all() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let (a, b) = (fixture.queue("a", 1).await, fixture.queue("b", 1).await);
    let first = fixture.bind(&a, NONCE_FIRST).await;
    let second = fixture.bind(&b, NONCE_FIRST + 1).await;
    let wrong = signed(slot_at(0, 99), AttemptKind::Payload, 1);
    let attempts = [
        NewAttempt { slot_id: first.id, signed: signed(first.slot, AttemptKind::Payload, 1) },
        NewAttempt { slot_id: second.id, signed: wrong },
    ];
    let lease = fixture.sender_lease(0).await;
    let outcome = fixture.store.commit_attempts(&[lease], &attempts, &[]).await;
    assert!(is_conflict(&outcome), "{outcome:?}");
    assert_eq!(fixture.read(&a).await.state, State::Signing { slot: first.id });
    assert_eq!(fixture.store.unsigned_slots(CHAIN, &[sender(0)]).await.map(|all| all.len()), Ok(2));
    fixture.check().await;
}

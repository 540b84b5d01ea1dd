//! Slots that the chain consumed, and transactions that only the chain knows.

use portcullis_core::slot::{AttemptKind, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::chain::{Adoption, Inclusion};

use crate::fixture::{CHAIN, Fixture, units};
use crate::rail::{NONCE_FIRST, block, blocks, inclusion, reorg, sender, signed};

#[tokio::test]
async fn slots_below_the_count_on_chain_are_consumed() {
    let fixture = Fixture::open().await;
    fixture.register(2).await;
    for n in 0..3 {
        let record = fixture.queue(&format!("w{n}"), 1).await;
        fixture.bind(&record, NONCE_FIRST + n).await;
    }
    let consumed = async |count, limit| {
        let counts = [(sender(0), count), (sender(1), 99)];
        let found = fixture.store.consumed_slots(CHAIN, &counts, limit).await.expect("reads");
        found.iter().map(|open| open.slot.nonce).collect::<Vec<_>>()
    };
    assert_eq!(consumed(NONCE_FIRST, 9).await, Vec::<u64>::new());
    assert_eq!(consumed(NONCE_FIRST + 2, 9).await, [NONCE_FIRST, NONCE_FIRST + 1]);
    assert_eq!(consumed(NONCE_FIRST + 2, 1).await, [NONCE_FIRST]);
    assert_eq!(fixture.store.consumed_slots(CHAIN, &[], 9).await.map(|all| all.len()), Ok(0));
}

#[tokio::test]
async fn an_adopted_payload_pays() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let ours_elsewhere = signed(new.slot, AttemptKind::Payload, 7);
    let adoption =
        Adoption { slot_id: new.id, hash: ours_elsewhere.hash, kind: AttemptKind::Payload };
    let lease = fixture.monitor().await;
    fixture.store.adopt(&lease, &[adoption]).await.expect("adopts");
    fixture.store.adopt(&lease, &[adoption]).await.expect("is there already");
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    let adopted: Vec<bool> = open.attempts.iter().map(|attempt| attempt.is_adopted).collect();
    assert_eq!(adopted, [false, true]);
    fixture.include(inclusion(&new, &ours_elsewhere, block(101, 0))).await.expect("includes");
    fixture.confirm(101).await;
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirmed);
    fixture.check().await;
}

#[tokio::test]
async fn after_a_reorg_our_own_bytes_are_sent_and_not_the_ones_that_were_found() {
    let fixture = Fixture::open().await;
    let (_, new, own) = fixture.sent("w").await;
    let found = signed(new.slot, AttemptKind::Payload, 7);
    let adoption = Adoption { slot_id: new.id, hash: found.hash, kind: AttemptKind::Payload };
    let lease = fixture.monitor().await;
    fixture.store.adopt(&lease, &[adoption]).await.expect("adopts");
    fixture.include(inclusion(&new, &found, block(101, 0))).await.expect("includes");
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    let sendable = fixture.store.claim_sendable(CHAIN, "one", 9, 1).await.expect("claims");
    assert_eq!(sendable.len(), 1);
    assert_eq!((sendable[0].hash, &sendable[0].raw), (own.hash, &own.raw));
}

/// A database that is older than the chain: the slot was bound here, and signed in a life of which
/// nothing is left but the transaction.
#[tokio::test]
async fn a_payload_found_in_a_slot_that_was_never_signed_here_pays() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 100).await;
    let new = fixture.bind(&record, NONCE_FIRST).await;
    fixture.advance(blocks(100, 102)).await.expect("advances");
    let found = signed(new.slot, AttemptKind::Payload, 1);
    let adoption = Adoption { slot_id: new.id, hash: found.hash, kind: AttemptKind::Payload };
    let lease = fixture.monitor().await;
    fixture.store.adopt(&lease, &[adoption]).await.expect("adopts");
    assert_eq!(fixture.read(&record).await.state, State::Signed { slot: new.id });
    let unsigned = fixture.store.unsigned_slots(CHAIN, &[sender(0)]).await.expect("reads");
    assert_eq!(unsigned, [], "nobody signs for a consumed slot");
    assert_eq!(fixture.send_due().await, 0, "there are no bytes to send");
    fixture.include(inclusion(&new, &found, block(101, 0))).await.expect("includes");
    fixture.check().await;
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    assert_eq!(fixture.send_due().await, 0);
    fixture.check().await;
    fixture.include(inclusion(&new, &found, block(102, 1))).await.expect("includes");
    assert_eq!((fixture.confirm(102).await, fixture.finalize(102).await), (1, 1));
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(100)));
    fixture.check().await;
}

#[tokio::test]
async fn an_adopted_cancel_releases_at_its_final_end() {
    let fixture = Fixture::open().await;
    let (record, new, _) = fixture.sent("w").await;
    let found = signed(new.slot, AttemptKind::Cancel, 7);
    let adoption = Adoption { slot_id: new.id, hash: found.hash, kind: AttemptKind::Cancel };
    let lease = fixture.monitor().await;
    fixture.store.adopt(&lease, &[adoption]).await.expect("adopts");
    let seen =
        Inclusion { outcome: SlotOutcome::Canceled, ..inclusion(&new, &found, block(101, 0)) };
    fixture.include(seen).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    assert_eq!(fixture.read(&record).await.state, State::Queued);
    let slot = fixture.store.slot(new.slot).await.expect("reads").expect("is there");
    assert_eq!((slot.stage, slot.payments.len()), (SlotStage::Final, 0));
    fixture.check().await;
}

/// Signing is deterministic: a bump at the price that an earlier life of the database chose is the attempt of that
/// life, of which only the hash is known here. Its bytes were dropped once, so that the cheaper ones went out for ever and the
/// next bump began at their price again.
#[tokio::test]
async fn what_was_known_by_its_hash_alone_is_sent_once_it_is_signed_again() {
    let fixture = Fixture::open().await;
    let (_, new, own) = fixture.sent("w").await;
    let (dearer, dearest) =
        (signed(new.slot, AttemptKind::Payload, 2), signed(new.slot, AttemptKind::Payload, 3));
    let lease = fixture.monitor().await;
    let found = [&dearer, &dearest, &dearest].map(|signed| Adoption {
        slot_id: new.id,
        hash: signed.hash,
        kind: AttemptKind::Payload,
    });
    fixture.store.adopt(&lease, &found).await.expect("adopts both, each once");
    fixture.commit(&new, &dearer).await.expect("commits");
    let open = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    let known: Vec<_> = open.attempts.iter().map(|it| (it.hash, it.is_adopted)).collect();
    assert_eq!(known, [(own.hash, false), (dearer.hash, false), (dearest.hash, true)]);
    assert_eq!(open.attempts[1].fees, dearer.fees, "the next bump outbids it");
    let sendable = fixture.store.claim_sendable(CHAIN, "one", 9, 1).await.expect("claims");
    assert_eq!(sendable.len(), 1, "due at once");
    assert_eq!((sendable[0].hash, &sendable[0].raw), (dearer.hash, &dearer.raw));
    let next = signed(new.slot, AttemptKind::Payload, 4);
    fixture.commit(&new, &next).await.expect("a further one");
    let sendable = fixture.store.claim_sendable(CHAIN, "two", 9, 1).await.expect("claims");
    assert_eq!(sendable.iter().map(|it| it.hash).collect::<Vec<_>>(), [next.hash]);
    fixture.check().await;
}

//! Slots that cannot be read: set aside with their damage told, while the others go on.

use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::StateCode;
use portcullis_store::StoreError;
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::{WithdrawalFilter, WithdrawalRecord};

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{NONCE_FIRST, block, inclusion};

fn hex(record: &WithdrawalRecord) -> String {
    alloy_primitives::hex::encode(record.id.to_bytes())
}

/// Two payments under way; the amount of the first one's row is damaged.
async fn with_damage() -> (Fixture, (WithdrawalRecord, NewSlot), (WithdrawalRecord, NewSlot)) {
    let fixture = Fixture::open().await;
    let (bad, bad_slot, _) = fixture.sent("bad").await;
    let good = fixture.queue("good", 100).await;
    let (good_slot, _) = fixture.sign(&good, NONCE_FIRST + 1).await;
    assert_eq!(fixture.send_due().await, 1);
    let id = hex(&bad);
    fixture.sql(format!("UPDATE withdrawals SET amount = 'lots' WHERE id = X'{id}'")).await;
    (fixture, (bad, bad_slot), (good, good_slot))
}

#[tokio::test]
async fn a_damaged_payment_sets_its_slot_aside_and_the_others_are_paid() {
    let (fixture, (bad, bad_slot), (good, good_slot)) = with_damage().await;
    let later = fixture.now().plus_millis(1);
    let waiting = fixture.store.waiting_heads(CHAIN, later).await.expect("reads");
    assert_eq!(waiting, [], "what waits behind the damaged one is not bumped for it");
    let [damage] = <[_; 1]>::try_from(fixture.store.take_damage()).expect("one");
    assert_eq!(
        (damage.id, damage.slot, damage.stage),
        (bad_slot.id, bad_slot.slot, SlotStage::Sent)
    );
    assert!(damage.problem.contains("column amount"), "{}", damage.problem);
    assert_eq!(fixture.store.take_damage(), [], "told once a look");
    let loads = fixture.store.sender_loads(CHAIN, u64::MAX).await.expect("reads");
    assert!(loads[0].is_held, "what it has promised is not known");
    for new in [&bad_slot, &good_slot] {
        let kind = portcullis_core::slot::AttemptKind::Payload;
        let seen = inclusion(new, &crate::rail::signed(new.slot, kind, 1), block(101, 0));
        fixture.include(seen).await.expect("that it is in a block needs no more than its state");
    }
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
    assert_eq!(fixture.read(&good).await.state.code(), StateCode::Confirmed);
    let id = hex(&bad);
    fixture.sql(format!("UPDATE withdrawals SET amount = '100' WHERE id = X'{id}'")).await;
    assert_eq!(fixture.store.damage_of(bad_slot.id).await, Ok(None), "mended");
    assert_eq!(fixture.read(&bad).await.state.code(), StateCode::Confirming);
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    fixture.check().await;
}

#[tokio::test]
async fn the_bytes_of_a_damaged_slot_go_on_being_sent() {
    let (fixture, (_, bad_slot), (_, good_slot)) = with_damage().await;
    fixture.clock.advance(120_000);
    let sendable = fixture.store.claim_sendable(CHAIN, "claim", 9, 1_000).await.expect("claims");
    let ids: Vec<_> = sendable.iter().map(|sendable| sendable.slot_id).collect();
    assert_eq!(ids, [bad_slot.id, good_slot.id], "lowest nonce first");
    assert!(!sendable[0].raw.is_empty());
}

#[tokio::test]
async fn a_slot_that_does_not_say_where_it_is_stops_everything() {
    let (fixture, (_, bad_slot), _) = with_damage().await;
    let id = alloy_primitives::hex::encode(bad_slot.id.to_bytes());
    fixture.sql(format!("UPDATE slots SET sender = X'00' WHERE id = X'{id}'")).await;
    let later = fixture.now().plus_millis(1);
    let refused = fixture.store.waiting_heads(CHAIN, later).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { table: "slots", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_list_names_what_it_cannot_show() {
    let (fixture, (bad, _), (good, _)) = with_damage().await;
    let filter = WithdrawalFilter { limit: 9, ..WithdrawalFilter::default() };
    let listing = fixture.store.list_withdrawals(fixture.tenant, &filter).await.expect("lists");
    assert_eq!(listing.ids.len(), 2);
    assert_eq!(listing.unreadable, [bad.id]);
    assert_eq!(listing.records.iter().map(|it| it.id).collect::<Vec<_>>(), [good.id]);
}

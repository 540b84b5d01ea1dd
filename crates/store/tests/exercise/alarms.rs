//! Alarms: raised once, told once, gone when their cause is; and the senders that they hold.

use portcullis_store::alarm::{AlarmChanges, AlarmKind, NewAlarm};

use crate::fixture::{CHAIN, Fixture};
use crate::rail::sender;

fn alarm(index: u8, subject: &str) -> NewAlarm {
    NewAlarm { sender: sender(index), subject: subject.into(), detail: format!("about {subject}") }
}

#[tokio::test]
async fn alarms_are_settled_to_what_was_found() {
    let fixture = Fixture::open().await;
    let settle = async |found: &[NewAlarm]| {
        let settled = fixture.store.settle_alarms(AlarmKind::FeeCap, CHAIN, found).await;
        settled.expect("settles")
    };
    let (one, two) = (alarm(0, "one"), alarm(1, "two"));
    let first = settle(&[one.clone(), two.clone()]).await;
    assert_eq!(first, AlarmChanges { raised: vec![one.clone(), two.clone()], cleared: vec![] });
    assert_eq!(settle(&[one.clone(), two.clone()]).await, AlarmChanges::default(), "told once");
    let since = fixture.now();
    fixture.clock.advance(5_000);
    let over = settle(std::slice::from_ref(&two)).await;
    assert_eq!(over, AlarmChanges { raised: vec![], cleared: vec!["one".into()] });
    let left = fixture.store.alarms().await.expect("reads");
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].subject.as_str(), left[0].raised_at), ("two", since), "since it began");
    let elsewhere = fixture.store.settle_alarms(AlarmKind::FeeCap, 1, &[]).await;
    assert_eq!(elsewhere, Ok(AlarmChanges::default()), "another chain is not touched");
    assert_eq!(fixture.store.alarms().await.map(|alarms| alarms.len()), Ok(1));
}

#[tokio::test]
async fn an_alarm_is_raised_once_and_cleared_once() {
    let fixture = Fixture::open().await;
    let (kind, new) = (AlarmKind::GasMoney, alarm(0, "poor"));
    assert_eq!(fixture.store.raise_alarm(kind, CHAIN, &new).await, Ok(true));
    assert_eq!(fixture.store.raise_alarm(kind, CHAIN, &new).await, Ok(false));
    assert_eq!(fixture.store.clear_alarm(kind, CHAIN, "poor").await, Ok(true));
    assert_eq!(fixture.store.clear_alarm(kind, CHAIN, "poor").await, Ok(false));
    assert_eq!(fixture.store.alarms().await, Ok(vec![]));
}

#[tokio::test]
async fn a_sender_without_gas_or_with_a_damaged_slot_opens_no_new_slots() {
    let fixture = Fixture::open().await;
    fixture.register(3).await;
    for (kind, index) in
        [(AlarmKind::FeeCap, 0), (AlarmKind::GasMoney, 1), (AlarmKind::DamagedSlot, 2)]
    {
        fixture.store.raise_alarm(kind, CHAIN, &alarm(index, "x")).await.expect("raises");
    }
    let loads = fixture.store.sender_loads(CHAIN, u64::MAX).await.expect("reads");
    for (index, is_held) in [(0, false), (1, true), (2, true)] {
        let load = loads.iter().find(|load| load.address == sender(index)).expect("is there");
        assert_eq!(load.is_held, is_held, "sender {index}");
    }
}

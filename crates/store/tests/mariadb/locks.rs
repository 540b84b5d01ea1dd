//! Who waits for whom: nobody for rows that are none of his.

use sqlx::mysql::MySqlConnection;

use crate::bad_days::{run, session};
use crate::fixture::{CHAIN, Fixture};
use crate::rail::{LEASE_MS, NONCE_FIRST};

async fn has(fixture: &Fixture, query: &str) -> MySqlConnection {
    let mut holder = session(fixture).await;
    run(&mut holder, &format!("{query} FOR UPDATE")).await;
    holder
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(bytes)
}

#[tokio::test]
async fn whoever_has_one_lease_keeps_nobody_from_the_others() {
    let fixture = Fixture::open().await;
    let senders: Vec<String> = (0..16).map(|n| format!("sender:{CHAIN}:{n}")).collect();
    let monitor = [format!("monitor:{CHAIN}")];
    for names in [senders.as_slice(), &monitor] {
        fixture.store.acquire_leases(names, "holder", LEASE_MS).await.expect("takes");
    }
    let holder = has(&fixture, "SELECT * FROM leases WHERE name = 'monitor:137'").await;
    let held = fixture.store.acquire_leases(&senders, "holder", LEASE_MS).await;
    assert_eq!(held.expect("does not wait").len(), senders.len());
    drop(holder);
}

#[tokio::test]
async fn those_who_claim_at_once_share_what_is_due() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let mut slots = Vec::new();
    for number in 0..6 {
        let record = fixture.queue(&format!("w{number}"), 1).await;
        slots.push(fixture.sign(&record, NONCE_FIRST + number).await.0);
    }
    let ids: Vec<String> =
        slots[..2].iter().map(|new| format!("X'{}'", hex(&new.id.to_bytes()))).collect();
    let query = format!("SELECT * FROM slots WHERE id IN ({})", ids.join(", "));
    let holder = has(&fixture, &query).await;
    let claimed = fixture.store.claim_sendable(CHAIN, "second", 2, 1_000).await.expect("claims");
    let nonces: Vec<u64> = claimed.iter().map(|it| it.slot.nonce).collect();
    assert_eq!(nonces, [NONCE_FIRST + 2, NONCE_FIRST + 3], "another has the first two");
    drop(holder);
}

#[tokio::test]
async fn what_is_worked_on_keeps_nobody_from_accepting() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("first", 1).await;
    fixture.fund("alice", 5).await;
    let id = hex(&record.id.to_bytes());
    let query = format!("SELECT * FROM work WHERE withdrawal_id = X'{id}'");
    let holder = has(&fixture, &query).await;
    fixture.accept("second", "alice", 5).await;
    drop(holder);
}

//! Batches: what travels together, why, and what happens when a call of the vault would fail.

use portcullis_core::transaction::decode_transaction;
use portcullis_core::withdrawal::{Priority, StateCode};
use portcullis_engine::Progress;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::bench::{Bench, LOCAL, Machine, POLYGON};

/// Longer than any batch lingers.
const LINGER_MS: i64 = 200;

/// Queues payments of the token, one an id.
async fn queue(bench: &Bench, machine: &Machine, ids: &[&str]) {
    for id in ids {
        bench.queue_as(machine, id, Some(bench.token), Priority::Standard).await;
    }
}

fn bound_because(record: &WithdrawalRecord) -> Option<&str> {
    let bound = record.timeline.iter().find(|event| event.kind == "bound");
    bound.and_then(|event| event.detail.as_deref())
}

#[tokio::test]
async fn a_batch_lingers_leaves_together_and_says_why() {
    let bench = Bench::with_vault(LOCAL).await;
    let machine = bench.start().await;
    queue(&bench, &machine, &["a", "b", "c", "d", "e"]).await;
    let last = bench.queue(&machine).await;
    // Six of twelve, which is what the signer's gas cap lets a call carry before anything is measured: half of the
    // longest linger.
    let waiting = Ok(Progress::IdleFor(100));
    for _ in 0..2 {
        let step = machine.signer.step().await.map_err(|error| error.to_string());
        assert_eq!(step, waiting);
    }
    bench.clock.advance(100);
    machine.sign().await;
    let slot = bench.first_slot(&machine.store).await;
    assert_eq!(slot.payments.len(), 6);
    let record = bench.read(&machine.store, last).await;
    let why = Some("batch of 6: it waited long enough for more");
    assert_eq!(bound_because(&record), why);
    let rides = machine.store.rides(&[last]).await.expect("reads");
    assert_eq!(rides[0].payments, 6);
    assert!(rides[0].gas_estimated.expect("was asked for") < rides[0].attempts[0].gas_limit);
    machine.send().await;
    bench.mine(12);
    machine.watch().await;
    assert_eq!(bench.payments().len(), 6);
}

#[tokio::test]
async fn what_is_urgent_does_not_linger() {
    let bench = Bench::with_vault(LOCAL).await;
    let machine = bench.start().await;
    queue(&bench, &machine, &["a", "b", "c", "d", "e"]).await;
    let token = Some(bench.token);
    let urgent = bench.queue_as(&machine, "now", token, Priority::Urgent).await;
    machine.sign().await;
    let record = bench.read(&machine.store, urgent).await;
    assert_eq!(bound_because(&record), Some("batch of 6: one of it is urgent"));
}

#[tokio::test]
async fn what_would_make_its_call_fail_waits_alone() {
    let mut bench = Bench::with_vault(LOCAL).await;
    // All tokens share batches.
    bench.settings.batching.token_min = 100;
    let machine = bench.start().await;
    // More gas than a transaction can have: the vault's own promise to the recipient cannot be kept.
    bench.list_native(&machine, 16_700_000).await;
    queue(&bench, &machine, &["a", "b"]).await;
    let culprit = bench.queue_as(&machine, "culprit", None, Priority::Urgent).await;
    queue(&bench, &machine, &["c", "d", "e"]).await;
    bench.clock.advance(LINGER_MS);
    machine.sign().await;
    let slot = bench.first_slot(&machine.store).await;
    assert_eq!(slot.payments.len(), 5, "the others go on");
    let waiting = bench.read(&machine.store, culprit).await;
    assert_eq!(waiting.state.code(), StateCode::Queued);
    let reason = waiting.reason.expect("its client is told");
    assert!(reason.starts_with("waiting: the vault's call would fail"), "{reason}");
}

#[tokio::test]
async fn a_paused_vault_lets_everything_wait() {
    let bench = Bench::with_vault(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    bench.pause(true);
    assert_eq!(machine.signer.step().await.expect("looks"), Progress::Idle);
    let waiting = bench.read(&machine.store, id).await;
    assert_eq!(waiting.reason.as_deref(), Some("waiting: the vault is paused"));
    bench.pause(false);
    bench.wait();
    machine.sign().await;
    let record = bench.read(&machine.store, id).await;
    assert_eq!(bound_because(&record), Some("single: fewer than 5 in the queue"));
}

#[tokio::test]
async fn access_lists_are_signed_where_cold_slots_are_dear() {
    for (chain, lists) in [(LOCAL, false), (POLYGON, true)] {
        let bench = Bench::with_vault(chain).await;
        let machine = bench.start().await;
        queue(&bench, &machine, &["a", "b", "c", "d", "e", "f"]).await;
        bench.clock.advance(LINGER_MS);
        machine.sign().await;
        let slot = bench.first_slot(&machine.store).await;
        let raw = machine.store.signed_bytes(slot.attempts[0].hash).await.expect("reads");
        let signed = decode_transaction(&raw.expect("was committed")).expect("was signed");
        assert_eq!(signed.payload.digest(slot.slot), slot.payload_digest);
        let listed: Vec<_> = signed.access_list.iter().map(|account| account.address).collect();
        assert_eq!(listed.contains(&bench.token), lists, "{listed:?}");
        assert_eq!(listed.contains(&bench.vault.expect("has one")), lists, "{listed:?}");
        machine.send().await;
        bench.mine(1);
        machine.watch().await;
        assert_eq!(bench.payments().len(), 6, "a list changes nothing but the price");
    }
}

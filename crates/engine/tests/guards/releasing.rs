//! When a payment may leave its slot: on evidence at the conservative depth, of as many providers as the chain asks for.

use alloy_primitives::B256;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot, SlotOutcome, SlotStage};
use portcullis_core::time::Clock;
use portcullis_core::withdrawal::{BlockRef, StateCode};
use portcullis_store::audit::AuditHead;
use portcullis_store::reconcile::{ImportedAttempt, ImportedEnd, ReconciliationRecord, SlotImport};
use portcullis_testkit::TokenOrder;

use crate::bench::{Bench, LOCAL, Machine, POLYGON};

/// A payment whose transaction is in a block and reverted there.
async fn reverted(bench: &Bench, machine: &Machine) -> WithdrawalId {
    let id = bench.queue(machine).await;
    machine.sign().await;
    bench.node.order_token(bench.token, TokenOrder::Blacklist(bench.to)).expect("lists");
    machine.send().await;
    bench.mine(1);
    machine.watch().await;
    assert_eq!(bench.first_slot(&machine.store).await.stage, SlotStage::Included);
    assert_eq!(bench.payments(), [], "it was not paid");
    id
}

#[tokio::test]
async fn a_revert_releases_at_the_conservative_depth_and_not_before() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = reverted(&bench, &machine).await;
    for depth in 2..bench.chain.conservative.blocks {
        bench.mine(1);
        machine.watch().await;
        let record = bench.read(&machine.store, id).await;
        assert_eq!(record.state.code(), StateCode::Broadcasted, "released {depth} blocks deep");
        assert_eq!(bench.first_slot(&machine.store).await.payments.len(), 1);
    }
    bench.mine(1);
    machine.watch().await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Failed);
    assert_eq!(bench.first_slot(&machine.store).await.stage, SlotStage::Final);
}

#[tokio::test]
async fn one_provider_alone_releases_nothing() {
    let bench = Bench::new(POLYGON).await;
    assert_eq!(bench.chain.release_quorum_min, 2);
    let machine = bench.start().await;
    let id = reverted(&bench, &machine).await;
    bench.mine(bench.chain.conservative.blocks + 10);
    machine.watch().await;
    let slot = bench.first_slot(&machine.store).await;
    assert_eq!(slot.stage, SlotStage::Confirmed, "deep enough, and nobody agrees");
    assert_eq!(slot.payments.len(), 1, "released on the word of one");
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Broadcasted);
}

/// Somebody who can write to the database ends the first slot by any transaction, and answers for the journal's head.
async fn write_end(bench: &Bench, machine: &Machine, hash: B256) {
    let mined = bench.node.transaction(hash).expect("is mined");
    let block = bench.node.block(mined.block_number).expect("is there");
    let at = bench.clock.now();
    let import = SlotImport {
        id: SlotId::from_bytes([1; 16]),
        slot: Slot { chain_id: LOCAL, sender: bench.wallet, nonce: 0 },
        seen: None,
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        payload_digest: B256::ZERO,
        attempts: vec![ImportedAttempt { hash, kind: AttemptKind::Cancel, at }],
        payments: Vec::new(),
        end: Some(ImportedEnd {
            outcome: SlotOutcome::Canceled,
            hash,
            block: BlockRef { number: block.number, hash: block.hash },
            block_at: at,
            gas_used: 21_000,
            effective_gas_price_wei: 1,
        }),
    };
    machine.store.import_slot(&import).await.expect("writes");
    let head = bench.journal().audit_head();
    let answered = ReconciliationRecord {
        differences: 0,
        repaired: 0,
        audit_head: head.map(|head| AuditHead { sequence: head.sequence, hash: head.hash.0 }),
    };
    machine.store.record_reconciliation(&answered, "nobody").await.expect("writes");
}

#[tokio::test]
async fn a_row_that_calls_anothers_transaction_a_cancel_releases_nothing() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.end().await;
    let (database, copy) = (bench.database(), bench.database().with_extension("copy"));
    std::fs::copy(&database, &copy).expect("copies");
    let machine = bench.start().await;
    machine.sign().await;
    machine.send().await;
    bench.mine(bench.chain.conservative.blocks + 2);
    machine.watch().await;
    assert_eq!(bench.payments().len(), 1, "it is paid");
    machine.end().await;
    std::fs::copy(&copy, &database).expect("copies back");

    // The database has forgotten the payment, and calls any successful transaction of anybody the slot's cancel.
    let machine = bench.start().await;
    let mined = bench.node.all_transactions();
    let strangers = mined.iter().find(|mined| mined.from == bench.node.owner());
    write_end(&bench, &machine, strangers.expect("one that minted").hash).await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Queued);
    for _ in 0..4 {
        bench.wait();
        machine.signer.step().await.expect("looks");
        machine.broadcaster.step().await.expect("sends");
        bench.mine(1);
        machine.watch().await;
    }
    assert_eq!(machine.store.halts().await.map(|halts| halts.len()), Ok(0), "it was not stopped");
    assert_eq!(bench.payments().len(), 1, "paid again on the word of a row");
}

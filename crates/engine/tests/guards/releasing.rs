//! When a payment may leave its slot: on evidence at the conservative depth, of as many providers as the chain asks for.

use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::SlotStage;
use portcullis_core::withdrawal::StateCode;
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

//! What the chain did while nobody looked.

use alloy_primitives::B256;
use portcullis_core::withdrawal::{BlockRef, State, StateCode};
use portcullis_store::chain::{ChainAdvance, StoredHeader};

use crate::bench::{Bench, LOCAL};

#[tokio::test]
async fn what_was_mined_below_the_first_block_that_is_followed_is_found() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    machine.send().await;
    // The monitor begins no deeper than the conservative depth.
    bench.mine(bench.chain.conservative.blocks + 5);
    machine.watch().await;
    assert_eq!(bench.payments().len(), 1);
    let record = bench.read(&machine.store, id).await;
    assert_eq!(record.state.code(), StateCode::Confirmed);
}

/// Two copies of the database came together: what the blocks above the break held is put back and found again.
#[tokio::test]
async fn stored_blocks_that_are_no_chain_are_read_again() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    bench.mine(3);
    machine.watch().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    machine.send().await;
    bench.mine(1);
    machine.watch().await;
    machine.monitor.release().await.expect("releases");
    let chain_id = bench.chain.chain_id;
    let stored = machine.store.headers(chain_id, 99).await.expect("reads");
    let tip = *stored.last().expect("is there");
    let above = |blocks: u64, hash: u8, parent_hash: B256| StoredHeader {
        block: BlockRef { number: tip.block.number + blocks, hash: B256::repeat_byte(hash) },
        parent_hash,
        ..tip
    };
    let names = [format!("monitor:{chain_id}")];
    let leases = machine.store.acquire_leases(&names, "test", 1_000).await.expect("leases");
    let headers = vec![above(1, 6, tip.block.hash), above(2, 7, B256::repeat_byte(8))];
    let advance = ChainAdvance { headers, ..ChainAdvance::default() };
    machine.store.advance_chain(&leases[0], chain_id, &advance).await.expect("stores");
    machine.store.release_leases(&leases).await.expect("releases");

    machine.run(&bench, 12).await;
    let record = bench.read(&machine.store, id).await;
    assert!(matches!(record.state, State::Confirmed { .. }), "{:?}", record.state);
    assert_eq!(machine.store.halts().await, Ok(vec![]));
    assert_eq!(bench.payments().len(), 1);
}

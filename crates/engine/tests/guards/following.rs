//! What the chain did while nobody looked.

use portcullis_core::withdrawal::StateCode;

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

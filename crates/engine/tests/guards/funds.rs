//! Money that is not there: who waits for it, and who does not.

use portcullis_core::withdrawal::{Priority, StateCode};

use crate::bench::{Bench, LOCAL};

/// More than the signer looks at between two looks at the same one.
const UNFUNDED: usize = 100;

#[tokio::test]
async fn what_has_funds_is_paid_however_much_of_what_has_none_stands_before_it() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let missing = bench.list_missing(&machine).await;
    for index in 0..UNFUNDED {
        let id = format!("missing-{index}");
        bench.queue_as(&machine, &id, Some(missing), Priority::Urgent).await;
    }
    let funded = bench.queue(&machine).await;
    for _ in 0..5 {
        bench.clock.advance(300);
        machine.signer.step().await.expect("signs");
    }
    let record = bench.read(&machine.store, funded).await;
    assert_eq!(record.state.code(), StateCode::Signed);
}

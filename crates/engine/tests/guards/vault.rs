//! The vault rail: what the vault says, and what it does not say.

use portcullis_core::vault::vault_void;
use portcullis_core::withdrawal::StateCode;

use crate::bench::{Bench, LOCAL};

#[tokio::test]
async fn a_payment_travels_through_the_vault() {
    let bench = Bench::with_vault(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    machine.send().await;
    bench.mine(12);
    machine.watch().await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Confirmed);
    let payments = bench.payments();
    assert_eq!(payments.iter().map(|log| Some(log.from)).collect::<Vec<_>>(), [bench.vault]);
}

#[tokio::test]
async fn a_skipped_number_is_no_payment() {
    let bench = Bench::with_vault(LOCAL).await;
    let vault = bench.vault.expect("has one");
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    // Somebody whom this database does not know uses the number first, and pays nobody.
    let number = bench.read(&machine.store, id).await.number;
    let voiding = vault_void(vault, &[number]);
    bench.node.call_as_owner(vault, voiding.input).expect("voids");
    machine.send().await;
    for _ in 0..4 {
        bench.mine(4);
        machine.watch().await;
        let record = bench.read(&machine.store, id).await;
        assert_ne!(record.state.code(), StateCode::Confirmed, "nobody was paid");
        assert!(record.state.code() != StateCode::Failed, "nor is that proved");
    }
    assert_eq!(bench.payments(), []);
    let halts = machine.store.halts().await.expect("reads");
    let reasons: Vec<&str> = halts.iter().map(|halt| halt.reason.as_str()).collect();
    assert_eq!(reasons, ["restore"], "somebody has to look");
}

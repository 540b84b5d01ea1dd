//! The vault rail: what the vault says, and what it does not say.

use portcullis_core::vault::vault_void;
use portcullis_core::withdrawal::{FailureReason, HoldReason, State, StateCode};
use portcullis_store::cancel::RefundOutcome;
use portcullis_testkit::TokenOrder;

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

/// The journal learns that a ride did not pay when the payment rides again. After the last ride nothing did, the signer
/// refused every void, and the money never came back.
#[tokio::test]
async fn what_failed_on_its_last_ride_is_voided_and_given_back() {
    let bench = Bench::with_vault(LOCAL).await;
    bench.node.order_token(bench.token, TokenOrder::Blacklist(bench.to)).expect("lists");
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.run(&bench, 40).await;
    let record = bench.read(&machine.store, id).await;
    assert_eq!(record.state, State::Held { reason: HoldReason::Failing, slot: None });
    let refunded = machine.store.refund(id, "test", "the token refuses the recipient").await;
    assert_eq!(refunded, Ok(RefundOutcome::Voiding));
    machine.run(&bench, 40).await;
    let ended = bench.read(&machine.store, id).await.state;
    assert_eq!(ended, State::Failed { reason: FailureReason::Voided });
    let vault = bench.vault.expect("has one");
    assert_eq!(bench.node.voided_numbers(vault), [record.number.to_u256()]);
    assert_eq!(bench.payments(), []);
    machine.store.check_ledger().await.expect("balances");
}

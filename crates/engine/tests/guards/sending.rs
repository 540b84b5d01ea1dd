//! Signed bytes on their way: committed first, and in doubt for as long as nothing proves otherwise.

use portcullis_core::withdrawal::StateCode;
use portcullis_testkit::Fault;
use serde_json::Value;

use crate::bench::{Bench, LOCAL, Machine};

const SEND: &str = "eth_sendRawTransaction";

/// Every answer to signed bytes is lost on its way back.
fn lose_answers(machine: &Machine) {
    let lose = |method: &str, _: &Value| {
        if method == SEND { Fault::LoseAnswer } else { Fault::None }
    };
    machine.transport.set_faults(lose);
}

#[tokio::test]
async fn nothing_is_sent_before_its_bytes_are_committed() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    bench.stop.arm("commit_attempts");
    bench.stop.end_there(Box::pin(machine.signer.step())).await;
    assert!(
        bench.node.pooled_nonces(bench.wallet).is_empty(),
        "a node has bytes that nobody committed"
    );
    assert_eq!(
        bench.first_slot(&machine.store).await.attempts,
        [],
        "bound, signed, and not committed"
    );
    drop(machine);

    let machine = bench.start().await;
    machine.sign().await;
    assert_eq!(bench.first_slot(&machine.store).await.attempts.len(), 1);
    assert!(bench.node.pooled_nonces(bench.wallet).is_empty(), "the signer sends nothing");
    machine.send().await;
    assert_eq!(bench.node.pooled_nonces(bench.wallet), [0]);
    bench.mine(12);
    machine.watch().await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Confirmed);
    assert_eq!(bench.payments().len(), 1);
}

#[tokio::test]
async fn a_timeout_leaves_the_payment_in_its_slot() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    lose_answers(&machine);
    machine.send().await;
    assert!(machine.transport.counters().lost_answers > 0, "nothing was lost");
    let slot = bench.first_slot(&machine.store).await;
    let state = bench.read(&machine.store, id).await.state;
    assert_eq!((state.code(), state.slot()), (StateCode::Broadcasting, Some(slot.id)));
    assert_eq!(slot.payments.len(), 1, "it is bound");
    bench.wait();
    machine.send().await;
    bench.mine(12);
    machine.watch().await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Confirmed);
    assert_eq!((bench.payments().len(), bench.node.nonce(bench.wallet)), (1, 1));
}

#[tokio::test]
async fn nonce_too_low_does_not_move_a_payment_to_another_nonce() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    lose_answers(&machine);
    machine.send().await;
    // Mined before anybody looked: the node calls the same bytes too low now.
    bench.mine(1);
    machine.transport.set_faults(|_: &str, _: &Value| Fault::None);
    bench.wait();
    machine.send().await;
    let rides = machine.store.rides(&[id]).await.expect("reads");
    let outcome = rides[0].attempts[0].last_outcome.as_deref();
    assert_eq!(outcome, Some("NONCE_TOO_LOW nonce_too_low"), "the node said something else");
    assert!(rides.len() == 1 && rides[0].live, "it left its slot: {rides:?}");
    for _ in 0..3 {
        machine.processor.step().await.expect("judges");
        machine.signer.step().await.expect("signs");
        machine.broadcaster.step().await.expect("sends");
        bench.mine(4);
        machine.watch().await;
    }
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Confirmed);
    assert_eq!(bench.payments().len(), 1);
}

#[tokio::test]
async fn what_a_dead_process_was_about_to_send_is_found_without_a_doorbell() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    let id = bench.queue(&machine).await;
    machine.sign().await;
    bench.stop.arm(SEND);
    bench.stop.end_there(machine.broadcaster.step()).await;
    assert!(bench.node.pooled_nonces(bench.wallet).is_empty());
    drop(machine);

    // Another process, with nothing in its memory, and nobody has rung.
    bench.wait();
    let machine = bench.start().await;
    machine.broadcaster.step().await.expect("looks");
    assert_eq!(bench.node.pooled_nonces(bench.wallet), [0], "it lies there for ever");
    bench.mine(12);
    machine.watch().await;
    assert_eq!(bench.read(&machine.store, id).await.state.code(), StateCode::Confirmed);
    assert_eq!(bench.payments().len(), 1);
}

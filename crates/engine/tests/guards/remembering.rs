//! What the signer's journal knows and the database has forgotten.

use portcullis_core::slot::Slot;

use crate::bench::{Bench, LOCAL};

#[tokio::test]
async fn a_database_older_than_the_journal_halts_and_signs_nothing() {
    let bench = Bench::new(LOCAL).await;
    let machine = bench.start().await;
    bench.queue(&machine).await;
    let (database, copy) = (bench.database(), bench.database().with_extension("copy"));
    machine.end().await;
    std::fs::copy(&database, &copy).expect("copies");

    // Signed, and in no block yet: only the journal can tell.
    let machine = bench.start().await;
    machine.sign().await;
    machine.end().await;
    for end in ["db-wal", "db-shm"] {
        assert!(!database.with_extension(end).exists(), "the database was not closed");
    }
    std::fs::copy(&copy, &database).expect("copies back");

    let machine = bench.start().await;
    machine.signer.step().await.expect("looks");
    let slot = Slot { chain_id: LOCAL, sender: bench.wallet, nonce: 0 };
    assert_eq!(machine.store.slot(slot).await.expect("reads"), None, "it bound the payment again");
    let halts = machine.store.halts().await.expect("reads");
    let reasons: Vec<&str> = halts.iter().map(|halt| halt.reason.as_str()).collect();
    assert_eq!(reasons, ["restore"], "it is not told why");
    machine.signer.step().await.expect("is halted");
    assert_eq!(machine.store.slot(slot).await, Ok(None), "it went on");
}

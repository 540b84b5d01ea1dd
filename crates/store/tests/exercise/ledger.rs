//! The ledger's own check, and legal operations in random order.

use portcullis_store::StoreError;

use crate::fixture::{Fixture, units};
use crate::walk::{Steps, Walk};

#[tokio::test]
async fn a_changed_balance_or_posting_is_found() {
    for damage in [
        "UPDATE balances SET available = '101'",
        "UPDATE balances SET held = '1', available = '99'",
        "UPDATE balances SET outside = '0'",
        "UPDATE postings SET amount = '99'",
        "UPDATE postings SET kind = 'reserve'",
        "DELETE FROM postings",
    ] {
        let fixture = Fixture::open().await;
        fixture.fund("alice", 100).await;
        assert_eq!(fixture.store.check_ledger().await, Ok(1));
        assert_eq!(fixture.sql(damage).await, 1, "{damage}");
        let error = fixture.store.check_ledger().await.expect_err(damage);
        assert!(matches!(error, StoreError::Ledger { .. }), "{damage}: {error}");
        assert!(error.to_string().contains("alice"), "{error}");
    }
}

#[tokio::test]
async fn no_bucket_goes_below_zero() {
    let fixture = Fixture::open().await;
    let record = fixture.queue("w", 100).await;
    // Somebody takes the reservation away behind the store's back; the release has nothing to take.
    fixture.sql("UPDATE balances SET held = '0', available = '100'").await;
    let error = fixture.store.cancel(fixture.tenant, record.id, "test").await;
    let error = error.expect_err("nothing is held");
    assert!(matches!(error, StoreError::Ledger { during: "cancel", .. }), "{error}");
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    assert_eq!(fixture.read(&record).await.state, record.state, "the move is undone with it");
}

#[tokio::test]
async fn legal_operations_in_any_order_keep_the_balance() {
    for seed in 0..6 {
        let mut walk = Walk::open(seed, Steps::Whole).await;
        for _ in 0..120 {
            walk.step().await;
            walk.fixture.check().await;
        }
        walk.settle().await;
        walk.fixture.check().await;
        assert!(walk.paid().await > 0, "seed {seed} paid nothing");
    }
}

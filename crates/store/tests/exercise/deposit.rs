//! Deposits: credited once, sealed, and never above 256 bits.

use alloy_primitives::{B256, U256};
use portcullis_core::amount::Amount;
use portcullis_store::StoreError;
use portcullis_store::deposit::{DepositOutcome, DepositRecord, NewDeposit};

use crate::fixture::{Fixture, account, units};

async fn credit(fixture: &Fixture, new: &NewDeposit) -> Result<DepositOutcome, StoreError> {
    fixture.store.deposit(&fixture.keys, new).await
}

#[tokio::test]
async fn a_deposit_is_credited_once() {
    let fixture = Fixture::open().await;
    let new = fixture.deposit_of("alice", 100);
    let record = DepositRecord {
        id: new.id,
        external_id: new.external_id.clone(),
        account: new.account.clone(),
        asset: new.asset,
        amount: new.amount,
        created_at: fixture.now(),
    };
    assert_eq!(credit(&fixture, &new).await, Ok(DepositOutcome::Credited(record.clone())));
    fixture.clock.advance(1_000);
    let again = NewDeposit { id: fixture.deposit_of("x", 1).id, ..new.clone() };
    assert_eq!(credit(&fixture, &again).await, Ok(DepositOutcome::Existing(record.clone())));
    let changed = NewDeposit { request_hash: B256::ZERO, amount: units(5), ..again };
    assert_eq!(credit(&fixture, &changed).await, Ok(DepositOutcome::Conflict(record)));
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    let found = fixture.store.account(fixture.tenant, &account("alice")).await.expect("reads");
    let found = found.expect("it began with the deposit");
    assert_eq!(found.created_at, fixture.now().plus_millis(-1_000));
    assert_eq!(found.balances.len(), 1);
    assert_eq!(fixture.store.check_ledger().await, Ok(1));
}

#[tokio::test]
async fn amounts_add_up_to_the_last_of_256_bits() {
    let fixture = Fixture::open().await;
    let most = Amount::from_atomic(U256::MAX);
    let first = NewDeposit {
        amount: most.checked_sub(units(7)).expect("larger"),
        ..fixture.deposit_of("alice", 0)
    };
    credit(&fixture, &first).await.expect("fits");
    let over = NewDeposit { amount: units(8), ..fixture.deposit_of("alice", 0) };
    let refused = credit(&fixture, &over).await.expect_err("2^256");
    assert!(matches!(refused, StoreError::Ledger { during: "deposit", .. }), "{refused}");
    let rest = NewDeposit { amount: units(7), ..over.clone() };
    credit(&fixture, &rest).await.expect("the refused one left nothing behind");
    assert_eq!(fixture.buckets("alice").await, (most, units(0), units(0)));
    assert_eq!(fixture.number("SELECT count(*) FROM deposits").await, 2);
    fixture.store.check_ledger().await.expect("adds up");
}

#[tokio::test]
async fn a_forged_deposit_is_not_believed() {
    for column in [
        "amount = '999'",
        "account_id = 'mallory'",
        "asset_id = X'02020202020202020202020202020202'",
        "mac = X'00'",
    ] {
        let fixture = Fixture::open().await;
        let new = fixture.deposit_of("alice", 100);
        credit(&fixture, &new).await.expect("credits");
        assert_eq!(fixture.sql(format!("UPDATE deposits SET {column}")).await, 1);
        let error = credit(&fixture, &new).await.expect_err("the row does not match its seal");
        assert!(
            matches!(error, StoreError::Corrupt { table: "deposits", .. }),
            "{column}: {error}"
        );
    }
}

#[tokio::test]
async fn every_asset_has_its_own_balance() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 5).await;
    let native = NewDeposit { asset: fixture.native.id, ..fixture.deposit_of("alice", 9) };
    credit(&fixture, &native).await.expect("credits");
    let found = fixture.store.account(fixture.tenant, &account("alice")).await.expect("reads");
    let available: Vec<_> = found
        .expect("exists")
        .balances
        .iter()
        .map(|balance| (balance.asset, balance.available))
        .collect();
    assert_eq!(available, [(fixture.token.id, units(5)), (fixture.native.id, units(9))]);
}

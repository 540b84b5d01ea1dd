//! A move that was decided on an old picture writes nothing. On SQLite each transaction reads its own picture, so
//! only a test can hand it an old one; on a database with weaker isolation another writer does.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::id::{AssetId, DeploymentId, DepositId, SlotId, TenantId, WithdrawalId};
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::slot::{Purpose, Rail, Slot};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::withdrawal::Priority;
use portcullis_testkit::TestClock;
use zeroize::Zeroizing;

use super::*;
use crate::db::{Store, StoreOptions, transaction};
use crate::deposit::NewDeposit;
use crate::intake::{Intake, Submission, Submitted};
use crate::slot::NewSlot;

const CHAIN: u64 = 137;
const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const ASSET: AssetId = AssetId::from_bytes([2; 16]);

fn units(units: u64) -> Amount {
    Amount::from_atomic(U256::from(units))
}

async fn open(path: &std::path::Path) -> Store {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(1_795_168_800_000)));
    let url = path.join("portcullis.db").display().to_string();
    let options =
        StoreOptions { url, readers_max: 1, busy_timeout_ms: 10_000, ..StoreOptions::default() };
    let store = Store::open(&options, clock).await.expect("opens");
    store.migrate().await.expect("migrates");
    store.found_deployment(DeploymentId::from_bytes([9; 16])).await.expect("is founded");
    store.create_tenant(TENANT, "acme", "test").await.expect("a tenant");
    store
}

/// A withdrawal of all that its account has, passed by policy.
async fn queued(store: &Store) -> WithdrawalRecord {
    let keys = Arc::new(SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32])));
    let asset = Asset {
        id: ASSET,
        chain_id: CHAIN,
        symbol: "POL".into(),
        token: None,
        decimals: 18,
        amount_min: units(1),
        amount_max: units(100),
        daily_max: None,
        enabled: true,
    };
    store.register_asset(&keys, &asset, "test").await.expect("registers");
    let deposit = NewDeposit {
        id: DepositId::from_bytes([3; 16]),
        tenant: TENANT,
        account: "alice".parse().expect("an account"),
        asset: ASSET,
        amount: units(100),
        external_id: "deposit".parse().expect("an external id"),
        request_hash: B256::ZERO,
    };
    store.deposit(&keys, &deposit).await.expect("credits");
    let submission = Submission {
        id: WithdrawalId::from_bytes([4; 16]),
        tenant: TENANT,
        external_id: "order".parse().expect("an external id"),
        request_hash: B256::ZERO,
        account: "alice".parse().expect("an account"),
        asset: ASSET,
        chain_id: CHAIN,
        token: None,
        amount: units(100),
        to: Address::repeat_byte(5),
        priority: Priority::Standard,
        metadata: None,
        trace: None,
    };
    let intake = Intake::new(store.clone(), keys);
    let submitted = intake.submit(submission, 60_000).await.expect("an answer");
    let Submitted::Accepted(record) = submitted else { panic!("{submitted:?}") };
    let pass = |_: &WithdrawalRecord, _| Verdict::Pass(Rule::Default);
    assert_eq!(store.validate(10, &pass).await, Ok(1));
    read(store, record.id).await
}

async fn read(store: &Store, id: WithdrawalId) -> WithdrawalRecord {
    store.withdrawal(TENANT, id).await.expect("reads").expect("is there")
}

#[tokio::test]
async fn a_move_that_was_decided_on_an_old_picture_writes_nothing() {
    let directory = tempfile::tempdir().expect("a folder");
    let store = open(directory.path()).await;
    let old = queued(&store).await;
    assert_eq!(old.state, State::Queued);
    // Somebody else binds it: it may not be canceled any more.
    let sender = Address::repeat_byte(6);
    store.register_senders(CHAIN, &[(sender, 0)]).await.expect("registers");
    let names = [format!("sender:{CHAIN}:{sender}")];
    let leases = store.acquire_leases(&names, "test", 60_000).await.expect("a lease");
    let new = NewSlot {
        id: SlotId::from_bytes([7; 16]),
        slot: Slot { chain_id: CHAIN, sender, nonce: 0 },
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        payload_digest: B256::repeat_byte(8),
        payments: vec![old.id],
        gas_estimated: None,
        why: None,
    };
    store.bind(&leases, std::slice::from_ref(&new)).await.expect("binds");
    let stale = [(&old, Event::CancelRequested, None)];
    let outcome = transaction!(store, "stale", |tx| apply(&tx, &stale));
    // Its row does not move; its work row, its posting and its balance would.
    let found = StoreError::Conflict { during: "stale", expected: 4, found: 3 };
    assert_eq!(outcome, Err(found));
    assert_eq!(read(&store, old.id).await.state, State::Signing { slot: new.id });
    let account = store.account(TENANT, &old.account).await.expect("reads").expect("is there");
    let balance = account.balances[0];
    assert_eq!((balance.available, balance.held), (units(0), units(100)), "refunded, and bound");
}

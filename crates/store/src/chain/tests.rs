//! What is asked at every step is answered from what is open, however much is final.

use alloy_primitives::{Address, U256};
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::slot::SlotStage;
use portcullis_core::time::Timestamp;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryTrait, Select};

use super::consumed_query;
use super::end::{consumed, paid, still_query};
use super::unpaid::{skips_query, voidable_query};
use crate::Store;
use crate::command::waiting_query;
use crate::entity::slot;
use crate::gas::reverted_query;
use crate::sender::{UNMINED, costs_query, promised_query, unmined_query};
use crate::slot::{at_signer_query, unsigned_query};
use crate::slot_moves::{moved, slot_keys, slots_named};
use crate::work::tests::{migrated, plan_of};

const CHAIN: u64 = 137;

/// How many are named by one statement.
const COUNTS: [usize; 5] = [1, 2, 16, 160, 500];

fn addresses(count: usize) -> Vec<Address> {
    (1..=count).map(|number| Address::from_word(U256::from(number).into())).collect()
}

fn ids(count: usize) -> Vec<[u8; 16]> {
    (1..=count as u128).map(u128::to_be_bytes).collect()
}

/// Every line of the plan that reads slots names the stage; which index that is, the database may choose.
async fn expect_by_stage<E: EntityTrait>(store: &Store, query: Select<E>) {
    let plan = plan_of(store, query).await;
    let slots: Vec<&String> = plan.iter().filter(|line| line.contains(" slots ")).collect();
    assert!(!slots.is_empty(), "{plan:?}");
    assert!(slots.iter().all(|line| line.contains("stage=?")), "{plan:?}");
}

#[tokio::test]
async fn open_slots_are_found_without_a_look_at_the_final_ones() {
    let (_directory, store) = migrated().await;
    let senders: Vec<Address> = (1..=16).map(Address::repeat_byte).collect();
    for count in [1, 2, 3, 16] {
        let counts: Vec<(Address, u64)> =
            senders.iter().take(count).map(|sender| (*sender, 9)).collect();
        expect_by_stage(&store, consumed_query(CHAIN, &counts)).await;
        expect_by_stage(&store, unsigned_query(CHAIN, &senders[..count])).await;
    }
    for count in COUNTS {
        let senders = &addresses(count);
        expect_by_stage(&store, promised_query(CHAIN, senders)).await;
        expect_by_stage(&store, costs_query(CHAIN, senders)).await;
    }
    expect_by_stage(&store, unmined_query(CHAIN)).await;
    expect_by_stage(&store, waiting_query(CHAIN, Timestamp::from_millis(1))).await;
    expect_by_stage(&store, skips_query(CHAIN)).await;
}

#[tokio::test]
async fn what_is_to_be_voided_is_found_without_a_look_at_what_was_paid() {
    let (_directory, store) = migrated().await;
    for after in [None, Some(WithdrawalId::from_bytes([1; 16]))] {
        let plan = plan_of(&store, voidable_query(CHAIN, after)).await;
        let named = plan[0].starts_with("SEARCH withdrawals") && plan[0].contains("(id=?)");
        assert!(named, "{plan:?}");
        let held = "SEARCH work USING COVERING INDEX work_by_turn (stage=? AND chain_id=?)";
        assert!(plan.iter().any(|line| line == held), "{plan:?}");
        assert!(!plan.iter().any(|line| line.starts_with("SCAN")), "{plan:?}");
    }
}

/// Its first line names rows of this table by their key.
async fn expect_by_key(store: &Store, query: impl QueryTrait, table: &str) {
    let plan = plan_of(store, query).await;
    let by_key = format!("SEARCH {table} USING INDEX sqlite_autoindex_{table}_1 (");
    assert!(plan.iter().any(|line| line.starts_with(&by_key)), "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("stage=?")), "{plan:?}");
}

#[tokio::test]
async fn what_a_statement_names_is_found_by_its_key_however_much_it_names() {
    let (_directory, store) = migrated().await;
    let tx = store.begin("plan").await.expect("begins");
    let (block, before) = (100, Timestamp::from_millis(1));
    for count in COUNTS {
        let slots: Vec<SlotId> = ids(count).into_iter().map(SlotId::from_bytes).collect();
        let keys: Vec<Vec<u8>> = slot_keys(&slots).collect();
        let withdrawals: Vec<WithdrawalId> =
            ids(count).into_iter().map(WithdrawalId::from_bytes).collect();
        let update = moved(&tx, slots_named(&slots), SlotStage::Confirmed, SlotStage::Final);
        expect_by_key(&store, update, "slots").await;
        let unmined = slots_named(&slots).filter(slot::Column::Stage.is_in(UNMINED));
        let unmined = unmined.col_expr(slot::Column::Receives, Expr::value(0));
        expect_by_key(&store, unmined, "slots").await;
        let included = consumed(CHAIN, SlotStage::Included, block);
        expect_by_key(&store, still_query(included, &keys), "slots").await;
        let paid = paid(CHAIN, block, before);
        expect_by_key(&store, still_query(paid, &keys), "slots").await;
        expect_by_key(&store, at_signer_query(CHAIN, &withdrawals), "work").await;
        let reverted = reverted_query(&withdrawals, &[SlotStage::Confirmed, SlotStage::Final]);
        expect_by_key(&store, reverted, "slots").await;
    }
}

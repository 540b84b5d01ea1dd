//! What is asked at every step is answered from what is open, however much is final.

use alloy_primitives::Address;
use portcullis_core::time::Timestamp;
use sea_orm::{EntityTrait, Select};

use super::consumed_query;
use super::unpaid::{skips_query, voidable_query};
use crate::Store;
use crate::command::waiting_query;
use crate::sender::unmined_query;
use crate::slot::unsigned_query;
use crate::work::tests::{migrated, plan_of};

const CHAIN: u64 = 137;

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
    expect_by_stage(&store, unmined_query(CHAIN)).await;
    expect_by_stage(&store, waiting_query(CHAIN, Timestamp::from_millis(1))).await;
    expect_by_stage(&store, skips_query(CHAIN)).await;
}

#[tokio::test]
async fn what_is_to_be_voided_is_found_without_a_look_at_what_was_paid() {
    let (_directory, store) = migrated().await;
    let plan = plan_of(&store, voidable_query(CHAIN)).await;
    assert!(plan[0].starts_with("SEARCH withdrawals") && plan[0].contains("(id=?)"), "{plan:?}");
    let held = "SEARCH work USING COVERING INDEX work_by_turn (stage=? AND chain_id=?)";
    assert!(plan.iter().any(|line| line == held), "{plan:?}");
}

//! Transactions of our own keys that were signed elsewhere: the same payment, and the zero self-transfer. And final blocks
//! that leave the chain.

use alloy_primitives::U256;
use portcullis_core::slot::{Purpose, Slot, SlotStage};
use portcullis_core::withdrawal::{FailureReason, HoldReason, State};
use portcullis_engine::reconcile::{Difference, DifferenceKind};
use portcullis_keys::journal::{EvidenceCause, JournalRecord};
use portcullis_store::cancel::RefundOutcome;
use portcullis_testkit::{Dropped, TestTransaction, TokenOrder};

use crate::house::{House, Machine, Wish, address_of};

const CHAIN: u64 = 31_337;

fn slot(house: &House, nonce: u64) -> Slot {
    Slot { chain_id: CHAIN, sender: house.wallets[0], nonce }
}

/// The very payment, by other bytes than ours.
fn same_payment(house: &House, nonce: u64, wish: &Wish) -> TestTransaction {
    let token = house.token.token.expect("a token");
    TestTransaction::token_transfer(CHAIN, nonce, token, wish.to, U256::from(wish.units))
}

fn self_transfer(house: &House, nonce: u64) -> TestTransaction {
    TestTransaction::transfer(CHAIN, nonce, house.wallets[0], U256::ZERO)
}

fn send(house: &House, transaction: TestTransaction) {
    let dear = transaction.with_fees(400_000_000_000, 300_000_000_000);
    house.node.send_raw(&dear.sign(&house.key_of(0)).raw).expect("the node takes it");
}

/// Bound and signed, and no byte has left.
async fn signed(house: &House, machine: &Machine, name: &str) -> Wish {
    let wish = house.wish(name, "bob", 10);
    machine.post(house, &wish).await;
    machine.processor.step().await.expect("passes");
    machine.signing.step().await.expect("signs");
    wish
}

async fn release_causes(machine: &Machine) -> Vec<EvidenceCause> {
    let lines = machine.signer.journal().records_since(0, 1_000).await.expect("reads");
    let causes = lines.into_iter().filter_map(|(_, record)| match record {
        JournalRecord::Release(release) => Some(release.evidence.cause),
        _ => None,
    });
    causes.collect()
}

#[tokio::test]
async fn the_same_payment_signed_elsewhere_is_adopted_and_pays() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let wish = signed(&house, &machine, "twin").await;
    send(&house, same_payment(&house, 0, &wish));
    machine.run(&house, 25).await;
    assert_eq!(machine.halts().await, Vec::<String>::new());
    assert_eq!(machine.status(&house, "twin").await, "CONFIRMED");
    let open = machine.store.slot(slot(&house, 0)).await.expect("reads").expect("is there");
    let adopted: Vec<bool> = open.attempts.iter().map(|attempt| attempt.is_adopted).collect();
    assert_eq!(adopted, [false, true]);
    house.assert_paid_once();
    machine.assert_all_ended(&house).await;
}

#[tokio::test]
async fn a_self_transfer_signed_elsewhere_is_adopted_as_a_cancel() {
    let house = House::build(1).await;
    let machine = house.start().await;
    signed(&house, &machine, "again").await;
    send(&house, self_transfer(&house, 0));
    machine.run(&house, 40).await;
    assert_eq!(machine.halts().await, Vec::<String>::new());
    assert_eq!(machine.status(&house, "again").await, "CONFIRMED", "in another slot");
    assert_eq!(house.node.nonce(house.wallets[0]), 2);
    let causes = release_causes(&machine).await;
    assert_eq!(causes, [EvidenceCause::Canceled], "read by the signer itself");
    house.assert_paid_once();
    machine.assert_all_ended(&house).await;
}

#[tokio::test]
async fn reconcile_adopts_what_the_monitor_has_not_seen() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let wish = signed(&house, &machine, "unseen").await;
    send(&house, same_payment(&house, 0, &wish));
    // Nobody has opened this nonce.
    send(&house, self_transfer(&house, 1));
    house.node.mine(house.clock.advance(3_000));
    let look = machine.reconcile(false).await;
    let found: Vec<DifferenceKind> = look.differences.iter().map(|found| found.kind).collect();
    // Until it is adopted, its Transfer is one that nobody explains.
    for kind in [DifferenceKind::UnknownAttempt, DifferenceKind::UnknownSlot] {
        assert!(found.contains(&kind), "{look}");
    }
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    let filled = machine.store.slot(slot(&house, 1)).await.expect("reads").expect("is there");
    assert_eq!(filled.purpose, Purpose::Fill);
    machine.run(&house, 25).await;
    assert_eq!(machine.status(&house, "unseen").await, "CONFIRMED");
    assert_eq!(machine.halts().await, Vec::<String>::new());
    house.assert_paid_once();
    machine.assert_all_ended(&house).await;
}

#[tokio::test]
async fn a_final_block_that_left_the_chain_is_paid_again_in_its_slot() {
    let house = House::build(1).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("gone", "bob", 10)).await;
    machine.run(&house, 20).await;
    let before = machine.store.slot(slot(&house, 0)).await.expect("reads").expect("is there");
    assert_eq!(before.stage, SlotStage::Final);
    // Deeper than any chain has gone back.
    house.node.reorg(20, Dropped::Forget);
    assert_eq!(house.paid_to(address_of("bob")), 0);
    for _block in 0..30 {
        house.node.mine(house.clock.advance(3_000));
    }
    machine.run(&house, 1).await;
    assert_eq!(machine.halts().await, ["reorg"]);
    let outcome = machine.reconcile(true).await;
    let of_kind = |found: &&Difference| found.kind == DifferenceKind::LeftTheChain;
    assert_eq!(outcome.differences.iter().filter(of_kind).count(), 1, "{outcome}");
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(outcome.halts_lifted, ["reorg", "restore"]);
    assert_eq!(machine.status(&house, "gone").await, "BROADCASTED");
    machine.store.check_ledger().await.expect("balances");
    machine.run(&house, 25).await;
    assert_eq!(machine.status(&house, "gone").await, "CONFIRMED");
    let after = machine.store.slot(slot(&house, 0)).await.expect("reads").expect("is there");
    assert_eq!(after.attempts[0].hash, before.attempts[0].hash, "what was signed is known");
    assert_eq!(house.node.nonce(house.wallets[0]), 1, "and whatever replaced it is in its slot");
    house.assert_paid_once();
    machine.assert_all_ended(&house).await;
}

#[tokio::test]
async fn a_number_that_was_voided_after_the_copy_is_taken_back_by_it_too() {
    let house = House::build_with_vault(1).await;
    let machine = house.start().await;
    let (token, barred) = (house.token.token.expect("a token"), address_of("barred"));
    house.node.order_token(token, TokenOrder::Blacklist(barred)).expect("lists");
    machine.post(&house, &house.wish("refused", "barred", 40)).await;
    for _ in 0..20 {
        machine.run(&house, 2).await;
    }
    let record = machine.find(&house, "refused").await.expect("is there");
    assert_eq!(record.state, State::Held { reason: HoldReason::Failing, slot: None });
    let copy = house.back_up(&machine).await;
    let refunded = machine.store.refund(record.id, "cli:test", "barred").await;
    assert_eq!(refunded, Ok(RefundOutcome::Voiding));
    machine.run(&house, 80).await;
    let ended = machine.find(&house, "refused").await.expect("is there");
    assert_eq!(ended.state, State::Failed { reason: FailureReason::Voided });
    let machine = house.put_back(machine, &copy).await;
    machine.store.raise_halt("restore", "a test").await.expect("halts");
    assert_eq!(machine.status(&house, "refused").await, "HELD");
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(machine.status(&house, "refused").await, "CANCELED", "nobody can pay it any more");
    let account = machine.store.account(house.tenant, &record.account).await.expect("reads");
    let balance = account.expect("has an account").balances[0];
    assert_eq!((balance.held.to_string(), balance.paid.to_string()), ("0".into(), "0".into()));
    house.node.order_token(token, TokenOrder::Unblacklist(barred)).expect("unlists");
    machine.post_all(&house).await;
    machine.run(&house, 25).await;
    assert_eq!(house.paid_to(barred), 0);
    machine.assert_all_ended(&house).await;
}

#[tokio::test]
async fn a_restored_database_is_one_alarm_and_not_two() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("one", "bob", 10)).await;
    machine.run(&house, 5).await;
    let machine = house.put_back(machine, &copy).await;
    machine.store.raise_halt("restore", "as a start does").await.expect("halts");
    machine.run(&house, 5).await;
    assert_eq!(machine.halts().await, ["restore"], "the count of its own nonces is no theft");
    let outcome = machine.reconcile(true).await;
    assert_eq!(
        (outcome.remaining(), outcome.halts_lifted.as_slice()),
        (0, &["restore".into()][..])
    );
}

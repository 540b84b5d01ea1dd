//! Every kind of payment that an old copy may hold, and what becomes of it.

use portcullis_core::slot::Slot;
use portcullis_core::withdrawal::HoldReason;
use portcullis_engine::reconcile::DifferenceKind;
use portcullis_store::cancel::RefundOutcome;
use portcullis_store::command::CommandKind;
use portcullis_store::intake::Submitted;

use crate::house::{House, Machine};

fn kinds(outcome: &portcullis_engine::reconcile::Reconciliation) -> Vec<DifferenceKind> {
    outcome.differences.iter().map(|difference| difference.kind).collect()
}

/// The clients ask for everything again, the engine works on, and all ends with every recipient paid once.
async fn go_on(house: &House, machine: &Machine) {
    for answer in machine.post_all(house).await {
        assert!(matches!(answer, Submitted::Existing(_) | Submitted::Accepted(_)), "{answer:?}");
    }
    machine.run(house, 40).await;
    assert_eq!(machine.halts().await, Vec::<String>::new());
    house.assert_paid_once();
    machine.assert_all_ended(house).await;
}

/// The copy of before, put back with a new epoch, as `portcullis restore` does.
async fn restore(house: &House, machine: Machine, copy: &std::path::Path) -> Machine {
    let machine = Box::pin(house.put_back(machine, copy)).await;
    machine.store.raise_halt("restore", "a test").await.expect("halts");
    machine.store.open_epoch_above(1, "test").await.expect("an epoch");
    machine
}

#[tokio::test]
async fn an_engine_in_order_has_no_difference() {
    let house = House::build(2).await;
    let machine = house.start().await;
    for index in 0..6 {
        let wish = house.wish(&format!("order-{index}"), &format!("customer-{index}"), 100 + index);
        machine.post(&house, &wish).await;
    }
    machine.run(&house, 25).await;
    let outcome = machine.reconcile(false).await;
    assert_eq!(outcome.differences, [], "{outcome}");
    assert_eq!(outcome.history[0].slots, 6);
    assert_eq!(outcome.history[0].transfers, 6);
    machine.assert_all_ended(&house).await;
    house.assert_paid_once();
}

#[tokio::test]
async fn what_was_queued_in_the_copy_and_paid_since_is_not_paid_again() {
    let house = House::build(2).await;
    let machine = house.start().await;
    let first = house.wish("first", "bob", 500);
    machine.post(&house, &first).await;
    let copy = house.back_up(&machine).await;
    // Another of the same amount to the same address, accepted after the copy.
    let second = house.wish("second", "bob", 500);
    machine.post(&house, &second).await;
    machine.run(&house, 25).await;
    assert_eq!(house.paid_to(first.to), 1_000);
    let machine = restore(&house, machine, &copy).await;
    assert_eq!(machine.status(&house, "first").await, "PENDING");
    let look = machine.reconcile(false).await;
    assert!(look.remaining() > 0 && kinds(&look).contains(&DifferenceKind::UnknownSlot), "{look}");
    assert_eq!(machine.status(&house, "first").await, "PENDING", "a look changes nothing");
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(outcome.halts_lifted, ["restore"]);
    assert_eq!(machine.status(&house, "first").await, "CONFIRMED");
    assert_eq!(machine.status(&house, "second").await, "CONFIRMED", "imported");
    let imported = machine.find(&house, "second").await.expect("is there");
    assert!(imported.account.is_suspense(), "nobody has said who pays");
    machine.store.check_ledger().await.expect("balances");
    let answers = machine.post_all(&house).await;
    assert!(answers.iter().all(|it| matches!(it, Submitted::Existing(_))), "{answers:?}");
    let claimed = machine.find(&house, "second").await.expect("is there");
    assert_eq!(claimed.account.as_str(), "alice");
    let account = machine.store.account(house.tenant, &claimed.account).await.expect("reads");
    let balance = account.expect("has an account").balances[0];
    assert_eq!(balance.paid.to_string(), "1000", "both are booked on the payer");
    go_on(&house, &machine).await;
    assert_eq!(house.paid_to(first.to), 1_000);
}

#[tokio::test]
async fn a_copy_put_back_silently_is_noticed_before_anything_is_signed() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("one", "bob", 10)).await;
    machine.run(&house, 3).await;
    let machine = house.put_back(machine, &copy).await;
    // Before the signer has looked, a client's retry is taken in, and another's first request too.
    machine.post_all(&house).await;
    machine.post(&house, &house.wish("two", "carol", 20)).await;
    machine.turn().await;
    assert_eq!(machine.halts().await, ["restore"]);
    machine.run(&house, 20).await;
    assert_eq!(house.paid_to(crate::house::address_of("carol")), 0, "nothing is signed");
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    go_on(&house, &machine).await;
}

#[tokio::test]
async fn a_number_that_was_given_twice_is_held() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("one", "bob", 10)).await;
    machine.run(&house, 20).await;
    let machine = house.put_back(machine, &copy).await;
    let late = house.wish("late", "carol", 20);
    machine.post(&house, &late).await;
    machine.turn().await;
    let outcome = machine.reconcile(true).await;
    assert!(kinds(&outcome).contains(&DifferenceKind::UsedNumber), "{outcome}");
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(machine.status(&house, "late").await, "HELD");
    let record = machine.find(&house, "late").await.expect("is there");
    assert_eq!(record.reason.as_deref(), Some("restore"));
    machine.store.cancel(house.tenant, record.id, "test").await.expect("cancels");
    house.wishes.lock().expect("nobody panics").retain(|wish| wish.name != "late");
    house.wish("late-again", "carol", 20);
    go_on(&house, &machine).await;
    assert_eq!(house.paid_to(late.to), 20);
}

/// The vault's event of a void names a number and no request. One request was given up, and its number voided; in the
/// swapped database the number went to another, which nobody has given up.
#[tokio::test]
async fn the_void_of_a_number_is_no_end_of_another_request_with_the_same() {
    let house = House::build_with_vault(1).await;
    let machine = house.start().await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("given-up", "bob", 10)).await;
    machine.processor.step().await.expect("passes");
    let given_up = machine.find(&house, "given-up").await.expect("is there");
    machine.store.hold(&[given_up.id], HoldReason::Voiding, "a test").await.expect("holds");
    machine.run(&house, 25).await;
    assert_eq!(machine.status(&house, "given-up").await, "FAILED", "voided");
    house.wishes.lock().expect("nobody panics").clear();
    let machine = house.put_back(machine, &copy).await;
    let late = house.wish("late", "carol", 20);
    machine.post(&house, &late).await;
    machine.turn().await;
    let record = machine.find(&house, "late").await.expect("is there");
    assert_eq!(record.number, given_up.number, "given twice");
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert!(kinds(&outcome).contains(&DifferenceKind::UsedNumber), "{outcome}");
    assert_eq!(machine.status(&house, "late").await, "HELD", "nobody has taken it back");
    let refunded = machine.store.refund(record.id, "test", "its number is used").await;
    assert_eq!(refunded, Ok(RefundOutcome::Refunded));
    house.wishes.lock().expect("nobody panics").clear();
    house.wish("late-again", "carol", 20);
    go_on(&house, &machine).await;
    assert_eq!(house.paid_to(crate::house::address_of("bob")), 0);
}

#[tokio::test]
async fn slots_bumped_and_canceled_after_the_copy_are_followed() {
    let house = House::build(1).await;
    let machine = house.start().await;
    for (name, to) in [("bumped", "bob"), ("canceled", "carol"), ("twin", "carol")] {
        machine.post(&house, &house.wish(name, to, 70)).await;
    }
    // Bound and sent, in no block yet.
    machine.turn().await;
    machine.turn().await;
    let copy = house.back_up(&machine).await;
    let slot = |nonce| Slot { chain_id: 31_337, sender: house.wallets[0], nonce };
    for (kind, nonce) in [(CommandKind::Bump, 0), (CommandKind::Cancel, 1)] {
        machine.store.request_command(kind, slot(nonce), "test", "a test").await.expect("asks");
    }
    machine.run(&house, 40).await;
    house.assert_paid_once();
    let machine = restore(&house, machine, &copy).await;
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert!(kinds(&outcome).contains(&DifferenceKind::UnknownAttempt), "{outcome}");
    go_on(&house, &machine).await;
}

#[tokio::test]
async fn a_copy_put_back_while_all_is_under_way_ends_well() {
    let house = House::build(2).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("queued", "bob", 5)).await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("later", "bob", 5)).await;
    machine.post(&house, &house.wish("other", "carol", 6)).await;
    // Signed and sent, and in no block.
    machine.turn().await;
    machine.turn().await;
    let machine = restore(&house, machine, &copy).await;
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    go_on(&house, &machine).await;
}

#[tokio::test]
async fn what_only_the_journal_knows_waits_for_its_client_or_is_canceled() {
    for is_asked_again in [true, false] {
        let house = House::build(1).await;
        let machine = house.start().await;
        let copy = house.back_up(&machine).await;
        machine.post(&house, &house.wish("lost", "bob", 5)).await;
        // Bound, signed and journaled; no byte ever left.
        machine.processor.step().await.expect("passes");
        machine.signing.step().await.expect("signs");
        let machine = restore(&house, machine, &copy).await;
        let outcome = machine.reconcile(true).await;
        assert_eq!(outcome.remaining(), 0, "{outcome}");
        assert_eq!(outcome.forgotten, 1, "{outcome}");
        if !is_asked_again {
            machine.run(&house, 30).await;
            assert_eq!(machine.status(&house, "lost").await, "absent");
            assert_eq!(house.paid_to(crate::house::address_of("bob")), 0);
        }
        go_on(&house, &machine).await;
    }
}

#[tokio::test]
async fn an_old_copy_of_the_vault_rail_is_brought_to_what_the_vault_paid() {
    let house = House::build_with_vault(2).await;
    let machine = house.start().await;
    for (name, to) in [("queued", "bob"), ("twin", "bob"), ("third", "carol")] {
        machine.post(&house, &house.wish(name, to, 40)).await;
    }
    let copy = house.back_up(&machine).await;
    for (name, to) in [("later", "bob"), ("last", "dave")] {
        machine.post(&house, &house.wish(name, to, 40)).await;
    }
    machine.run(&house, 25).await;
    house.assert_paid_once();
    machine.assert_all_ended(&house).await;
    let machine = restore(&house, machine, &copy).await;
    let outcome = machine.reconcile(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(machine.status(&house, "queued").await, "CONFIRMED");
    assert_eq!(machine.status(&house, "last").await, "CONFIRMED", "imported");
    go_on(&house, &machine).await;
}

#[tokio::test]
async fn without_a_journal_the_vaults_events_alone_find_the_payment_of_a_retry() {
    let house = House::build_with_vault(1).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("known", "carol", 7)).await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("forgotten", "bob", 40)).await;
    machine.run(&house, 25).await;
    let machine = house.put_back(machine, &copy).await;
    machine.store.raise_halt("restore", "a test").await.expect("halts");
    let outcome = machine.reconcile_without_journal(true).await;
    assert_eq!(outcome.remaining(), 0, "{outcome}");
    assert_eq!(machine.status(&house, "known").await, "CONFIRMED");
    assert_eq!(outcome.forgotten, 1, "{outcome}");
    let answers = machine.post_all(&house).await;
    assert!(answers.iter().all(|it| matches!(it, Submitted::Existing(_))), "{answers:?}");
    assert_eq!(machine.status(&house, "forgotten").await, "CONFIRMED");
    house.assert_paid_once();
    machine.store.check_ledger().await.expect("balances");
}

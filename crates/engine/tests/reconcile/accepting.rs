//! What nothing repairs: somebody else's use of a key, and how an operator gets out of it.

use alloy_primitives::U256;
use alloy_sol_types::{SolCall, sol};
use portcullis_core::withdrawal::{HoldReason, State};
use portcullis_engine::reconcile::{AcceptOutcome, Difference, DifferenceKind, Reconciler};
use portcullis_keys::journal::{EvidenceCause, JournalRecord};
use portcullis_store::cancel::RefundOutcome;
use portcullis_store::reconcile::Freed;
use portcullis_testkit::{TestTransaction, dev_key};

use crate::house::{House, Machine, address_of};

sol! {
    function approve(address spender, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

const CHAIN: u64 = 31_337;
const WHY: &str = "the old operator's laptop";

/// Somebody else has the key of a wallet, and pays with it.
fn steal(house: &House, nonce: u64, to: &str, units: u64) {
    let token = house.token.token.expect("a token");
    let (to, units) = (address_of(to), U256::from(units));
    send(house, &TestTransaction::token_transfer(CHAIN, nonce, token, to, units));
}

fn send(house: &House, transaction: &TestTransaction) {
    let dear = transaction.clone().with_fees(400_000_000_000, 300_000_000_000);
    house.node.send_raw(&dear.sign(&house.key_of(0)).raw).expect("the node takes it");
}

impl Machine {
    async fn accept(&self, id: &str) -> AcceptOutcome {
        let reconciler = Reconciler::new(self.parts.clone(), self.signer.journal().clone());
        reconciler.accept(id, "cli:test", WHY).await.expect("compares")
    }

    async fn found(&self, kind: DifferenceKind) -> Difference {
        let outcome = self.reconcile(true).await;
        let mut of_kind = outcome.differences.iter().filter(|found| found.kind == kind);
        let found = of_kind.next().unwrap_or_else(|| panic!("no {kind:?}: {outcome}"));
        assert_eq!(of_kind.next(), None, "{outcome}");
        assert!(!found.repaired, "{found}");
        found.clone()
    }

    /// Refused until it is final, then accepted once.
    async fn accept_when_final(&self, house: &House, kind: DifferenceKind) -> Freed {
        let early = self.found(kind).await;
        assert!(!early.acceptable, "{early}");
        let refused = self.accept(&early.id).await;
        assert!(matches!(&refused, AcceptOutcome::Refused(why) if why.contains("not final")));
        self.run(house, 15).await;
        let found = self.found(kind).await;
        assert!(found.acceptable && found.id == early.id, "{found}");
        let accepted = self.accept(&found.id).await;
        let AcceptOutcome::Accepted(_, freed) = accepted else { panic!("{accepted:?}") };
        assert_eq!(self.accept(&found.id).await, AcceptOutcome::Already);
        let known = self.store.accepted_differences().await.expect("reads");
        let known = known.iter().find(|known| known.id == found.id).expect("is remembered");
        assert_eq!((known.reason.as_str(), known.actor.as_str()), (WHY, "cli:test"));
        self.store.verify_audit().await.expect("holds");
        freed
    }

    /// Nothing remains, the halt is lifted, and the engine pays again.
    async fn goes_on(&self, house: &House) {
        let outcome = self.reconcile(true).await;
        assert_eq!(outcome.remaining(), 0, "{outcome}");
        assert!(outcome.halts_lifted.contains(&"foreign".to_owned()), "{outcome}");
        assert!(outcome.to_string().contains(WHY), "what was accepted is told: {outcome}");
        self.post(house, &house.wish("afterwards", "dave", 7)).await;
        self.run(house, 30).await;
        assert_eq!(self.halts().await, Vec::<String>::new());
        assert_eq!(self.status(house, "afterwards").await, "CONFIRMED");
        self.assert_all_ended(house).await;
    }
}

#[tokio::test]
async fn a_foreign_transaction_behind_ours_is_accepted_once_it_is_final() {
    let house = House::build(1).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("ours", "bob", 10)).await;
    machine.run(&house, 5).await;
    steal(&house, 1, "mallory", 50);
    machine.run(&house, 2).await;
    assert_eq!(machine.halts().await, ["foreign"]);
    let freed = machine.accept_when_final(&house, DifferenceKind::Foreign).await;
    assert_eq!(freed, Freed::default(), "nothing was bound to it");
    assert_eq!(machine.halts().await, ["foreign"], "clients are served meanwhile");
    machine.goes_on(&house).await;
    house.assert_paid_once();
}

#[tokio::test]
async fn what_was_bound_to_a_stolen_nonce_is_released_by_the_accepted_evidence_alone() {
    let house = House::build(1).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("robbed", "bob", 10)).await;
    machine.processor.step().await.expect("passes");
    machine.signing.step().await.expect("signs");
    steal(&house, 0, "mallory", 50);
    machine.run(&house, 14).await;
    assert_eq!(machine.halts().await, ["foreign"]);
    let record = machine.find(&house, "robbed").await.expect("is there");
    assert!(record.state.slot().is_some(), "as old as it is, it is still bound: {record:?}");
    let found = machine.found(DifferenceKind::Foreign).await;
    let accepted = machine.accept(&found.id).await;
    let freed = Freed { released: 1, held: 0 };
    assert!(matches!(accepted, AcceptOutcome::Accepted(_, it) if it == freed), "{accepted:?}");
    machine.goes_on(&house).await;
    assert_eq!(machine.status(&house, "robbed").await, "CONFIRMED");
    house.assert_paid_once();
    let lines = machine.signer.journal().records_since(0, 1_000).await.expect("reads");
    let causes: Vec<EvidenceCause> = lines
        .into_iter()
        .filter_map(|(_, record)| match record {
            JournalRecord::Release(release) => Some(release.evidence.cause),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [EvidenceCause::Foreign], "the signer has read it for itself");
}

#[tokio::test]
async fn what_the_foreign_transaction_may_have_paid_is_held() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let wish = house.wish("copied", "bob", 10);
    machine.post(&house, &wish).await;
    machine.processor.step().await.expect("passes");
    machine.signing.step().await.expect("signs");
    // The same to the same, and not the same transaction.
    let token = house.token.token.expect("a token");
    let mut twin = TestTransaction::token_transfer(CHAIN, 0, token, wish.to, U256::from(10));
    twin.input = [twin.input.to_vec(), vec![0]].concat().into();
    send(&house, &twin);
    machine.run(&house, 2).await;
    let freed = machine.accept_when_final(&house, DifferenceKind::Foreign).await;
    assert_eq!(freed, Freed { released: 0, held: 1 });
    let record = machine.find(&house, "copied").await.expect("is there");
    assert_eq!(record.state, State::Held { reason: HoldReason::Restore, slot: None });
    let refunded = machine.store.refund(record.id, "cli:test", "it was paid").await;
    assert_eq!(refunded, Ok(RefundOutcome::Refunded));
    machine.goes_on(&house).await;
    assert_eq!(house.paid_to(wish.to), 10, "by the other one alone");
}

#[tokio::test]
async fn a_stolen_nonce_of_a_canceled_withdrawal_ends_it() {
    let house = House::build(1).await;
    let machine = house.start().await;
    machine.post(&house, &house.wish("given-up", "bob", 10)).await;
    machine.processor.step().await.expect("passes");
    machine.signing.step().await.expect("signs");
    let record = machine.find(&house, "given-up").await.expect("is there");
    machine.store.cancel(house.tenant, record.id, "key:test").await.expect("asks");
    steal(&house, 0, "mallory", 50);
    machine.run(&house, 2).await;
    machine.accept_when_final(&house, DifferenceKind::Foreign).await;
    assert_eq!(machine.status(&house, "given-up").await, "CANCELED");
    machine.goes_on(&house).await;
    assert_eq!(house.paid_to(address_of("bob")), 0);
}

#[tokio::test]
async fn on_the_vault_rail_the_number_guards_what_is_let_go() {
    let house = House::build_with_vault(1).await;
    let machine = house.start().await;
    for (name, to) in [("one", "bob"), ("two", "carol")] {
        machine.post(&house, &house.wish(name, to, 40)).await;
    }
    machine.processor.step().await.expect("passes");
    machine.signing.step().await.expect("signs");
    send(&house, &TestTransaction::transfer(CHAIN, 0, address_of("mallory"), U256::from(1)));
    machine.run(&house, 2).await;
    assert_eq!(machine.halts().await, ["foreign"]);
    let freed = machine.accept_when_final(&house, DifferenceKind::Foreign).await;
    assert_eq!(freed, Freed { released: 2, held: 0 });
    machine.goes_on(&house).await;
    house.assert_paid_once();
}

#[tokio::test]
async fn an_unknown_transfer_is_accepted_after_what_it_may_have_paid_is_held() {
    let house = House::build(1).await;
    let machine = house.start().await;
    machine.run(&house, 2).await;
    // An allowance, which its holder uses: no nonce of ours tells of it.
    let (token, mallory) = (house.token.token.expect("a token"), dev_key(9));
    house.node.fund(mallory.address, U256::from(10).pow(U256::from(20)));
    let call = |nonce, input: Vec<u8>| TestTransaction {
        input: input.into(),
        gas_limit: 100_000,
        ..TestTransaction::transfer(CHAIN, nonce, token, U256::ZERO)
    };
    let allow = approveCall { spender: mallory.address, amount: U256::from(1_000) };
    send(&house, &call(0, allow.abi_encode()));
    machine.run(&house, 1).await;
    let (from, to) = (house.wallets[0], address_of("bob"));
    let take = transferFromCall { from, to, amount: U256::from(30) };
    let take = call(0, take.abi_encode()).sign(&mallory);
    house.node.send_raw(&take.raw).expect("the node takes it");
    machine.run(&house, 1).await;
    // Taken in while the engine is halted: of the same amount, to the same.
    let wish = house.wish("perhaps", "bob", 30);
    machine.post(&house, &wish).await;
    machine.run(&house, 15).await;
    let look = machine.reconcile(false).await;
    let of_kind = |kind| look.differences.iter().find(|found| found.kind == kind);
    let transfer = of_kind(DifferenceKind::UnknownTransfer).expect("is told");
    assert!(of_kind(DifferenceKind::PerhapsPaid).is_some(), "{look}");
    let refused = machine.accept(&transfer.id).await;
    assert!(matches!(&refused, AcceptOutcome::Refused(why) if why.contains("--repair")));
    let transfer = machine.found(DifferenceKind::UnknownTransfer).await;
    assert_eq!(machine.status(&house, "perhaps").await, "HELD");
    let foreign = machine.found(DifferenceKind::Foreign).await;
    for id in [&foreign.id, &transfer.id] {
        let accepted = machine.accept(id).await;
        assert!(matches!(accepted, AcceptOutcome::Accepted(..)), "{accepted:?}");
    }
    let record = machine.find(&house, "perhaps").await.expect("is there");
    // It was not ours: the operator lets it go on, and no later reconciliation holds it again.
    machine.store.resume(record.id, "cli:test", "it was a theft").await.expect("resumes");
    machine.goes_on(&house).await;
    assert_eq!(machine.status(&house, "perhaps").await, "CONFIRMED");
    assert_eq!(house.paid_to(wish.to), 60);
}

#[tokio::test]
async fn nobody_accepts_what_can_be_repaired_or_is_not_there() {
    let house = House::build(1).await;
    let machine = house.start().await;
    let copy = house.back_up(&machine).await;
    machine.post(&house, &house.wish("one", "bob", 10)).await;
    machine.run(&house, 20).await;
    let machine = house.put_back(machine, &copy).await;
    let look = machine.reconcile(false).await;
    for found in &look.differences {
        let refused = machine.accept(&found.id).await;
        assert!(matches!(refused, AcceptOutcome::Refused(_)), "{found}: {refused:?}");
    }
    assert_eq!(machine.accept("000000000000").await, AcceptOutcome::Unknown);
    assert_eq!(machine.reconcile(true).await.remaining(), 0);
    assert_eq!(machine.store.accepted_differences().await, Ok(vec![]));
}

//! Recovery among the real roles: stranded chains, the fee cap, wallets without gas money, gaps, and cancels.

// Statements, transactions, steps and roles are futures of each other.
#![recursion_limit = "256"]

mod desk;

use alloy_primitives::{B256, U256};
use portcullis_core::slot::{Purpose, Slot, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_engine::Progress;
use portcullis_store::cancel::CancelOutcome;
use portcullis_store::command::CommandKind;

use crate::desk::{CAP_GWEI, CHAIN, Desk, GWEI};

fn coins(thousandths: u64) -> U256 {
    U256::from(thousandths) * U256::from(10).pow(U256::from(15))
}

fn gwei(many: u64) -> u64 {
    many * u64::try_from(GWEI).expect("small")
}

#[tokio::test]
async fn a_stranded_chain_is_freed_at_once() {
    let desk = Desk::open(coins(1_000_000)).await;
    desk.ask(3).await;
    desk.sign_and_send().await;
    assert_eq!(desk.node.pooled_nonces(desk.wallet), [0, 1, 2]);
    // Signed at 90 gwei; bor drops the whole chain of a wallet whose head is below the base fee.
    desk.node.set_base_fee(gwei(120));
    desk.clock.advance(4_000);
    desk.node.mine(desk.clock.advance(1));
    desk.node.clear_pool();
    assert_eq!(desk.recovery.step().await.expect("looks"), Progress::Worked);
    let commands = desk.store.open_commands(CHAIN, 9).await.expect("reads");
    let [command] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((command.kind, command.slot.nonce), (CommandKind::Bump, 0), "the head alone");
    assert!(command.reason.starts_with("stranded"), "{}", command.reason);
    desk.signing.step().await.expect("signs");
    desk.broadcaster.step().await.expect("sends");
    assert_eq!(desk.node.pooled_nonces(desk.wallet), [0, 1, 2], "with those behind it, at once");
    desk.blocks(8).await;
    assert_eq!(desk.paid(), 3);
    assert_eq!(desk.node.nonce(desk.wallet), 3);
}

#[tokio::test]
async fn at_the_cap_it_waits_with_an_alarm_and_goes_on_by_itself() {
    let desk = Desk::open(coins(1_000_000)).await;
    let ids = desk.ask(1).await;
    desk.sign_and_send().await;
    desk.node.set_base_fee(gwei(CAP_GWEI * 2));
    desk.blocks(12).await;
    assert_eq!(desk.alarms().await, ["fee_cap"], "told, and not wedged");
    assert_eq!(desk.paid(), 0);
    let slot = Slot { chain_id: CHAIN, sender: desk.wallet, nonce: 0 };
    let open = desk.store.slot(slot).await.expect("reads").expect("is open");
    let highest = open.attempts.iter().map(|it| it.fees.max_fee_per_gas_wei).max();
    assert!(highest.is_some_and(|fee| fee <= u128::from(CAP_GWEI) * GWEI), "{highest:?}");
    let attempts = open.attempts.len();
    desk.blocks(20).await;
    let open = desk.store.slot(slot).await.expect("reads").expect("is open");
    assert_eq!(open.attempts.len(), attempts, "nothing is signed for nothing");
    assert_eq!(desk.store.open_commands(CHAIN, 9).await, Ok(vec![]));
    desk.node.set_base_fee(gwei(30));
    desk.clock.advance(60_000);
    desk.blocks(4).await;
    assert_eq!(desk.paid(), 1);
    assert_eq!(desk.read(ids[0]).await.state.code(), StateCode::Confirmed);
    assert_eq!(desk.alarms().await, [""; 0]);
}

#[tokio::test]
async fn a_wallet_without_gas_money_is_held_and_goes_on_when_it_has_some() {
    // Enough for a transfer at 90 gwei, and not for the same one at the price that 200 gwei of base fee ask for.
    let desk = Desk::open(coins(15)).await;
    let ids = desk.ask(1).await;
    desk.sign_and_send().await;
    assert_eq!(desk.node.pooled_nonces(desk.wallet), [0]);
    desk.node.set_base_fee(gwei(200));
    desk.clock.advance(4_000);
    desk.blocks(3).await;
    assert_eq!(desk.alarms().await, ["gas_money"]);
    let outcome = desk.store.rides(&ids).await.expect("reads")[0].attempts[1].last_outcome.clone();
    assert_eq!(outcome.as_deref(), Some("INSUFFICIENT_FUNDS insufficient_funds"));
    let more = desk.ask(1).await;
    desk.blocks(3).await;
    assert_eq!(desk.read(more[0]).await.state, State::Queued, "no new slots");
    desk.node.fund(desk.wallet, coins(1_000_000));
    desk.blocks(6).await;
    assert_eq!(desk.alarms().await, [""; 0], "resumed by itself");
    assert_eq!(desk.paid(), 2);
}

#[tokio::test]
async fn a_filler_uses_up_a_nonce_that_nothing_has() {
    let desk = Desk::open(coins(1_000_000)).await;
    desk.signing.step().await.expect("registers its wallet");
    let slot = Slot { chain_id: CHAIN, sender: desk.wallet, nonce: 0 };
    let ask = async |slot| {
        let why = "nothing has it";
        desk.store.request_command(CommandKind::Fill, slot, "SYSTEM", why).await.expect("asks")
    };
    assert!(ask(slot).await);
    assert!(ask(Slot { nonce: 9, ..slot }).await);
    desk.sign_and_send().await;
    assert_eq!(desk.store.open_commands(CHAIN, 9).await, Ok(vec![]), "both are answered");
    let open = desk.store.slot(slot).await.expect("reads").expect("is open");
    assert_eq!((open.purpose, open.stage), (Purpose::Fill, SlotStage::Sent));
    assert_eq!(desk.store.slot(Slot { nonce: 9, ..slot }).await, Ok(None), "far beyond the next");
    desk.ask(1).await;
    desk.blocks(5).await;
    assert_eq!((desk.node.nonce(desk.wallet), desk.paid()), (2, 1));
}

#[tokio::test]
async fn a_gap_that_somebody_made_in_the_database_is_filled_without_anybody() {
    let desk = Desk::open(coins(1_000_000)).await;
    desk.ask(1).await;
    desk.blocks(4).await;
    assert_eq!((desk.node.nonce(desk.wallet), desk.paid()), (1, 1));
    // Two nonces are skipped: what is signed from now on waits behind them for ever.
    desk.sql("UPDATE senders SET nonce_next = 3").await;
    let ids = desk.ask(1).await;
    desk.blocks(3).await;
    assert_eq!((desk.node.nonce(desk.wallet), desk.paid()), (1, 1), "the gap holds it up");
    desk.blocks(60).await;
    assert_eq!(desk.node.nonce(desk.wallet), 4);
    assert_eq!(desk.paid(), 2);
    assert_eq!(desk.read(ids[0]).await.state.code(), StateCode::Confirmed);
    for nonce in [1, 2] {
        let slot = Slot { chain_id: CHAIN, sender: desk.wallet, nonce };
        let open = desk.store.slot(slot).await.expect("reads").expect("is filled");
        assert_eq!((open.purpose, open.payments.len()), (Purpose::Fill, 0));
    }
    assert_eq!(desk.store.halts().await.map(|halts| halts.len()), Ok(0));
    desk.store.verify_audit().await.expect("holds");
}

#[tokio::test]
async fn a_gap_that_the_journal_has_signed_is_never_filled() {
    let desk = Desk::open(coins(1_000_000)).await;
    desk.ask(1).await;
    // Signed and journaled; no byte has left, and then its rows are gone.
    desk.signing.step().await.expect("signs");
    for statement in [
        "DELETE FROM attempts",
        "DELETE FROM bindings",
        "DELETE FROM slots",
        "DELETE FROM work",
        "DELETE FROM withdrawals",
    ] {
        desk.sql(statement).await;
    }
    desk.ask(1).await;
    desk.blocks(60).await;
    let halts = desk.store.halts().await.expect("reads");
    let reasons: Vec<&str> = halts.iter().map(|halt| halt.reason.as_str()).collect();
    assert_eq!(reasons, ["journal"], "the database is older than what was signed");
    let slot = Slot { chain_id: CHAIN, sender: desk.wallet, nonce: 0 };
    assert_eq!(desk.store.slot(slot).await, Ok(None), "and it is not filled");
    assert_eq!((desk.node.nonce(desk.wallet), desk.paid()), (0, 0));
}

#[tokio::test]
async fn what_ran_out_of_gas_is_signed_with_more_also_by_who_takes_over() {
    let desk = Desk::open(coins(1_000_000)).await;
    let ids = desk.ask(1).await;
    desk.blocks(1).await;
    let first = desk.store.rides(&ids).await.expect("reads")[0].attempts[0].gas_limit;
    desk.blocks(20).await;
    assert_eq!(desk.read(ids[0]).await.state.code(), StateCode::Confirmed);
    desk.sql("UPDATE slots SET outcome = 'reverted'").await;
    desk.sql("UPDATE attempts SET gas_used = gas_limit").await;
    // Bound by a signer that ended before it signed; and that payment had used up its gas in the slot before.
    let more = desk.ask(1).await;
    desk.bind_unsigned(more[0], 1).await;
    desk.sql(
        "INSERT INTO bindings (slot_id, position, withdrawal_id, released_at) \
         SELECT t.id, 9, b.withdrawal_id, 7 FROM slots t, bindings b JOIN slots s ON s.id = b.slot_id \
         WHERE s.nonce = 1 AND t.nonce = 0",
    )
    .await;
    desk.sign_and_send().await;
    let again = desk.store.rides(&more).await.expect("reads");
    let resumed = again.iter().find(|ride| ride.slot.nonce == 1).expect("is bound there");
    let limits: Vec<u64> = resumed.attempts.iter().map(|attempt| attempt.gas_limit).collect();
    assert_eq!(limits, [first * 2], "twice what it takes, after one dry ride");
}

#[tokio::test]
async fn a_client_takes_back_what_is_under_way() {
    let desk = Desk::open(coins(1_000_000)).await;
    let ids = desk.ask(2).await;
    desk.sign_and_send().await;
    let asked = desk.store.cancel(desk.tenant, ids[0], "key:test").await.expect("answers");
    assert!(matches!(asked, CancelOutcome::Asked(_)), "{asked:?}");
    desk.sign_and_send().await;
    desk.blocks(20).await;
    assert_eq!(desk.read(ids[0]).await.state, State::Canceled);
    assert_eq!(desk.read(ids[1]).await.state.code(), StateCode::Confirmed);
    assert_eq!(desk.paid(), 1);
    let mined: Vec<B256> = desk.node.all_transactions().iter().map(|it| it.hash).collect();
    assert_eq!(mined.len(), 2, "one of them paid nobody");
}

#[tokio::test]
async fn an_idle_recovery_asks_the_node_nothing_new_and_writes_nothing() {
    let desk = Desk::open(coins(1_000_000)).await;
    desk.ask(1).await;
    desk.blocks(20).await;
    assert_eq!(desk.paid(), 1);
    for _ in 0..5 {
        desk.clock.advance(1_000);
        assert_eq!(desk.recovery.step().await.expect("looks"), Progress::Idle);
    }
    assert_eq!(desk.alarms().await, [""; 0]);
    assert_eq!(desk.store.dead_letters(None, true, 9).await, Ok(vec![]));
}

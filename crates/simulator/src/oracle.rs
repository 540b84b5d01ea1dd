//! The oracle: what the chain itself says was paid, against what was promised. It asks Portcullis
//! only for the states that it reports, never for what it did.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use portcullis_core::withdrawal::{FailureReason, State};
use portcullis_store::Store;
use portcullis_store::withdrawal::{WithdrawalFilter, WithdrawalRecord};
use portcullis_testkit::PaidLog;

use crate::chaos::Chaos;
use crate::client::{Asked, Wish};
use crate::operator::has_ended_unpaid;
use crate::report::Outcome;
use crate::scenario::RailPlan;
use crate::world::World;

type Payment = (Option<Address>, Address, U256);

/// Judges a finished run.
pub(crate) async fn judge(
    world: &World,
    store: &Store,
    wishes: &[Wish],
    outcome: &mut Outcome,
) -> Result<(), portcullis_store::StoreError> {
    let records = all_withdrawals(store).await?;
    let by_id: BTreeMap<&str, &WithdrawalRecord> =
        records.iter().map(|record| (record.external_id.as_str(), record)).collect();
    let mut promised: BTreeMap<Payment, i64> = BTreeMap::new();
    for wish in wishes {
        let record = by_id.get(wish.external_id.as_str());
        // The token refuses its recipient: the vault can never pay it.
        let is_refused = world.refused.has(wish.token, wish.to);
        match (wish.asked, record.map(|record| record.state)) {
            (Asked::Accepted, None) => {
                outcome.lost = outcome.lost.saturating_add(1);
                outcome.problems.push(format!("{} was accepted and is gone", wish.external_id));
            }
            (Asked::Accepted, Some(State::Confirmed { is_final: true, .. })) => {
                let payment = (wish.token, wish.to, wish.amount.atomic());
                *promised.entry(payment).or_default() += 1;
            }
            // Taken back, and so not to be paid.
            (Asked::Accepted, Some(State::Canceled)) if wish.is_unwanted || is_refused => {}
            // Before the vault is configured, a plain transfer to such a recipient fails before it is bound.
            (Asked::Accepted, Some(State::Failed { reason }))
                if is_refused
                    && (reason == FailureReason::Voided || outcome.rail == RailPlan::Both) => {}
            (Asked::Accepted, Some(state)) => {
                // With honest funds and working tokens nothing may end otherwise.
                outcome.stuck = outcome.stuck.saturating_add(1);
                let said = record.and_then(|record| {
                    record.timeline.iter().rev().find_map(|event| event.detail.as_deref())
                });
                let said = said.unwrap_or_default();
                let problem = format!("{} ended {state:?}: {said}", wish.external_id);
                outcome.problems.push(problem);
            }
            (_, _) => outcome.problems.push(format!("{} was never answered", wish.external_id)),
        }
    }
    check_others(&records, wishes, outcome);
    compare_balances(world, wishes, &promised, outcome);
    check_vault(world, outcome);
    check_voids(world, &records, outcome);
    compare(promised, paid_on_chain(world), outcome);
    check_books(store, outcome).await
}

fn compare(promised: BTreeMap<Payment, i64>, paid: BTreeMap<Payment, i64>, outcome: &mut Outcome) {
    let mut difference = paid;
    for (payment, count) in promised {
        *difference.entry(payment).or_default() -= count;
    }
    for ((token, to, amount), count) in difference {
        let payments = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        match count {
            0 => continue,
            1.. => outcome.paid_twice = outcome.paid_twice.saturating_add(payments),
            _ => outcome.lost = outcome.lost.saturating_add(payments),
        }
        outcome.problems.push(format!(
            "{to} was to get {amount} of {token:?}, and the chain's count differs by {count}"
        ));
    }
}

/// Withdrawals that nobody asks for any more: their clients took them back.
fn check_others(records: &[WithdrawalRecord], wishes: &[Wish], outcome: &mut Outcome) {
    let wished: BTreeSet<&str> = wishes.iter().map(|wish| wish.external_id.as_str()).collect();
    let mut seen = BTreeSet::new();
    for record in records {
        let external_id = record.external_id.as_str();
        if !seen.insert(external_id) {
            outcome.problems.push(format!("{external_id} made two withdrawals"));
        }
        if !wished.contains(external_id) && !has_ended_unpaid(&record.state) {
            outcome
                .problems
                .push(format!("{external_id} was taken back and is {:?}", record.state));
        }
    }
}

/// What the recipients have, by the tokens' and the chain's own balances, against what was promised. Nobody else
/// pays them.
fn compare_balances(
    world: &World,
    wishes: &[Wish],
    promised: &BTreeMap<Payment, i64>,
    outcome: &mut Outcome,
) {
    let mut owed: BTreeMap<(Option<Address>, Address), U256> =
        wishes.iter().map(|wish| ((wish.token, wish.to), U256::ZERO)).collect();
    for ((token, to, amount), count) in promised {
        let sum = owed.entry((*token, *to)).or_default();
        *sum = sum.saturating_add(amount.saturating_mul(U256::from(count.unsigned_abs())));
    }
    for ((token, to), owed) in owed {
        let has = match token {
            Some(token) => world.node.token_balance(token, to).unwrap_or_default(),
            None => world.node.balance(to),
        };
        if has != owed {
            outcome.problems.push(format!("{to} has {has} of {token:?}, promised were {owed}"));
        }
    }
}

/// Every payment out of the wallets and the vault on the canonical chain: token transfers by the tokens' own
/// logs, coins by the transactions, and those out of the vault by its events.
pub(crate) fn paid_on_chain(world: &World) -> BTreeMap<Payment, i64> {
    let mut paid: BTreeMap<Payment, i64> = BTreeMap::new();
    let ours = |sender: &Address| world.wallets.contains(sender) || world.vault == Some(*sender);
    for token in world.assets.iter().filter_map(|asset| asset.token) {
        for transfer in world.node.transfer_logs(token).iter().filter(|log| ours(&log.from)) {
            *paid.entry((Some(token), transfer.to, transfer.units)).or_default() += 1;
        }
    }
    for transaction in world.node.all_transactions() {
        let Some(to) = transaction.to else { continue };
        if ours(&transaction.from) && transaction.succeeded && !transaction.value.is_zero() {
            *paid.entry((None, to, transaction.value)).or_default() += 1;
        }
    }
    for event in vault_payments(world).filter(|event| event.token.is_zero()) {
        *paid.entry((None, event.to, event.units)).or_default() += 1;
    }
    paid
}

fn vault_payments(world: &World) -> impl Iterator<Item = PaidLog> {
    world.vault.into_iter().flat_map(|vault| world.node.paid_logs(vault))
}

/// The vault's own word: no number twice, and for each event of a token the token's Transfer.
fn check_vault(world: &World, outcome: &mut Outcome) {
    let Some(vault) = world.vault else { return };
    let mut numbers = BTreeSet::new();
    let mut moved: BTreeMap<Payment, i64> = BTreeMap::new();
    for event in vault_payments(world) {
        if !numbers.insert(event.number) {
            outcome.paid_twice = outcome.paid_twice.saturating_add(1);
            outcome.problems.push(format!("the vault paid number {} twice", event.number));
        }
        if !event.token.is_zero() {
            *moved.entry((Some(event.token), event.to, event.units)).or_default() += 1;
        }
    }
    for token in world.assets.iter().filter_map(|asset| asset.token) {
        for transfer in world.node.transfer_logs(token).iter().filter(|log| log.from == vault) {
            *moved.entry((Some(token), transfer.to, transfer.units)).or_default() -= 1;
        }
    }
    for ((token, to, amount), count) in moved.into_iter().filter(|(_, count)| *count != 0) {
        outcome.problems.push(format!(
            "the vault's events and the transfers of {token:?} to {to} of {amount} differ by {count}"
        ));
    }
}

/// What was given up after the vault was asked to pay it: its number is voided, and neither number nor request is paid.
fn check_voids(world: &World, records: &[WithdrawalRecord], outcome: &mut Outcome) {
    let Some(vault) = world.vault else { return };
    let voided: BTreeSet<U256> = world.node.voided_numbers(vault).into_iter().collect();
    let paid: Vec<PaidLog> = vault_payments(world).collect();
    for event in paid.iter().filter(|event| voided.contains(&event.number)) {
        outcome.paid_twice = outcome.paid_twice.saturating_add(1);
        outcome.problems.push(format!("number {} was voided, and paid", event.number));
    }
    for record in records.iter().filter(|record| has_ended_unpaid(&record.state)) {
        let external_id = record.external_id.as_str();
        if paid.iter().any(|event| event.reference == record.reference.0) {
            outcome.paid_twice = outcome.paid_twice.saturating_add(1);
            outcome.problems.push(format!("{external_id} was given back, and paid by the vault"));
        }
        let is_voided = voided.contains(&record.number.to_u256());
        if is_voided && world.refused.has(record.token, record.to) {
            outcome.counts.count(Chaos::Voids);
        }
        let failed = record.timeline.iter().any(|event| is_failed_ride(event.detail.as_deref()));
        if failed && !is_voided && !has_anothers_number(record) {
            outcome.problems.push(format!("{external_id} was given back without a void"));
        }
    }
}

/// Whether the vault was asked for it and failed to pay it.
fn is_failed_ride(detail: Option<&str>) -> bool {
    detail.is_some_and(|detail| detail.starts_with("failed by"))
}

/// Whether it ended without a void, for its number is another's.
fn has_anothers_number(record: &WithdrawalRecord) -> bool {
    let mut said = record.timeline.iter().filter_map(|event| event.detail.as_deref());
    said.any(|said| said.contains("was signed for") || said.contains("is another payment's"))
}

async fn check_books(
    store: &Store,
    outcome: &mut Outcome,
) -> Result<(), portcullis_store::StoreError> {
    if let Err(error) = store.check_ledger().await {
        outcome.problems.push(error.to_string());
    }
    if let Err(error) = store.verify_audit().await {
        outcome.problems.push(error.to_string());
    }
    for halt in store.halts().await? {
        outcome.problems.push(format!("halted: {} {}", halt.reason, halt.detail));
    }
    let live: u64 = store.queues().await?.iter().map(|queue| queue.depth).sum();
    if outcome.stuck == 0 && live > 0 {
        outcome.problems.push(format!("{live} work rows are left"));
    }
    Ok(())
}

pub(crate) async fn all_withdrawals(
    store: &Store,
) -> Result<Vec<WithdrawalRecord>, portcullis_store::StoreError> {
    let mut records = Vec::new();
    for tenant in store.tenants().await? {
        let filter = WithdrawalFilter { limit: 100_000, ..WithdrawalFilter::default() };
        records.extend(store.withdrawals(tenant.id, &filter).await?);
    }
    Ok(records)
}

/// How many are not at their end yet.
pub(crate) fn unfinished(records: &[WithdrawalRecord]) -> usize {
    records.iter().filter(|record| !record.state.is_terminal()).count()
}

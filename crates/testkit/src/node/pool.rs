//! The transaction pool, with bor's rules of one account.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};

use super::admission::{PoolError, Shortfall};
use super::block::SignedTransaction;
use super::config::{PoolOverflow, PoolRules};

/// What the state says about a sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Funds {
    /// The next nonce that the chain takes.
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
}

/// A transaction that waits, and how many came before it.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) transaction: Arc<SignedTransaction>,
    pub(crate) arrival: u64,
}

/// Transactions that wait, by sender and nonce. Executable are those whose nonces follow the chain's
/// without a gap; the others are queued. Nothing is kept about which is which: it follows from the nonces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    senders: BTreeMap<Address, BTreeMap<u64, Waiting>>,
    hashes: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    pub(crate) fn contains(&self, hash: B256) -> bool {
        self.hashes.contains_key(&hash)
    }

    pub(crate) fn transaction(&self, hash: B256) -> Option<&Arc<SignedTransaction>> {
        let (sender, nonce) = self.hashes.get(&hash)?;
        self.senders.get(sender)?.get(nonce).map(|waiting| &waiting.transaction)
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(crate) fn clear(&mut self) {
        self.senders.clear();
        self.hashes.clear();
    }

    pub(crate) fn senders(&self) -> impl Iterator<Item = Address> + '_ {
        self.senders.keys().copied()
    }

    pub(crate) fn transactions_of(
        &self,
        sender: Address,
    ) -> impl Iterator<Item = &Arc<SignedTransaction>> {
        let waiting = self.senders.get(&sender).into_iter().flat_map(BTreeMap::values);
        waiting.map(|waiting| &waiting.transaction)
    }

    pub(crate) fn at(&self, sender: Address, nonce: u64) -> Option<&Waiting> {
        self.senders.get(&sender)?.get(&nonce)
    }

    /// The first nonce that neither the chain nor the pool's executable transactions have used.
    pub(crate) fn next_nonce(&self, sender: Address, chain_nonce: u64) -> u64 {
        let end = self.executable(sender, chain_nonce).last();
        end.map_or(chain_nonce, |waiting| waiting.transaction.envelope.nonce() + 1)
    }

    /// The transactions of an account that follow the chain's nonce without a gap.
    pub(crate) fn executable(
        &self,
        sender: Address,
        chain_nonce: u64,
    ) -> impl Iterator<Item = &Waiting> {
        (chain_nonce..).map_while(move |nonce| self.at(sender, nonce))
    }

    pub(crate) fn remove(&mut self, hash: B256) -> Option<Arc<SignedTransaction>> {
        let (sender, nonce) = self.hashes.remove(&hash)?;
        let waiting = self.senders.get_mut(&sender)?;
        let removed = waiting.remove(&nonce);
        if waiting.is_empty() {
            self.senders.remove(&sender);
        }
        removed.map(|removed| removed.transaction)
    }

    /// Puts a transaction in its place, whatever the rules say. What had the place is gone.
    pub(crate) fn put(&mut self, transaction: Arc<SignedTransaction>) {
        let (hash, sender) = (transaction.hash(), transaction.sender);
        let nonce = transaction.envelope.nonce();
        self.arrivals += 1;
        let waiting = Waiting { transaction, arrival: self.arrivals };
        if let Some(replaced) = self.senders.entry(sender).or_default().insert(nonce, waiting) {
            self.hashes.remove(&replaced.transaction.hash());
        }
        self.hashes.insert(hash, (sender, nonce));
    }

    /// Offers a transaction that passed [`super::admission::Admission`], under the rules that need state.
    pub(crate) fn offer(
        &mut self,
        transaction: Arc<SignedTransaction>,
        funds: Funds,
        rules: &PoolRules,
    ) -> Result<(), PoolError> {
        let (sender, nonce) = (transaction.sender, transaction.envelope.nonce());
        if nonce < funds.nonce {
            return Err(PoolError::NonceTooLow { next: funds.nonce, nonce });
        }
        let next = self.next_nonce(sender, funds.nonce);
        self.check_funds(&transaction, funds, next)?;
        if let Some(old) = self.at(sender, nonce) {
            if !replaces(&transaction, &old.transaction, rules.price_bump_percent) {
                return Err(PoolError::ReplacementUnderpriced);
            }
        } else if let Some(refusal) = self.overflow(sender, nonce, next, funds.nonce, rules) {
            return match rules.overflow {
                PoolOverflow::Refuse => Err(refusal),
                PoolOverflow::Forget => Ok(()),
            };
        }
        self.put(transaction);
        Ok(())
    }

    /// `ValidateTransactionWithState`: the balance pays for this and for all executable ones together.
    fn check_funds(
        &self,
        transaction: &SignedTransaction,
        funds: Funds,
        next: u64,
    ) -> Result<(), PoolError> {
        let (balance, cost) = (funds.balance, transaction.cost_wei());
        let short = |queued: Option<U256>, cost: U256, bumps: bool, need: U256| {
            let overshot = need.saturating_sub(balance);
            let shortfall = Shortfall { balance, queued, cost, bumps, overshot };
            if overshot.is_zero() {
                Ok(())
            } else {
                Err(PoolError::InsufficientFunds(Box::new(shortfall)))
            }
        };
        short(None, cost, false, cost)?;
        let (sender, nonce) = (transaction.sender, transaction.envelope.nonce());
        let queued = self
            .executable(sender, funds.nonce)
            .fold(U256::ZERO, |sum, waiting| sum.saturating_add(waiting.transaction.cost_wei()));
        if let Some(old) = self.at(sender, nonce).filter(|_| nonce < next) {
            let old_cost = old.transaction.cost_wei();
            let need = queued.saturating_sub(old_cost).saturating_add(cost);
            short(Some(queued), cost.saturating_sub(old_cost), true, need)
        } else {
            short(Some(queued), cost, false, queued.saturating_add(cost))
        }
    }

    /// Whether a new nonce finds the account's part of the pool full.
    fn overflow(
        &self,
        sender: Address,
        nonce: u64,
        next: u64,
        chain_nonce: u64,
        rules: &PoolRules,
    ) -> Option<PoolError> {
        let executable = usize::try_from(next - chain_nonce).unwrap_or(usize::MAX);
        if nonce == next {
            return (executable >= rules.account_slots).then_some(PoolError::PoolFull);
        }
        let all = self.senders.get(&sender).map_or(0, BTreeMap::len);
        let pooled = all.saturating_sub(executable);
        (pooled >= rules.account_queue).then_some(PoolError::AccountLimitExceeded { pooled })
    }

    /// What a new head does to the pool: used nonces go, and so does what its sender can no longer pay.
    pub(crate) fn reset(&mut self, funds: impl Fn(Address) -> Funds) {
        let mut gone = Vec::new();
        for (sender, waiting) in &self.senders {
            let funds = funds(*sender);
            let hopeless = waiting.iter().filter(|(nonce, waiting)| {
                **nonce < funds.nonce || waiting.transaction.cost_wei() > funds.balance
            });
            gone.extend(hopeless.map(|(_, waiting)| waiting.transaction.hash()));
        }
        for hash in gone {
            self.remove(hash);
        }
    }
}

/// `list.Add` of the legacy pool: both caps strictly higher, and at least `bump_percent` higher.
fn replaces(new: &SignedTransaction, old: &SignedTransaction, bump_percent: u128) -> bool {
    let enough = |new_wei: u128, old_wei: u128| {
        let threshold = old_wei.saturating_mul(100 + bump_percent) / 100;
        new_wei > old_wei && new_wei >= threshold
    };
    enough(new.envelope.max_fee_per_gas(), old.envelope.max_fee_per_gas())
        && enough(new.tip_cap_wei(), old.tip_cap_wei())
}

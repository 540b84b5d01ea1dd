//! Accounts and storage with their whole history: each value is kept with the block that wrote it, so
//! that a read of an old block is a search and a reorg is a truncation.

use std::collections::HashMap;
use std::convert::Infallible;

use alloy_primitives::{Address, B256, U256};
use revm::DatabaseRef;
use revm::state::{Account, AccountInfo, Bytecode};

use super::block::StoredBlock;

/// The values of one place, oldest first, each with the block that wrote it.
#[derive(Clone, Debug)]
struct History<V>(Vec<(u64, V)>);

impl<V> Default for History<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> History<V> {
    fn at(&self, block: u64) -> Option<&V> {
        // Nearly all reads are of the newest value.
        self.0.iter().rev().find(|(written, _)| *written <= block).map(|(_, value)| value)
    }

    fn write(&mut self, block: u64, value: V) {
        match self.0.last_mut() {
            Some((written, last)) if *written == block => *last = value,
            _ => self.0.push((block, value)),
        }
    }

    fn rewind(&mut self, block: u64) {
        while self.0.last().is_some_and(|(written, _)| *written > block) {
            self.0.pop();
        }
    }
}

/// All accounts of the chain, at every block.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorldState {
    accounts: HashMap<Address, History<AccountInfo>>,
    storage: HashMap<(Address, U256), History<U256>>,
    codes: HashMap<B256, Bytecode>,
}

impl WorldState {
    pub(crate) fn account(&self, address: Address, block: u64) -> Option<&AccountInfo> {
        self.accounts.get(&address).and_then(|history| history.at(block))
    }

    pub(crate) fn nonce(&self, address: Address, block: u64) -> u64 {
        self.account(address, block).map_or(0, |account| account.nonce)
    }

    pub(crate) fn balance(&self, address: Address, block: u64) -> U256 {
        self.account(address, block).map_or(U256::ZERO, |account| account.balance)
    }

    fn slot(&self, address: Address, key: U256, block: u64) -> U256 {
        let history = self.storage.get(&(address, key));
        history.and_then(|history| history.at(block)).copied().unwrap_or_default()
    }

    /// Writes what a transaction of `block` changed.
    pub(crate) fn apply(
        &mut self,
        block: u64,
        changes: impl IntoIterator<Item = (Address, Account)>,
    ) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            // Since EIP-6780 only a contract of this very transaction disappears: it had no storage before.
            let gone = account.is_selfdestructed();
            for (key, slot) in account.changed_storage_slots() {
                let value = if gone { U256::ZERO } else { slot.present_value };
                self.storage.entry((address, *key)).or_default().write(block, value);
            }
            let info = if gone { AccountInfo::default() } else { account.info };
            if let Some(code) = &info.code {
                self.codes.entry(info.code_hash).or_insert_with(|| code.clone());
            }
            self.accounts.entry(address).or_default().write(block, info);
        }
    }

    /// Adds to a balance as though the account had had it since genesis, so that no reorg takes it away.
    pub(crate) fn credit_since_genesis(&mut self, address: Address, wei: U256) {
        let history = self.accounts.entry(address).or_default();
        for (_, account) in &mut history.0 {
            account.balance = account.balance.saturating_add(wei);
        }
        if history.0.first().is_none_or(|(written, _)| *written > 0) {
            history.0.insert(0, (0, AccountInfo { balance: wei, ..AccountInfo::default() }));
        }
    }

    /// Forgets everything that blocks above `block` wrote.
    pub(crate) fn rewind(&mut self, block: u64) {
        self.accounts.values_mut().for_each(|history| history.rewind(block));
        self.storage.values_mut().for_each(|history| history.rewind(block));
    }
}

/// The state as of the end of one block, for the EVM to read.
#[derive(Clone, Copy)]
pub(crate) struct StateAt<'a> {
    pub(crate) state: &'a WorldState,
    pub(crate) blocks: &'a [StoredBlock],
    pub(crate) block: u64,
}

impl DatabaseRef for StateAt<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address, self.block).cloned())
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.codes.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(address, key, self.block))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        let block = usize::try_from(number).ok().and_then(|number| self.blocks.get(number));
        Ok(block.map(|block| block.header.hash).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_answers_for_every_block_and_forgets_on_demand() {
        let mut history = History::default();
        history.write(2, "a");
        history.write(5, "b");
        history.write(5, "c");
        assert_eq!(history.at(1), None);
        assert_eq!(history.at(4), Some(&"a"));
        assert_eq!(history.at(9), Some(&"c"));
        history.rewind(4);
        assert_eq!(history.at(9), Some(&"a"));
    }

    #[test]
    fn a_credit_survives_a_rewind() {
        let (mut state, account) = (WorldState::default(), Address::with_last_byte(1));
        let touched = |balance: u64| {
            let mut changed = Account::default()
                .with_info(AccountInfo { balance: U256::from(balance), ..Default::default() });
            changed.mark_touch();
            [(account, changed)]
        };
        state.apply(3, touched(10));
        state.credit_since_genesis(account, U256::from(5));
        assert_eq!(state.balance(account, 3), U256::from(15));
        state.rewind(2);
        assert_eq!(state.balance(account, 3), U256::from(5));
    }
}

//! The second half of the judgement: balances before and after. Logs tell of transfers, balances
//! tell of everything.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, U256};
use anyhow::Result;

use super::Promise;
use crate::chain::Rpc;

/// The balances of some holders in some tokens, and in the native coin (`None`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalanceSheet(BTreeMap<(Option<Address>, Address), U256>);

/// A balance that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongBalance {
    /// The token; `None` for the native coin.
    pub token: Option<Address>,
    /// The holder.
    pub holder: Address,
    /// What it should be now.
    pub expected: U256,
    /// What it is.
    pub found: U256,
}

impl BalanceSheet {
    /// Reads the native balance of every holder, and its balance of every token.
    ///
    /// # Errors
    /// The node fails.
    pub async fn read(rpc: &Rpc, tokens: &[Address], holders: &BTreeSet<Address>) -> Result<Self> {
        let holders: Vec<Address> = holders.iter().copied().collect();
        let mut sheet = BTreeMap::new();
        let mut put = |token: Option<Address>, balances: Vec<U256>| {
            sheet.extend(holders.iter().map(|holder| (token, *holder)).zip(balances));
        };
        put(None, rpc.native_balances(&holders).await?);
        for &token in tokens {
            put(Some(token), rpc.token_balance_of(token, &holders).await?);
        }
        Ok(Self(sheet))
    }

    /// Compares every recipient's balance with what it was before and what was promised. `wallets`
    /// are holders that paid, and are compared by [`BalanceSheet::check_wallets`].
    #[must_use]
    pub fn check_recipients(
        &self,
        before: &Self,
        promises: &[Promise],
        wallets: &BTreeSet<Address>,
    ) -> Vec<WrongBalance> {
        let mut dues: BTreeMap<(Option<Address>, Address), U256> = BTreeMap::new();
        for promise in promises {
            let sum = dues.entry((promise.token, promise.to)).or_default();
            *sum = sum.saturating_add(promise.units);
        }
        let recipients = self.0.iter().filter(|((_, holder), _)| !wallets.contains(holder));
        recipients
            .filter_map(|(&(token, holder), &found)| {
                let due = dues.get(&(token, holder)).copied().unwrap_or_default();
                let expected = before.of(token, holder).saturating_add(due);
                (expected != found).then_some(WrongBalance { token, holder, expected, found })
            })
            .collect()
    }

    /// Compares what all hot wallets together have less than before with everything that was
    /// promised, and of the native coin also `fees_wei`. Gives the tokens of which another amount
    /// is gone: what should have left, and what did.
    #[must_use]
    pub fn check_wallets(
        &self,
        before: &Self,
        promises: &[Promise],
        wallets: &BTreeSet<Address>,
        fees_wei: U256,
    ) -> Vec<(Option<Address>, U256, U256)> {
        let tokens: BTreeSet<Option<Address>> = self.0.keys().map(|(token, _)| *token).collect();
        let sum = |sheet: &Self, token| {
            let balances = wallets.iter().map(|wallet| sheet.of(token, *wallet));
            balances.fold(U256::ZERO, U256::saturating_add)
        };
        tokens
            .into_iter()
            .filter_map(|token| {
                let due = promises.iter().filter(|promise| promise.token == token);
                let due = due.fold(U256::ZERO, |sum, promise| sum.saturating_add(promise.units));
                let fees = if token.is_none() { fees_wei } else { U256::ZERO };
                let expected = due.saturating_add(fees);
                let gone = sum(before, token).saturating_sub(sum(self, token));
                (expected != gone).then_some((token, expected, gone))
            })
            .collect()
    }

    fn of(&self, token: Option<Address>, holder: Address) -> U256 {
        self.0.get(&(token, holder)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Option<Address> = Some(Address::repeat_byte(0xaa));
    const WALLET: Address = Address::repeat_byte(9);
    const ALICE: Address = Address::repeat_byte(1);

    fn sheet(rows: &[(Option<Address>, Address, u64)]) -> BalanceSheet {
        let row = |&(token, holder, units)| ((token, holder), U256::from(units));
        BalanceSheet(rows.iter().map(row).collect())
    }

    fn promise(token: Option<Address>, units: u64) -> Promise {
        Promise { external_id: "one".to_owned(), token, to: ALICE, units: U256::from(units) }
    }

    fn before() -> BalanceSheet {
        sheet(&[(None, WALLET, 1_000), (TOKEN, WALLET, 500), (None, ALICE, 3), (TOKEN, ALICE, 0)])
    }

    fn check(after: &BalanceSheet, promises: &[Promise], fees: u64) -> (usize, usize) {
        let wallets = BTreeSet::from([WALLET]);
        let recipients = after.check_recipients(&before(), promises, &wallets);
        let fees = U256::from(fees);
        (recipients.len(), after.check_wallets(&before(), promises, &wallets, fees).len())
    }

    #[test]
    fn balances_that_moved_as_promised_are_right() {
        let after = sheet(&[
            (None, WALLET, 983),
            (TOKEN, WALLET, 480),
            (None, ALICE, 13),
            (TOKEN, ALICE, 20),
        ]);
        let promises = [promise(None, 10), promise(TOKEN, 15), promise(TOKEN, 5)];
        assert_eq!(check(&after, &promises, 7), (0, 0));
    }

    #[test]
    fn too_much_too_little_and_a_hidden_loss_are_seen() {
        let twice = sheet(&[
            (None, WALLET, 993),
            (TOKEN, WALLET, 490),
            (None, ALICE, 3),
            (TOKEN, ALICE, 10),
        ]);
        assert_eq!(check(&twice, &[promise(TOKEN, 5)], 7), (1, 1));
        assert_eq!(check(&before(), &[promise(TOKEN, 5)], 0), (1, 1));
        let leak = sheet(&[
            (None, WALLET, 900),
            (TOKEN, WALLET, 495),
            (None, ALICE, 3),
            (TOKEN, ALICE, 5),
        ]);
        assert_eq!(check(&leak, &[promise(TOKEN, 5)], 7), (0, 1));
    }
}

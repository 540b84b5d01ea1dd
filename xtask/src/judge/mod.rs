//! The judge: compares what clients were promised with what the chain says. It reads blocks,
//! Transfer logs and balances, never Portcullis' own tables, and shares no code with the engine.

mod balances;
mod observe;

use std::collections::HashMap;

use alloy_primitives::{Address, B256, U256};

pub use balances::{BalanceSheet, WrongBalance};
pub use observe::{Items, Observation, Scope, observe};

/// A payment that a client was promised: its request was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The client's id of the request.
    pub external_id: String,
    /// The token; `None` for the native coin.
    pub token: Option<Address>,
    /// To whom.
    pub to: Address,
    /// How much, in atomic units.
    pub units: U256,
}

/// A payment that a hot wallet or a vault made on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The token; `None` for the native coin.
    pub token: Option<Address>,
    /// The hot wallet, or the vault.
    pub from: Address,
    /// To whom.
    pub to: Address,
    /// How much, in atomic units.
    pub units: U256,
    /// Number of the block.
    pub block: u64,
    /// Hash of the transaction.
    pub tx: B256,
}

/// What makes two payments equal: token, recipient and amount.
type Terms = (Option<Address>, Address, U256);

/// What became of the promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// For each promise, in order, the block of its payment.
    pub paid: Vec<Option<u64>>,
    /// Payments beyond what was promised, on terms that were promised.
    pub paid_twice: Vec<Payment>,
    /// Payments on terms that nobody was promised: another recipient, another amount.
    pub unexpected: Vec<Payment>,
}

impl Verdict {
    /// Puts payments to promises, as multisets of token, recipient and amount. Promises on equal
    /// terms are kept in order, the earliest payment for the first of them.
    #[must_use]
    pub fn of(promises: &[Promise], payments: &[Payment]) -> Self {
        let mut waiting: HashMap<Terms, Vec<usize>> = HashMap::new();
        for (index, promise) in promises.iter().enumerate().rev() {
            waiting.entry((promise.token, promise.to, promise.units)).or_default().push(index);
        }
        let mut verdict = Self { paid: vec![None; promises.len()], ..Self::default() };
        let mut in_order: Vec<&Payment> = payments.iter().collect();
        in_order.sort_by_key(|payment| payment.block);
        for payment in in_order {
            match waiting.get_mut(&(payment.token, payment.to, payment.units)) {
                None => verdict.unexpected.push(payment.clone()),
                Some(indexes) => match indexes.pop() {
                    Some(index) => verdict.paid[index] = Some(payment.block),
                    None => verdict.paid_twice.push(payment.clone()),
                },
            }
        }
        verdict
    }

    /// How many promises were kept in blocks that have `confirmations` blocks from there to the
    /// head, their own included.
    #[must_use]
    pub fn confirmed(&self, head: u64, confirmations: u64) -> usize {
        let is_deep = |block: u64| head.saturating_add(1).saturating_sub(block) >= confirmations;
        self.paid.iter().flatten().filter(|block| is_deep(**block)).count()
    }

    /// Places of the promises that were not kept.
    #[must_use]
    pub fn lost(&self) -> Vec<usize> {
        let unpaid = self.paid.iter().enumerate().filter(|(_, block)| block.is_none());
        unpaid.map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Option<Address> = Some(Address::repeat_byte(0xaa));
    const ALICE: Address = Address::repeat_byte(1);
    const BOB: Address = Address::repeat_byte(2);

    fn promise(token: Option<Address>, to: Address, units: u64) -> Promise {
        Promise { external_id: format!("to {to}"), token, to, units: U256::from(units) }
    }

    fn payment(token: Option<Address>, to: Address, units: u64, block: u64) -> Payment {
        let from = Address::repeat_byte(9);
        let tx = B256::left_padding_from(&block.to_be_bytes());
        Payment { token, from, to, units: U256::from(units), block, tx }
    }

    #[test]
    fn each_promise_is_kept_once() {
        let promises = [promise(TOKEN, ALICE, 5), promise(None, ALICE, 5), promise(TOKEN, BOB, 7)];
        let payments =
            [payment(None, ALICE, 5, 3), payment(TOKEN, BOB, 7, 2), payment(TOKEN, ALICE, 5, 4)];
        let verdict = Verdict::of(&promises, &payments);
        assert_eq!(verdict.paid, [Some(4), Some(3), Some(2)]);
        assert_eq!(verdict.lost(), Vec::<usize>::new());
        assert_eq!((verdict.paid_twice, verdict.unexpected), (vec![], vec![]));
    }

    #[test]
    fn a_missing_payment_is_lost() {
        let promises = [promise(TOKEN, ALICE, 5), promise(TOKEN, BOB, 5)];
        let verdict = Verdict::of(&promises, &[payment(TOKEN, BOB, 5, 1)]);
        assert_eq!(verdict.paid, [None, Some(1)]);
        assert_eq!(verdict.lost(), [0]);
    }

    #[test]
    fn a_second_payment_on_the_same_terms_is_a_double_one() {
        let second = payment(TOKEN, ALICE, 5, 9);
        let payments = [second.clone(), payment(TOKEN, ALICE, 5, 1)];
        let verdict = Verdict::of(&[promise(TOKEN, ALICE, 5)], &payments);
        assert_eq!(verdict.paid, [Some(1)]);
        assert_eq!(verdict.paid_twice, [second]);
    }

    #[test]
    fn equal_promises_take_one_payment_each() {
        let promises = vec![promise(TOKEN, ALICE, 5); 3];
        let payments: Vec<Payment> =
            [8, 6, 7, 9].map(|block| payment(TOKEN, ALICE, 5, block)).into();
        let short = Verdict::of(&promises, &payments[..2]);
        assert_eq!((short.paid.clone(), short.lost()), (vec![Some(6), Some(8), None], vec![2]));
        let over = Verdict::of(&promises, &payments);
        assert_eq!(over.paid, [Some(6), Some(7), Some(8)]);
        assert_eq!(over.paid_twice.len(), 1);
    }

    #[test]
    fn another_amount_recipient_or_token_is_unexpected() {
        let wrong =
            [payment(TOKEN, ALICE, 6, 1), payment(TOKEN, BOB, 5, 1), payment(None, ALICE, 5, 1)];
        let verdict = Verdict::of(&[promise(TOKEN, ALICE, 5)], &wrong);
        assert_eq!(verdict.unexpected, wrong);
        assert_eq!(verdict.lost(), [0]);
        assert_eq!(verdict.paid_twice, []);
    }

    #[test]
    fn depth_counts_the_block_itself() {
        let promises = [promise(TOKEN, ALICE, 5), promise(TOKEN, BOB, 5)];
        let payments = [payment(TOKEN, ALICE, 5, 8), payment(TOKEN, BOB, 5, 9)];
        let verdict = Verdict::of(&promises, &payments);
        assert_eq!(verdict.confirmed(10, 1), 2);
        assert_eq!(verdict.confirmed(10, 2), 2);
        assert_eq!(verdict.confirmed(10, 3), 1);
        assert_eq!(verdict.confirmed(10, 4), 0);
    }
}

//! What hot wallets did on the chain, and the vault that they operate.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use alloy_primitives::{Address, B256, U256};
use anyhow::Result;

use super::Payment;
use crate::chain::{FullBlock, Rpc, TransferLog, VaultEvent, VaultLog};

/// Whose doings are read.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The hot wallets.
    pub wallets: HashSet<Address>,
    /// The vault that they operate, where there is one: it pays, then, and they pay the gas.
    pub vault: Option<Address>,
    /// The tokens that they pay in, beside the native coin.
    pub tokens: Vec<Address>,
    /// Only payments to these recipients count; `None` counts all.
    pub recipients: Option<HashSet<Address>>,
}

impl Scope {
    /// Everybody who holds money of ours.
    #[must_use]
    pub fn payers(&self) -> BTreeSet<Address> {
        self.wallets.iter().copied().chain(self.vault).collect()
    }

    fn pays(&self, from: Address) -> bool {
        self.wallets.contains(&from) || self.vault == Some(from)
    }

    fn counts(&self, to: Address) -> bool {
        self.recipients.as_ref().is_none_or(|recipients| recipients.contains(&to))
    }
}

/// What hot wallets did in a range of blocks.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The last block that was read.
    pub head: u64,
    /// Money that left them.
    pub payments: Vec<Payment>,
    /// Transactions of theirs that are neither a payment nor a transfer of nothing to themselves.
    pub foreign: Vec<B256>,
    /// Transactions of theirs that failed and moved nothing but their fee.
    pub failed: Vec<B256>,
    /// Transfers of nothing to themselves: nonces that were used up without paying.
    pub canceled: usize,
    /// What their transactions cost in fees, in wei.
    pub fees_wei: U256,
    /// What the vault says of its items.
    pub items: Items,
}

/// What a vault says of its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// How often each payout number was paid.
    pub paid: BTreeMap<U256, usize>,
    /// Items that could not be paid.
    pub failed: usize,
    /// Items whose number had been used before.
    pub skipped: usize,
    /// Numbers that were used up without a payment.
    pub voided: usize,
}

impl Items {
    /// Payout numbers that were paid more than once: the contract promises that there is none.
    #[must_use]
    pub fn paid_again(&self) -> usize {
        self.paid.values().filter(|times| **times > 1).count()
    }
}

impl Observation {
    /// Puts the next range behind this one.
    pub fn append(&mut self, next: Self) {
        self.head = next.head;
        self.payments.extend(next.payments);
        self.foreign.extend(next.foreign);
        self.failed.extend(next.failed);
        self.canceled = self.canceled.saturating_add(next.canceled);
        self.fees_wei = self.fees_wei.saturating_add(next.fees_wei);
        for (number, times) in next.items.paid {
            let sum = self.items.paid.entry(number).or_default();
            *sum = sum.saturating_add(times);
        }
        self.items.failed = self.items.failed.saturating_add(next.items.failed);
        self.items.skipped = self.items.skipped.saturating_add(next.items.skipped);
        self.items.voided = self.items.voided.saturating_add(next.items.voided);
    }
}

/// Reads blocks `from_block..=to_block`: Transfer logs of each token, and every transaction in full.
///
/// # Errors
/// The node fails.
pub async fn observe(
    rpc: &Rpc,
    scope: &Scope,
    from_block: u64,
    to_block: u64,
) -> Result<Observation> {
    let mut observation = Observation { head: to_block, ..Observation::default() };
    for &token in &scope.tokens {
        let logs = rpc.transfer_logs(token, from_block, to_block).await?;
        read_logs(scope, token, &logs, &mut observation);
    }
    if let Some(vault) = scope.vault {
        let logs = rpc.vault_logs(vault, from_block, to_block).await?;
        read_items(scope, vault, &logs, &mut observation);
    }
    let paying: HashSet<B256> = observation.payments.iter().map(|payment| payment.tx).collect();
    let blocks = rpc.full_blocks(from_block, to_block).await?;
    read_blocks(scope, &blocks, &paying, &mut observation);
    Ok(observation)
}

fn read_logs(scope: &Scope, token: Address, logs: &[TransferLog], observation: &mut Observation) {
    for log in logs {
        if scope.pays(log.from) && scope.counts(log.to) {
            observation.payments.push(Payment {
                token: Some(token),
                from: log.from,
                to: log.to,
                units: log.value,
                block: log.block,
                tx: log.tx,
            });
        }
    }
}

/// Tokens tell of themselves by their Transfer logs. Native coins that leave a contract leave no trace
/// but the vault's own word, which the balances confirm.
fn read_items(scope: &Scope, vault: Address, logs: &[VaultLog], observation: &mut Observation) {
    let items = &mut observation.items;
    for log in logs {
        match log.event {
            VaultEvent::Paid { token, to, amount } => {
                let times = items.paid.entry(log.number).or_default();
                *times = times.saturating_add(1);
                if token.is_none() && scope.counts(to) {
                    observation.payments.push(Payment {
                        token: None,
                        from: vault,
                        to,
                        units: amount,
                        block: log.block,
                        tx: log.tx,
                    });
                }
            }
            VaultEvent::Failed => items.failed = items.failed.saturating_add(1),
            VaultEvent::Skipped => items.skipped = items.skipped.saturating_add(1),
            VaultEvent::Voided => items.voided = items.voided.saturating_add(1),
        }
    }
}

/// `paying` are the transactions with a Transfer log of theirs.
fn read_blocks(
    scope: &Scope,
    blocks: &[FullBlock],
    paying: &HashSet<B256>,
    observation: &mut Observation,
) {
    for block in blocks {
        for sent in block.transactions.iter().filter(|sent| scope.wallets.contains(&sent.from)) {
            let fee = U256::from(sent.gas_used).saturating_mul(sent.effective_gas_price);
            observation.fees_wei = observation.fees_wei.saturating_add(fee);
            let to_itself = sent.to == Some(sent.from);
            if !sent.succeeded {
                observation.failed.push(sent.hash);
            } else if let Some(to) = sent.to.filter(|_| !sent.value.is_zero() && !to_itself) {
                if scope.counts(to) {
                    observation.payments.push(Payment {
                        token: None,
                        from: sent.from,
                        to,
                        units: sent.value,
                        block: block.number,
                        tx: sent.hash,
                    });
                }
            } else if to_itself && sent.value.is_zero() {
                observation.canceled = observation.canceled.saturating_add(1);
            } else if scope.vault.is_some() && sent.to == scope.vault {
                // What came of it, the vault's own logs say.
            } else if scope.recipients.is_none() && !paying.contains(&sent.hash) {
                observation.foreign.push(sent.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::BlockTransaction;

    const WALLET: Address = Address::repeat_byte(9);
    const TOKEN: Address = Address::repeat_byte(0xaa);
    const VAULT: Address = Address::repeat_byte(0xbb);
    const ALICE: Address = Address::repeat_byte(1);

    fn scope(recipients: Option<HashSet<Address>>) -> Scope {
        let wallets = HashSet::from([WALLET]);
        Scope { wallets, vault: Some(VAULT), tokens: vec![TOKEN], recipients }
    }

    fn sent(number: u8, to: Address, value: u64) -> BlockTransaction {
        BlockTransaction {
            hash: B256::repeat_byte(number),
            from: WALLET,
            to: Some(to),
            value: U256::from(value),
            input: alloy_primitives::Bytes::new(),
            nonce: u64::from(number),
            max_fee_per_gas: U256::from(9),
            effective_gas_price: U256::from(7),
            gas_used: 10,
            succeeded: true,
        }
    }

    fn block(transactions: Vec<BlockTransaction>) -> [FullBlock; 1] {
        let (hash, parent_hash) = (B256::repeat_byte(0xb), B256::repeat_byte(0xa));
        [FullBlock { number: 4, hash, parent_hash, timestamp_s: 100, transactions }]
    }

    fn log(from: Address, to: Address, tx: u8) -> TransferLog {
        let tx = B256::repeat_byte(tx);
        TransferLog { block: 4, log_index: 0, tx, from, to, value: U256::from(5) }
    }

    #[test]
    fn coins_that_leave_a_wallet_are_payments_and_nothing_else_is() {
        let stranger = BlockTransaction { from: ALICE, ..sent(6, WALLET, 8) };
        let failed = BlockTransaction { succeeded: false, ..sent(5, ALICE, 8) };
        let transactions = vec![
            sent(1, ALICE, 8),
            sent(2, WALLET, 0),
            sent(3, TOKEN, 0),
            sent(4, TOKEN, 0),
            failed,
            stranger,
        ];
        let mut observation = Observation::default();
        let paying = HashSet::from([B256::repeat_byte(3)]);
        read_blocks(&scope(None), &block(transactions), &paying, &mut observation);
        let paid: Vec<_> = observation.payments.iter().map(|paid| (paid.to, paid.units)).collect();
        assert_eq!(paid, [(ALICE, U256::from(8))]);
        assert_eq!(observation.canceled, 1);
        assert_eq!(observation.foreign, [B256::repeat_byte(4)]);
        assert_eq!(observation.failed, [B256::repeat_byte(5)]);
        // Five transactions of the wallet, the failed one too.
        assert_eq!(observation.fees_wei, U256::from(5 * 10 * 7));
    }

    #[test]
    fn only_tokens_that_leave_a_wallet_count() {
        let mut observation = Observation::default();
        let logs = [log(WALLET, ALICE, 1), log(ALICE, WALLET, 2), log(Address::ZERO, WALLET, 3)];
        read_logs(&scope(None), TOKEN, &logs, &mut observation);
        assert_eq!(observation.payments.len(), 1);
        assert_eq!(observation.payments[0].tx, B256::repeat_byte(1));
    }

    #[test]
    fn a_vault_pays_coins_by_its_word_and_tokens_by_their_logs() {
        let mut observation = Observation::default();
        let item = |number: u64, event| VaultLog {
            block: 4,
            tx: B256::repeat_byte(7),
            number: U256::from(number),
            event,
        };
        let amount = U256::from(5);
        let paid = |token| VaultEvent::Paid { token, to: ALICE, amount };
        let logs = [
            item(1, paid(None)),
            item(2, paid(Some(TOKEN))),
            item(2, paid(Some(TOKEN))),
            item(3, VaultEvent::Failed),
            item(1, VaultEvent::Skipped),
            item(4, VaultEvent::Voided),
        ];
        read_items(&scope(None), VAULT, &logs, &mut observation);
        read_logs(&scope(None), TOKEN, &[log(VAULT, ALICE, 7)], &mut observation);
        let paid: Vec<_> = observation.payments.iter().map(|it| (it.token, it.from)).collect();
        assert_eq!(paid, [(None, VAULT), (Some(TOKEN), VAULT)]);
        let items = &observation.items;
        assert_eq!((items.failed, items.skipped, items.voided), (1, 1, 1));
        assert_eq!(items.paid_again(), 1, "number 2");
        let call = vec![sent(7, VAULT, 0)];
        read_blocks(&scope(None), &block(call), &HashSet::new(), &mut observation);
        assert!(observation.foreign.is_empty(), "a call of the vault is ours");
        let twice = observation.clone();
        observation.append(twice);
        assert_eq!((observation.items.paid_again(), observation.items.failed), (2, 2));
    }

    #[test]
    fn other_recipients_are_outside_of_a_narrow_scope() {
        let narrow = scope(Some(HashSet::from([ALICE])));
        let mut observation = Observation::default();
        let other = Address::repeat_byte(2);
        read_logs(
            &narrow,
            TOKEN,
            &[log(WALLET, ALICE, 1), log(WALLET, other, 2)],
            &mut observation,
        );
        let transactions = vec![sent(3, ALICE, 8), sent(4, other, 8), sent(5, TOKEN, 0)];
        read_blocks(&narrow, &block(transactions), &HashSet::new(), &mut observation);
        assert!(observation.payments.iter().all(|payment| payment.to == ALICE));
        assert_eq!(observation.payments.len(), 2);
        assert!(observation.foreign.is_empty());
    }
}

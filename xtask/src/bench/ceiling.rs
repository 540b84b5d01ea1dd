//! The ceiling: how much of the same kind the same chain takes when everything was signed beforehand and only has to
//! be sent. Calldata, token, payments of a transaction and freshness of recipients are those of the run that it is
//! compared with; wallets are as many, and nothing else works on the machine.

use std::collections::BTreeSet;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result, ensure};
use k256::ecdsa::SigningKey;

use super::feed::recipient;
use super::machine::number;
use super::pace::{Count, Pace, Steady};
use super::stage::Stage;
use crate::testbed::{self, Payers};
use crate::vault::{self, Item, payCall};

/// Full blocks that are sent; the first and the last of them do not count.
const BLOCKS: usize = 10;
/// Blocks that are sent ahead of the chain.
const BLOCKS_AHEAD: usize = 3;
/// Transactions of one JSON-RPC batch.
const SENT_AT_ONCE: usize = 100;
/// What a block holds.
const BLOCK_GAS: u64 = 60_000_000;
const CHAIN_ID: u64 = 31_337;
const TIP_WEI: u128 = 1_000_000_000;
const MAX_FEE_WEI: u128 = 100_000_000_000;
/// Payout numbers of an epoch that no engine gets to.
const EPOCH: u64 = u64::MAX / 2;

sol! {
    function transfer(address to, uint256 amount) external returns (bool);
}

/// What the transactions are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// In which token.
    pub(super) token: Address,
    /// How much each payment is.
    pub(super) units: U256,
    /// Payments of a transaction; only a vault makes more than one.
    pub(super) items: usize,
    /// How many wallets send.
    pub(super) wallets: u16,
}

/// What the chain took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    /// Blocks between the first and the last.
    pub(super) steady: Steady,
}

struct Wallet {
    key: SigningKey,
    address: Address,
    nonce: u64,
}

/// Signs, sends and measures.
///
/// # Errors
/// The node fails, or a payment did.
pub(super) async fn measure(stage: &Stage, kind: &Kind) -> Result<Ceiling> {
    let rpc = &stage.chain.rpc;
    let mut wallets: Vec<Wallet> = (0..kind.wallets).map(wallet).collect();
    let vault = stage.payers.vault;
    let addresses: Vec<Address> = wallets.iter().map(|wallet| wallet.address).collect();
    testbed::fund(&stage.chain, &Payers { wallets: addresses.clone(), vault }).await?;
    if let Some(vault) = vault {
        vault::set_operators(rpc, vault, &addresses).await?;
    }
    let first = addresses.first().context("a wallet is needed")?;
    let to = vault.unwrap_or(kind.token);
    let gas = rpc.estimate_gas(*first, to, &calldata(kind, vault, 0)).await?;
    // A little more: a page of numbers that begins in the middle of a call costs another word.
    let gas_limit = gas.saturating_add(gas / 20);
    let a_block = usize::try_from(BLOCK_GAS / gas.max(1))?.max(1);
    let count = a_block.saturating_mul(BLOCKS);
    eprintln!("signing {count} transactions of {} payments beforehand ...", kind.items);
    let mut signed = Vec::with_capacity(count);
    for index in 0..count {
        let place = index % wallets.len();
        let wallet = wallets.get_mut(place).context("a place among the wallets")?;
        signed.push(wallet.sign(to, calldata(kind, vault, index), gas_limit)?);
    }
    let pace = Pace::start(rpc.clone(), Count::Transactions).await?;
    let mut counted = pace.counted();
    let mut sent: usize = 0;
    for part in signed.chunks(SENT_AT_ONCE) {
        sent = sent.saturating_add(part.len());
        let ahead = a_block.saturating_mul(BLOCKS_AHEAD).max(part.len());
        let room = counted.wait_for(|mined| sent.saturating_sub(*mined) <= ahead);
        room.await.context("the node does not answer any more")?;
        rpc.send_raw_all(part).await?;
    }
    pace.wait_for(count, "transactions that were signed beforehand are mined").await?;
    let seen = pace.seen();
    let senders: BTreeSet<Address> =
        vault.map_or_else(|| addresses.iter().copied().collect(), |it| [it].into());
    let full: Vec<u64> =
        seen.iter().filter(|it| it.outline.transactions > 0).map(|it| it.outline.number).collect();
    let (Some(&begun), Some(&ended)) = (full.first(), full.last()) else {
        anyhow::bail!("no block has a transaction");
    };
    let logs = rpc.transfer_logs(kind.token, begun, ended).await?;
    let paid = logs.iter().filter(|log| senders.contains(&log.from)).count();
    let wanted = count.saturating_mul(kind.items);
    ensure!(paid == wanted, "{paid} of {wanted} payments that were signed beforehand were made");
    let steady = Steady::between(&seen, (begun, ended), |block| {
        block.transactions.saturating_mul(kind.items)
    })?;
    Ok(Ceiling { steady })
}

impl Ceiling {
    /// How near another run came, by gas of a block.
    pub(super) fn ratio(&self, run: &Steady) -> f64 {
        run.gas_per_block / self.steady.gas_per_block.max(number(1))
    }
}

fn wallet(index: u16) -> Wallet {
    let bytes = keccak256(format!("portcullis bench wallet {index}"));
    let key = SigningKey::from_slice(bytes.as_slice())
        .expect("a hash lies outside the group order with a probability of 2^-127");
    Wallet { address: Address::from_public_key(key.verifying_key()), key, nonce: 0 }
}

impl Wallet {
    fn sign(&mut self, to: Address, input: Bytes, gas_limit: u64) -> Result<Bytes> {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit,
            max_fee_per_gas: MAX_FEE_WEI,
            max_priority_fee_per_gas: TIP_WEI,
            to: TxKind::Call(to),
            value: U256::ZERO,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input,
        };
        let digest = transaction.signature_hash();
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_slice())?;
        let signature = Signature::from((signature, recovery));
        self.nonce = self.nonce.saturating_add(1);
        Ok(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into())
    }
}

/// The calldata of one transaction; numbers of a vault are neighbours, as an engine's are.
fn calldata(kind: &Kind, vault: Option<Address>, index: usize) -> Bytes {
    let first = index.saturating_mul(kind.items);
    let recipients = (first..first.saturating_add(kind.items))
        .map(|place| (place, recipient(&format!("ceiling-{place}"))));
    if vault.is_none() {
        let to = recipients.map(|(_, to)| to).next().unwrap_or_default();
        return transferCall { to, amount: kind.units }.abi_encode().into();
    }
    let items = recipients
        .map(|(place, to)| Item {
            number: (U256::from(EPOCH) << 64) | U256::from(place),
            r#ref: keccak256(to),
            token: kind.token,
            to,
            amount: kind.units,
        })
        .collect();
    payCall { items }.abi_encode().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        token: Address::repeat_byte(7),
        units: U256::from_limbs([5, 0, 0, 0]),
        items: 3,
        wallets: 2,
    };

    #[test]
    fn every_payment_has_its_own_recipient_and_number() {
        let vault = Some(Address::repeat_byte(9));
        let read = |index| payCall::abi_decode(&calldata(&KIND, vault, index)).unwrap().items;
        let items: Vec<Item> = [read(0), read(1)].concat();
        let numbers: BTreeSet<U256> = items.iter().map(|item| item.number).collect();
        let recipients: BTreeSet<Address> = items.iter().map(|item| item.to).collect();
        assert_eq!((items.len(), numbers.len(), recipients.len()), (6, 6, 6));
        let single = Kind { items: 1, ..KIND };
        let call = transferCall::abi_decode(&calldata(&single, None, 4)).unwrap();
        assert_eq!((call.to, call.amount), (recipient("ceiling-4"), KIND.units));
    }

    #[test]
    fn a_wallet_signs_with_its_next_nonce() {
        let mut wallet = wallet(3);
        let first = wallet.sign(KIND.token, Bytes::new(), 21_000).unwrap();
        let second = wallet.sign(KIND.token, Bytes::new(), 21_000).unwrap();
        assert_ne!(first, second);
        assert_eq!(wallet.nonce, 2);
    }
}

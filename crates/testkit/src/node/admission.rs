//! The gate of the pool: what is wrong with a transaction, in bor's own words.

use std::fmt;

use alloy_consensus::{Transaction as _, TxEnvelope, TxType, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{B256, U256};
use thiserror::Error;

use super::block::SignedTransaction;
use super::config::PoolRules;

/// The largest transaction that a pool takes, in bytes (`txMaxSize`).
const SIZE_MAX: usize = 128 * 1024;
/// The largest init code (EIP-3860).
const INIT_CODE_MAX: usize = 49_152;
/// Wei of a hundredth of a coin, in which the fee cap's message counts.
const WEI_PER_HUNDREDTH: u128 = 10_000_000_000_000_000;

/// Why `eth_sendRawTransaction` refuses. The messages are those of geth and bor
/// (`core/error.go`, `core/txpool/errors.go`, `core/txpool/validation.go`, `internal/ethapi/api.go`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say what each variant and field is")]
pub enum PoolError {
    #[error("rlp: {reason}")]
    Undecodable { reason: String },
    #[error(
        "tx fee ({} ether) exceeds the configured cap ({} ether)",
        coins(fee_wei),
        coins(cap_wei)
    )]
    FeeCapExceeded { fee_wei: U256, cap_wei: U256 },
    #[error("only replay-protected (EIP-155) transactions allowed over RPC")]
    Unprotected,
    #[error("already known")]
    AlreadyKnown,
    #[error("transaction type not supported: tx type {tx_type} not supported by this pool")]
    TypeNotSupported { tx_type: u8 },
    #[error("oversized data: transaction size {size}, limit {SIZE_MAX}")]
    Oversized { size: usize },
    #[error("max initcode size exceeded: code size {size}, limit {INIT_CODE_MAX}")]
    InitCodeTooLarge { size: usize },
    #[error("transaction gas limit too high (cap: {cap}, tx: {gas})")]
    GasLimitTooHigh { cap: u64, gas: u64 },
    #[error("exceeds block gas limit")]
    ExceedsBlockGasLimit,
    #[error("max priority fee per gas higher than max fee per gas")]
    TipAboveFeeCap,
    #[error("invalid sender: invalid chain id for signer: have {have} want {want}")]
    WrongChainId { have: u64, want: u64 },
    #[error("invalid sender: invalid transaction v, r, s values")]
    InvalidSignature,
    #[error("nonce has max value")]
    NonceMax,
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas { gas: u64, needed: u64 },
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorDataGas { gas: u64, needed: u64 },
    #[error(
        "transaction gas price below minimum: gas tip cap {tip_wei}, minimum needed {needed_wei}"
    )]
    TipTooLow { tip_wei: u128, needed_wei: u128 },
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { next: u64, nonce: u64 },
    #[error("insufficient funds for gas * price + value: {0}")]
    InsufficientFunds(Box<Shortfall>),
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    #[error("transaction underpriced")]
    Underpriced,
    #[error("txpool is full")]
    PoolFull,
    #[error("account limit exceeded: pooled {pooled} txs")]
    AccountLimitExceeded { pooled: usize },
}

/// What an account lacks, in wei.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What it has.
    pub balance: U256,
    /// What all its executable transactions may take, where those are what makes it too little.
    pub queued: Option<U256>,
    /// What this transaction may take, or by how much more than the one that it would replace.
    pub cost: U256,
    /// Whether it would replace one.
    pub bumps: bool,
    /// What is missing.
    pub overshot: U256,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "balance {}, ", self.balance)?;
        if let Some(queued) = self.queued {
            write!(formatter, "queued cost {queued}, ")?;
        }
        let what = if self.bumps { "bumped" } else { "cost" };
        write!(formatter, "tx {what} {}, overshot {}", self.cost, self.overshot)
    }
}

/// Wei as geth's `%.2f` of coins shows them.
fn coins(wei: &U256) -> String {
    let hundredths =
        wei.saturating_add(U256::from(WEI_PER_HUNDREDTH / 2)) / U256::from(WEI_PER_HUNDREDTH);
    let (whole, rest) = hundredths.div_rem(U256::from(100));
    format!("{whole}.{rest:0>2}")
}

/// What a node knows about the chain when it looks at a transaction.
#[derive(Clone, Copy)]
pub(crate) struct Admission<'a> {
    pub(crate) rules: &'a PoolRules,
    pub(crate) chain_id: u64,
    pub(crate) block_gas_limit: u64,
}

impl Admission<'_> {
    /// Decodes raw bytes and checks all that needs no state. `known` says whether the pool has the hash.
    pub(crate) fn check(
        &self,
        raw: &[u8],
        known: impl FnOnce(B256) -> bool,
    ) -> Result<SignedTransaction, PoolError> {
        let envelope = TxEnvelope::decode_2718_exact(raw)
            .map_err(|error| PoolError::Undecodable { reason: error.to_string() })?;
        self.check_at_the_api(&envelope)?;
        if known(*envelope.tx_hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        self.check_limits(&envelope, raw.len())?;
        if let Some(have) = envelope.chain_id().filter(|have| *have != self.chain_id) {
            return Err(PoolError::WrongChainId { have, want: self.chain_id });
        }
        let sender = envelope.recover_signer().map_err(|_| PoolError::InvalidSignature)?;
        if envelope.nonce() == u64::MAX {
            return Err(PoolError::NonceMax);
        }
        self.check_gas_and_tip(&envelope)?;
        Ok(SignedTransaction { envelope, sender })
    }

    /// `ethapi.SubmitTransaction`, before the pool sees it.
    fn check_at_the_api(&self, envelope: &TxEnvelope) -> Result<(), PoolError> {
        let fee_wei =
            U256::from(envelope.max_fee_per_gas()).saturating_mul(U256::from(envelope.gas_limit()));
        if let Some(cap_wei) = self.rules.rpc_fee_cap_wei.filter(|cap| fee_wei > *cap) {
            return Err(PoolError::FeeCapExceeded { fee_wei, cap_wei });
        }
        if envelope.chain_id().is_none() { Err(PoolError::Unprotected) } else { Ok(()) }
    }

    fn check_limits(&self, envelope: &TxEnvelope, size: usize) -> Result<(), PoolError> {
        let tx_type = envelope.tx_type();
        if !matches!(tx_type, TxType::Legacy | TxType::Eip2930 | TxType::Eip1559) {
            return Err(PoolError::TypeNotSupported { tx_type: tx_type as u8 });
        }
        if size > SIZE_MAX {
            return Err(PoolError::Oversized { size });
        }
        if envelope.is_create() && envelope.input().len() > INIT_CODE_MAX {
            return Err(PoolError::InitCodeTooLarge { size: envelope.input().len() });
        }
        let gas = envelope.gas_limit();
        if gas > self.rules.tx_gas_cap {
            return Err(PoolError::GasLimitTooHigh { cap: self.rules.tx_gas_cap, gas });
        }
        if gas > self.block_gas_limit {
            return Err(PoolError::ExceedsBlockGasLimit);
        }
        if envelope.max_fee_per_gas() < envelope.priority_fee_or_price() {
            return Err(PoolError::TipAboveFeeCap);
        }
        Ok(())
    }

    fn check_gas_and_tip(&self, envelope: &TxEnvelope) -> Result<(), PoolError> {
        let gas = envelope.gas_limit();
        let (intrinsic, floor) = minimum_gas(envelope);
        if gas < intrinsic {
            return Err(PoolError::IntrinsicGas { gas, needed: intrinsic });
        }
        if gas < floor {
            return Err(PoolError::FloorDataGas { gas, needed: floor });
        }
        let (tip_wei, needed_wei) = (envelope.priority_fee_or_price(), self.rules.min_tip_wei);
        if tip_wei < needed_wei {
            return Err(PoolError::TipTooLow { tip_wei, needed_wei });
        }
        Ok(())
    }
}

/// Gas before the first instruction (EIP-2028, EIP-2930, EIP-3860), and the floor of EIP-7623.
fn minimum_gas(envelope: &TxEnvelope) -> (u64, u64) {
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    let bytes = count(envelope.input().len());
    let others: u64 = envelope.input().iter().map(|byte| u64::from(*byte != 0)).sum();
    let zeros = bytes - others;
    let mut gas = 21_000 + 4 * zeros + 16 * others;
    if envelope.is_create() {
        gas += 32_000 + 2 * bytes.div_ceil(32);
    }
    if let Some(list) = envelope.access_list() {
        let keys: usize = list.iter().map(|item| item.storage_keys.len()).sum();
        gas += 2_400 * count(list.len()) + 1_900 * count(keys);
    }
    (gas, 21_000 + 10 * (zeros + 4 * others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fee_cap_speaks_as_geth_does() {
        let wei = |hundredths: u64| U256::from(hundredths) * U256::from(WEI_PER_HUNDREDTH);
        let error = PoolError::FeeCapExceeded { fee_wei: wei(110), cap_wei: wei(100) };
        assert_eq!(
            error.to_string(),
            "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)"
        );
        let half = wei(1) / U256::from(2);
        assert_eq!(coins(&(wei(105) + half)), "1.06");
        assert_eq!(coins(&(wei(105) + half - U256::ONE)), "1.05");
    }
}

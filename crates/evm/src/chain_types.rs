//! What is read from a chain, in the shapes that the engine works with.

use std::ops::RangeInclusive;

use alloy_primitives::{Address, B256, Bytes, Keccak256, Log, U64, U256};
use portcullis_core::slot::Payload;
use portcullis_core::withdrawal::BlockRef;
use serde_json::{Value, json};
use thiserror::Error;

use crate::failure::ReadError;

/// A block's header, as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBlock {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the block below.
    pub parent_hash: B256,
    /// Milliseconds since the Unix epoch; chains keep seconds.
    pub timestamp_ms: i64,
    /// Base fee in wei per gas; zero where the chain has none.
    pub base_fee_wei: u128,
    /// Gas that a block may use.
    pub gas_limit: u64,
}

impl HeadBlock {
    /// Whether both are the same block, told alike. Fees and limits are not compared: nothing is decided by them.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.reference() == other.reference()
            && self.parent_hash == other.parent_hash
            && self.timestamp_ms == other.timestamp_ms
    }

    /// Number and hash.
    #[must_use]
    pub const fn reference(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

/// At which block a state is read. `pending` is left out: nothing may be decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The node's newest block.
    Latest,
    /// This height. Beyond about 128 blocks back only archive nodes answer.
    Number(u64),
    /// What the node calls final. On Polygon that has been wrong: see the chain's `FinalitySource`.
    Finalized,
}

impl BlockTag {
    pub(crate) fn to_json(self) -> Value {
        match self {
            Self::Latest => json!("latest"),
            Self::Number(number) => quantity(number),
            Self::Finalized => json!("finalized"),
        }
    }
}

/// A mined transaction's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub hash: B256,
    /// The block that includes it.
    pub block: BlockRef,
    /// Whether it ran to its end. A failed one consumed its nonce and its gas, and paid nothing.
    pub succeeded: bool,
    /// Gas used.
    pub gas_used: u64,
    /// What a unit of gas cost, in wei.
    pub effective_gas_price_wei: u128,
    /// The sender.
    pub from: Address,
    /// The account or contract; `None` for a creation.
    pub to: Option<Address>,
    /// Its logs in order. On Polygon there are more than the contracts emit (fee logs of 0x…1010).
    pub logs: Vec<Log>,
}

impl Receipt {
    /// A digest of the logs in their order: who emitted what. Two receipts with the same one prove the same.
    #[must_use]
    pub fn logs_hash(&self) -> B256 {
        let mut hasher = Keccak256::new();
        for log in &self.logs {
            hasher.update(log.address);
            // Lengths first, so that no two lists of logs run into the same bytes.
            for length in [log.topics().len(), log.data.data.len()] {
                hasher.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            }
            for topic in log.topics() {
                hasher.update(topic);
            }
            hasher.update(&log.data.data);
        }
        hasher.finalize()
    }

    /// Whether both prove the same: the same block, the same end, the same logs.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.block == other.block
            && self.succeeded == other.succeeded
            && self.logs_hash() == other.logs_hash()
    }
}

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedTransaction {
    /// Its hash.
    pub hash: B256,
    /// The sender. Zero for a chain's own transactions (Polygon's state sync, type 0x7f).
    pub from: Address,
    /// The nonce that it consumed.
    pub nonce: u64,
    /// The account or contract; `None` for a creation.
    pub to: Option<Address>,
    /// Wei that travelled with it.
    pub value: U256,
    /// Calldata.
    pub input: Bytes,
    /// Its EIP-2718 type.
    pub transaction_type: u64,
    /// Whether it ran to its end; `None` where no receipt was read.
    pub succeeded: Option<bool>,
}

impl MinedTransaction {
    /// What it does; `None` for a creation, which is never one of ours.
    #[must_use]
    pub fn payload(&self) -> Option<Payload> {
        self.to.map(|to| Payload { to, value: self.value, input: self.input.clone() })
    }
}

/// A block with its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedBlock {
    /// Its header.
    pub header: HeadBlock,
    /// Its transactions in order.
    pub transactions: Vec<MinedTransaction>,
}

/// A transaction that the node knows by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTransaction {
    /// The transaction.
    pub transaction: MinedTransaction,
    /// Where it was mined; `None` while it waits in the pool.
    pub block: Option<BlockRef>,
}

/// Where a nonce was consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedNonce {
    /// The block.
    pub block: BlockRef,
    /// The sender's transaction of that nonce. `None` when the block has none: an EIP-7702 authorization or a
    /// creation by delegated code raised the nonce. That is never ours.
    pub transaction: Option<MinedTransaction>,
}

impl ConsumedNonce {
    /// Whether both name the same transaction with the same contents in the same block. Whether it ran to its
    /// end is not compared: that is the receipt's matter.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let contents = |consumed: &Self| {
            consumed.transaction.clone().map(|mined| MinedTransaction { succeeded: None, ..mined })
        };
        self.block == other.block && contents(self) == contents(other)
    }
}

/// A log with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinedLog {
    /// The block.
    pub block: BlockRef,
    /// The transaction.
    pub transaction_hash: B256,
    /// Its index in the block.
    pub log_index: u64,
    /// The log.
    pub log: Log,
}

/// Which logs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Emitting contracts; empty for any.
    pub addresses: Vec<Address>,
    /// Per topic position the accepted values; an empty position accepts any.
    pub topics: Vec<Vec<B256>>,
    /// The blocks.
    pub blocks: RangeInclusive<u64>,
}

/// A call that is simulated, never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// Who would call.
    pub from: Address,
    /// Whom.
    pub to: Address,
    /// With how much wei.
    pub value: U256,
    /// And which calldata.
    pub input: Bytes,
    /// With how much gas at most; as much as the node grants where it is not said.
    pub gas: Option<u64>,
}

impl CallRequest {
    /// The simulation of a payload by `from`.
    #[must_use]
    pub fn of_payload(from: Address, payload: &Payload) -> Self {
        Self { from, to: payload.to, value: payload.value, input: payload.input.clone(), gas: None }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut call = json!({
            "from": self.from,
            "to": self.to,
            "value": self.value,
            "input": self.input,
        });
        if let Some(gas) = self.gas {
            call["gas"] = json!(U64::from(gas));
        }
        call
    }
}

/// Why a simulated call has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EstimateError {
    /// The execution fails. It would fail on chain too, in the state that the node sees.
    #[error("the call reverts{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Reverted {
        /// The contract's reason where it can be decoded, else the node's words or a selector.
        reason: Option<String>,
        /// The selector of the error, where the node shows what the contract returned.
        selector: Option<[u8; 4]>,
    },
    /// The caller cannot pay for it.
    #[error("the caller has insufficient funds for the call")]
    InsufficientFunds,
    /// It needs more gas than the node grants or the caller can pay for.
    #[error("the call needs more gas than the node grants: {0}")]
    OutOfGas(String),
    /// Nothing is known.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A JSON-RPC quantity.
pub(crate) fn quantity(number: u64) -> Value {
    Value::String(format!("{number:#x}"))
}

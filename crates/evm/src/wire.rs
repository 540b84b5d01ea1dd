//! What nodes write. Own structs and not those of a network type: a block of Polygon carries transactions of
//! type 0x7f (PIP-74) that a strict decoder refuses, and one unknown transaction must not hide a block.

use alloy_primitives::{Address, B256, Bytes, Log, U64, U128, U256};
use portcullis_core::withdrawal::BlockRef;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::chain_types::{
    HeadBlock, KnownTransaction, MinedBlock, MinedLog, MinedTransaction, Receipt,
};
use crate::failure::{RpcFailure, shorten};

/// The highest transaction type whose form is known: EIP-7702.
const KNOWN_TYPE_MAX: u64 = 4;

/// Reads an answer.
pub(crate) fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<T, RpcFailure> {
    serde_json::from_str(raw.get())
        .map_err(|error| malformed(format!("{error} in {}", shorten(raw.get()))))
}

/// Reads a quantity below 2^64.
pub(crate) fn decode_u64(raw: &RawValue) -> Result<u64, RpcFailure> {
    decode::<U64>(raw).map(|number| number.to())
}

pub(crate) fn malformed(text: impl Into<String>) -> RpcFailure {
    RpcFailure::Malformed(text.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WireHeader {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U128>,
    gas_limit: U64,
}

impl WireHeader {
    pub(crate) fn into_head(self) -> Result<HeadBlock, RpcFailure> {
        let timestamp_ms = i64::try_from(self.timestamp.to::<u64>())
            .ok()
            .and_then(|seconds| seconds.checked_mul(1_000))
            .ok_or_else(|| malformed(format!("block time {} is out of range", self.timestamp)))?;
        Ok(HeadBlock {
            number: self.number.to(),
            hash: self.hash,
            parent_hash: self.parent_hash,
            timestamp_ms,
            base_fee_wei: self.base_fee_per_gas.unwrap_or_default().to(),
            gas_limit: self.gas_limit.to(),
        })
    }
}

/// A header asked for by its number; `None` where the node has none.
pub(crate) fn decode_header(number: u64, raw: &RawValue) -> Result<Option<HeadBlock>, RpcFailure> {
    let Some(header) = decode::<Option<WireHeader>>(raw)? else { return Ok(None) };
    let header = header.into_head()?;
    expect_number(number, header.number)?;
    Ok(Some(header))
}

fn expect_number(asked: u64, answered: u64) -> Result<(), RpcFailure> {
    if asked == answered {
        return Ok(());
    }
    Err(malformed(format!("block {answered} instead of block {asked}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlock {
    #[serde(flatten)]
    header: WireHeader,
    transactions: Vec<WireTransaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTransaction {
    hash: B256,
    #[serde(rename = "type")]
    transaction_type: Option<U64>,
    from: Option<Address>,
    nonce: Option<U64>,
    to: Option<Address>,
    value: Option<U256>,
    #[serde(alias = "data")]
    input: Option<Bytes>,
    block_hash: Option<B256>,
    block_number: Option<U64>,
}

impl WireTransaction {
    fn into_mined(self) -> Result<MinedTransaction, RpcFailure> {
        let transaction_type = self.transaction_type.unwrap_or_default().to();
        let incomplete = self.from.is_none() || self.nonce.is_none() || self.value.is_none();
        // A form that is known has to be whole: a transaction without a sender would hide who consumed a nonce.
        if transaction_type <= KNOWN_TYPE_MAX && incomplete {
            return Err(malformed(format!("transaction {} lacks its fields", self.hash)));
        }
        Ok(MinedTransaction {
            hash: self.hash,
            from: self.from.unwrap_or_default(),
            nonce: self.nonce.unwrap_or_default().to(),
            to: self.to,
            value: self.value.unwrap_or_default(),
            input: self.input.unwrap_or_default(),
            transaction_type,
            succeeded: None,
        })
    }

    fn block(&self) -> Option<BlockRef> {
        let number = self.block_number?.to();
        self.block_hash.map(|hash| BlockRef { number, hash })
    }
}

/// A block with transactions, asked for by its number.
pub(crate) fn decode_block(number: u64, raw: &RawValue) -> Result<Option<MinedBlock>, RpcFailure> {
    let Some(block) = decode::<Option<WireBlock>>(raw)? else { return Ok(None) };
    let header = block.header.into_head()?;
    expect_number(number, header.number)?;
    let transactions = block
        .transactions
        .into_iter()
        .map(WireTransaction::into_mined)
        .collect::<Result<_, _>>()?;
    Ok(Some(MinedBlock { header, transactions }))
}

/// A transaction asked for by its hash.
pub(crate) fn decode_transaction(
    hash: B256,
    raw: &RawValue,
) -> Result<Option<KnownTransaction>, RpcFailure> {
    let Some(transaction) = decode::<Option<WireTransaction>>(raw)? else { return Ok(None) };
    expect_hash(hash, transaction.hash)?;
    let block = transaction.block();
    Ok(Some(KnownTransaction { transaction: transaction.into_mined()?, block }))
}

fn expect_hash(asked: B256, answered: B256) -> Result<(), RpcFailure> {
    if asked == answered {
        return Ok(());
    }
    Err(malformed(format!("transaction {answered} instead of transaction {asked}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt {
    transaction_hash: B256,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    status: Option<U64>,
    gas_used: U64,
    effective_gas_price: U128,
    from: Address,
    to: Option<Address>,
    logs: Vec<WireLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_hash: Option<B256>,
    block_number: Option<U64>,
    transaction_hash: Option<B256>,
    log_index: Option<U64>,
    #[serde(default)]
    removed: bool,
}

impl WireLog {
    fn into_log(self) -> Result<Log, RpcFailure> {
        Log::new(self.address, self.topics, self.data)
            .ok_or_else(|| malformed("a log has more than four topics"))
    }
}

/// A receipt asked for by its transaction. One without a block is that of a transaction still in the pool
/// (some nodes answer so), and as good as none.
pub(crate) fn decode_receipt(hash: B256, raw: &RawValue) -> Result<Option<Receipt>, RpcFailure> {
    let Some(receipt) = decode::<Option<WireReceipt>>(raw)? else { return Ok(None) };
    expect_hash(hash, receipt.transaction_hash)?;
    let (Some(block_hash), Some(number)) = (receipt.block_hash, receipt.block_number) else {
        return Ok(None);
    };
    let succeeded = match receipt.status.map(|status| status.to::<u64>()) {
        Some(1) => true,
        Some(0) => false,
        other => return Err(malformed(format!("receipt of {hash} has the status {other:?}"))),
    };
    Ok(Some(Receipt {
        hash,
        block: BlockRef { number: number.to(), hash: block_hash },
        succeeded,
        gas_used: receipt.gas_used.to(),
        effective_gas_price_wei: receipt.effective_gas_price.to(),
        from: receipt.from,
        to: receipt.to,
        logs: receipt.logs.into_iter().map(WireLog::into_log).collect::<Result<_, _>>()?,
    }))
}

/// The logs of a range. Those that a reorg removed, and those of the pending block, are left out.
pub(crate) fn decode_logs(raw: &RawValue) -> Result<Vec<MinedLog>, RpcFailure> {
    let logs = decode::<Vec<WireLog>>(raw)?;
    let mined = logs.into_iter().filter(|log| !log.removed).filter_map(|log| {
        let block = BlockRef { number: log.block_number?.to(), hash: log.block_hash? };
        let (transaction_hash, log_index) = (log.transaction_hash?, log.log_index?.to());
        Some(log.into_log().map(|log| MinedLog { block, transaction_hash, log_index, log }))
    });
    mined.collect()
}

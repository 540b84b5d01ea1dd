//! What a chain says: balances, logs, blocks and receipts.

use std::collections::HashMap;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_sol_types::{SolCall, SolEvent, sol};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::rpc::{Request, Rpc};

/// Blocks of one `eth_getLogs`.
pub(super) const LOG_RANGE: u64 = 500;
/// Full blocks of one batch: their receipts make large answers.
const BLOCKS_PER_BATCH: u64 = 8;
const RECEIPT_POLL: Duration = Duration::from_millis(25);

sol! {
    event Transfer(address indexed from, address indexed to, uint256 value);
    function balanceOf(address holder) external view returns (uint256);
}

/// One ERC-20 `Transfer`, as the chain tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferLog {
    /// Number of the block.
    pub block: u64,
    /// Place among the logs of the block.
    pub log_index: u64,
    /// Hash of the transaction.
    pub tx: B256,
    /// Who paid; the zero address for a mint.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// Atomic units.
    pub value: U256,
}

/// A transaction of a block, with what its receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTransaction {
    /// Its hash.
    pub hash: B256,
    /// Who sent it.
    pub from: Address,
    /// The recipient or contract; `None` creates a contract.
    pub to: Option<Address>,
    /// Native coin, in wei.
    pub value: U256,
    /// The calldata.
    pub input: Bytes,
    /// The sender's nonce.
    pub nonce: u64,
    /// The most that it would have paid per gas, in wei.
    pub max_fee_per_gas: U256,
    /// What it did pay per gas, in wei.
    pub effective_gas_price: U256,
    /// Gas used.
    pub gas_used: u64,
    /// Whether it succeeded; a failed one moved nothing but its fee.
    pub succeeded: bool,
}

/// A block with all of its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it.
    pub parent_hash: B256,
    /// Unix time in seconds.
    pub timestamp_s: u64,
    /// In block order.
    pub transactions: Vec<BlockTransaction>,
}

/// The part of a receipt that the commands use.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Number of its block.
    pub block_number: U64,
    /// 1 for success.
    pub status: U64,
    /// The new contract of a creation.
    pub contract_address: Option<Address>,
    /// Gas used.
    pub gas_used: U64,
    /// What was paid per gas, in wei.
    pub effective_gas_price: U256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireLog {
    pub(super) block_number: U64,
    pub(super) log_index: U64,
    pub(super) transaction_hash: B256,
    pub(super) topics: Vec<B256>,
    pub(super) data: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlock {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    transactions: Vec<WireTransaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTransaction {
    hash: B256,
    from: Address,
    to: Option<Address>,
    value: U256,
    input: Bytes,
    nonce: U64,
    gas_price: Option<U256>,
    max_fee_per_gas: Option<U256>,
}

impl Rpc {
    /// The chain's id.
    pub async fn chain_id(&self) -> Result<u64> {
        Ok(self.call::<U64>("eth_chainId", json!([])).await?.to())
    }

    /// The number of the newest block.
    pub async fn block_number(&self) -> Result<u64> {
        Ok(self.call::<U64>("eth_blockNumber", json!([])).await?.to())
    }

    /// The code at an address; empty where no contract is.
    pub async fn code_at(&self, address: Address) -> Result<Bytes> {
        self.call("eth_getCode", json!([address, "latest"])).await
    }

    /// Native balances in wei, in the order of `addresses`.
    pub async fn native_balances(&self, addresses: &[Address]) -> Result<Vec<U256>> {
        let question =
            |address: &Address| Request::new("eth_getBalance", json!([address, "latest"]));
        self.batch(&addresses.iter().map(question).collect::<Vec<_>>()).await
    }

    /// Numbers of transactions that each address has had mined: its next nonces.
    pub async fn nonces(&self, addresses: &[Address]) -> Result<Vec<u64>> {
        let question =
            |address: &Address| Request::new("eth_getTransactionCount", json!([address, "latest"]));
        let nonces: Vec<U64> =
            self.batch(&addresses.iter().map(question).collect::<Vec<_>>()).await?;
        Ok(nonces.into_iter().map(|nonce| nonce.to()).collect())
    }

    /// Balances of one token in atomic units, in the order of `addresses`.
    pub async fn token_balance_of(
        &self,
        token: Address,
        addresses: &[Address],
    ) -> Result<Vec<U256>> {
        let question = |&holder: &Address| {
            let data = Bytes::from(balanceOfCall { holder }.abi_encode());
            Request::new("eth_call", json!([{ "to": token, "data": data }, "latest"]))
        };
        let words: Vec<Bytes> =
            self.batch(&addresses.iter().map(question).collect::<Vec<_>>()).await?;
        words
            .iter()
            .map(|word| {
                balanceOfCall::abi_decode_returns(word)
                    .with_context(|| format!("{token} is not an ERC-20 token on this chain"))
            })
            .collect()
    }

    /// Every `Transfer` of one token in blocks `from_block..=to_block`, in chain order.
    pub async fn transfer_logs(
        &self,
        token: Address,
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<TransferLog>> {
        let mut transfers = Vec::new();
        for (first, last) in ranges(from_block, to_block, LOG_RANGE) {
            let filter = json!([{
                "address": token,
                "topics": [Transfer::SIGNATURE_HASH],
                "fromBlock": U64::from(first),
                "toBlock": U64::from(last),
            }]);
            let logs: Vec<WireLog> = self.call("eth_getLogs", filter).await?;
            for log in logs {
                transfers.push(log.decode()?);
            }
        }
        transfers.sort_by_key(|transfer| (transfer.block, transfer.log_index));
        Ok(transfers)
    }

    /// Blocks `from_block..=to_block` with their transactions and how each of these ended.
    pub async fn full_blocks(&self, from_block: u64, to_block: u64) -> Result<Vec<FullBlock>> {
        let mut blocks = Vec::new();
        for (first, last) in ranges(from_block, to_block, BLOCKS_PER_BATCH) {
            let mut requests = Vec::new();
            for number in first..=last {
                let number = U64::from(number);
                requests.push(Request::new("eth_getBlockByNumber", json!([number, true])));
                requests.push(Request::new("eth_getBlockReceipts", json!([number])));
            }
            let mut answers = self.batch::<Value>(&requests).await?.into_iter();
            while let (Some(block), Some(receipts)) = (answers.next(), answers.next()) {
                let block = Option::<WireBlock>::deserialize(block)?
                    .context("the node has no block of a number that it has named itself")?;
                let receipts = Option::<Vec<Receipt>>::deserialize(receipts)?;
                blocks.push(block.join(receipts.unwrap_or_default())?);
            }
        }
        Ok(blocks)
    }

    /// Waits until every transaction is mined; the receipts come in the order of `hashes`.
    ///
    /// # Errors
    /// One of them is not mined after `limit`, or the node fails.
    pub async fn wait_for_receipts(
        &self,
        hashes: &[B256],
        limit: Duration,
    ) -> Result<Vec<Receipt>> {
        let mut receipts: HashMap<B256, Receipt> = HashMap::new();
        let all_mined = async {
            loop {
                let missing: Vec<Request> = hashes
                    .iter()
                    .filter(|hash| !receipts.contains_key(*hash))
                    .map(|hash| Request::new("eth_getTransactionReceipt", json!([hash])))
                    .collect();
                if missing.is_empty() {
                    return anyhow::Ok(());
                }
                let found: Vec<Option<Receipt>> = self.batch(&missing).await?;
                let before = receipts.len();
                for receipt in found.into_iter().flatten() {
                    receipts.insert(receipt.transaction_hash, receipt);
                }
                if receipts.len() == before {
                    sleep(RECEIPT_POLL).await;
                }
            }
        };
        let outcome = timeout(limit, all_mined).await;
        let mined = receipts.len();
        outcome.with_context(|| {
            format!("after {limit:?} only {mined} of {} transactions are mined", hashes.len())
        })??;
        let in_order = hashes.iter().map(|hash| receipts.get(hash).cloned());
        in_order.collect::<Option<Vec<_>>>().context("the node gave the receipt of another hash")
    }
}

impl Receipt {
    /// Whether the transaction succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == U64::ONE
    }
}

impl WireLog {
    fn decode(self) -> Result<TransferLog> {
        let tx = self.transaction_hash;
        let event = Transfer::decode_raw_log_validate(self.topics, &self.data)
            .with_context(|| format!("a Transfer log of {tx} is not that of an ERC-20 token"))?;
        Ok(TransferLog {
            block: self.block_number.to(),
            log_index: self.log_index.to(),
            tx,
            from: event.from,
            to: event.to,
            value: event.value,
        })
    }
}

impl WireBlock {
    /// Puts each receipt to its transaction.
    fn join(self, receipts: Vec<Receipt>) -> Result<FullBlock> {
        let number: u64 = self.number.to();
        ensure!(
            receipts.len() == self.transactions.len(),
            "block {number} has {} transactions and {} receipts",
            self.transactions.len(),
            receipts.len()
        );
        let mut by_hash: HashMap<B256, Receipt> =
            receipts.into_iter().map(|receipt| (receipt.transaction_hash, receipt)).collect();
        let mut transactions = Vec::with_capacity(self.transactions.len());
        for transaction in self.transactions {
            let receipt = by_hash.remove(&transaction.hash).with_context(|| {
                format!("block {number} has no receipt of its {}", transaction.hash)
            })?;
            transactions.push(transaction.join(&receipt));
        }
        Ok(FullBlock {
            number,
            hash: self.hash,
            parent_hash: self.parent_hash,
            timestamp_s: self.timestamp.to(),
            transactions,
        })
    }
}

impl WireTransaction {
    fn join(self, receipt: &Receipt) -> BlockTransaction {
        let paid = receipt.effective_gas_price;
        BlockTransaction {
            hash: self.hash,
            from: self.from,
            to: self.to,
            value: self.value,
            input: self.input,
            nonce: self.nonce.to(),
            max_fee_per_gas: self.max_fee_per_gas.or(self.gas_price).unwrap_or(paid),
            effective_gas_price: paid,
            gas_used: receipt.gas_used.to(),
            succeeded: receipt.succeeded(),
        }
    }
}

/// Cuts `first..=last` into ranges of at most `size` blocks, both ends included.
pub(super) fn ranges(first: u64, last: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut next = (first <= last).then_some(first);
    std::iter::from_fn(move || {
        let start = next?;
        let end = start.saturating_add(size.saturating_sub(1)).min(last);
        next = end.checked_add(1).filter(|&after| after <= last);
        Some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(first: u64, last: u64, size: u64) -> Vec<(u64, u64)> {
        ranges(first, last, size).collect()
    }

    #[test]
    fn ranges_cover_each_block_once() {
        assert_eq!(cut(0, 9, 4), [(0, 3), (4, 7), (8, 9)]);
        assert_eq!(cut(5, 5, 4), [(5, 5)]);
        assert_eq!(cut(1, 8, 4), [(1, 4), (5, 8)]);
        assert_eq!(cut(6, 5, 4), []);
        assert_eq!(cut(u64::MAX - 1, u64::MAX, 1).len(), 2);
    }

    fn wire_block(transactions: &Value) -> WireBlock {
        serde_json::from_value(json!({
            "number": "0x2", "hash": B256::repeat_byte(2), "parentHash": B256::repeat_byte(1),
            "timestamp": "0x64", "transactions": transactions,
        }))
        .unwrap()
    }

    fn receipt(hash: B256, status: &str) -> Receipt {
        serde_json::from_value(json!({
            "transactionHash": hash, "blockNumber": "0x2", "status": status,
            "contractAddress": null, "gasUsed": "0x5208", "effectiveGasPrice": "0x7",
        }))
        .unwrap()
    }

    #[test]
    fn receipts_find_their_transactions_by_hash() {
        let (first, second) = (B256::repeat_byte(0xa), B256::repeat_byte(0xb));
        let transaction = |hash: B256| {
            json!({
                "hash": hash, "from": Address::ZERO, "to": null, "value": "0x1",
                "input": "0x", "nonce": "0x3", "maxFeePerGas": "0x9",
            })
        };
        let wire = json!([transaction(first), transaction(second)]);
        let block =
            wire_block(&wire).join(vec![receipt(second, "0x0"), receipt(first, "0x1")]).unwrap();
        let outcomes: Vec<(B256, bool)> =
            block.transactions.iter().map(|each| (each.hash, each.succeeded)).collect();
        assert_eq!(outcomes, [(first, true), (second, false)]);
        assert_eq!(block.transactions[0].max_fee_per_gas, U256::from(9));
        assert_eq!(block.transactions[0].effective_gas_price, U256::from(7));

        assert!(wire_block(&wire).join(vec![receipt(first, "0x1")]).is_err());
        let foreign = vec![receipt(first, "0x1"), receipt(B256::ZERO, "0x1")];
        assert!(wire_block(&wire).join(foreign).is_err());
    }

    #[test]
    fn a_log_of_another_event_is_an_error() {
        let log = WireLog {
            block_number: U64::from(1),
            log_index: U64::ZERO,
            transaction_hash: B256::ZERO,
            topics: vec![Transfer::SIGNATURE_HASH, B256::ZERO],
            data: Bytes::new(),
        };
        assert!(log.decode().is_err());
    }
}

//! Transactions and blocks as the node keeps them, and as it shows them to tests.

use std::sync::Arc;

use alloy_consensus::{Transaction as _, TxEnvelope, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction, TransactionReceipt};

/// A decoded transaction and who signed it.
#[derive(Clone, Debug)]
pub(crate) struct SignedTransaction {
    pub(crate) envelope: TxEnvelope,
    pub(crate) sender: Address,
}

impl SignedTransaction {
    pub(crate) fn hash(&self) -> B256 {
        *self.envelope.tx_hash()
    }

    /// The tip cap; of a legacy transaction its gas price, as geth's `GasTipCap` has it.
    pub(crate) fn tip_cap_wei(&self) -> u128 {
        self.envelope.priority_fee_or_price()
    }

    /// The most that the transaction can take from its sender, in wei.
    pub(crate) fn cost_wei(&self) -> U256 {
        let gas = U256::from(self.envelope.max_fee_per_gas())
            .saturating_mul(U256::from(self.envelope.gas_limit()));
        gas.saturating_add(self.envelope.value())
    }

    /// The JSON-RPC form; `mined` is `None` for one in the pool.
    pub(crate) fn to_rpc(&self, mined: Option<(&Header, u64)>) -> Transaction {
        let base_fee = mined.and_then(|(header, _)| header.inner.base_fee_per_gas);
        Transaction {
            inner: Recovered::new_unchecked(self.envelope.clone(), self.sender),
            block_hash: mined.map(|(header, _)| header.hash),
            block_number: mined.map(|(header, _)| header.inner.number),
            transaction_index: mined.map(|(_, index)| index),
            effective_gas_price: Some(self.envelope.effective_gas_price(base_fee)),
            block_timestamp: mined.map(|(header, _)| header.inner.timestamp),
        }
    }
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(crate) struct MinedTransaction {
    pub(crate) transaction: Arc<SignedTransaction>,
    pub(crate) receipt: TransactionReceipt,
}

impl MinedTransaction {
    pub(crate) fn logs(&self) -> &[Log] {
        self.receipt.inner.logs()
    }
}

/// A block of the canonical chain.
#[derive(Clone, Debug)]
pub(crate) struct StoredBlock {
    pub(crate) header: Header,
    pub(crate) transactions: Vec<MinedTransaction>,
}

impl StoredBlock {
    pub(crate) fn summary(&self) -> BlockSummary {
        let header = &self.header.inner;
        BlockSummary {
            number: header.number,
            hash: self.header.hash,
            parent_hash: header.parent_hash,
            timestamp_s: header.timestamp,
            base_fee_wei: header.base_fee_per_gas.unwrap_or(0),
            gas_used: header.gas_used,
            transactions: self.hashes(),
        }
    }

    pub(crate) fn hashes(&self) -> Vec<B256> {
        self.transactions.iter().map(|mined| mined.receipt.transaction_hash).collect()
    }

    /// The JSON-RPC form, with whole transactions or with their hashes.
    pub(crate) fn to_rpc(&self, full: bool) -> Block {
        let transactions = if full {
            let whole = (0_u64..)
                .zip(&self.transactions)
                .map(|(index, mined)| mined.transaction.to_rpc(Some((&self.header, index))));
            BlockTransactions::Full(whole.collect())
        } else {
            BlockTransactions::Hashes(self.hashes())
        };
        Block::new(self.header.clone(), transactions)
    }
}

/// A block, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSummary {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The block before it.
    pub parent_hash: B256,
    /// Seconds since the Unix epoch.
    pub timestamp_s: u64,
    /// Its base fee, in wei per gas.
    pub base_fee_wei: u64,
    /// Gas used by all its transactions.
    pub gas_used: u64,
    /// The hashes of its transactions, in order.
    pub transactions: Vec<B256>,
}

/// A transaction of the canonical chain, as an oracle sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainTransaction {
    /// The block that holds it.
    pub block_number: u64,
    /// Its hash.
    pub hash: B256,
    /// Who signed it.
    pub from: Address,
    /// Its nonce.
    pub nonce: u64,
    /// The recipient; `None` where it created a contract.
    pub to: Option<Address>,
    /// Wei sent along.
    pub value: U256,
    /// Calldata.
    pub input: Bytes,
    /// False where it reverted or ran out of gas.
    pub succeeded: bool,
    /// Gas used.
    pub gas_used: u64,
    /// What a unit of it cost, in wei.
    pub effective_gas_price_wei: u128,
    /// The contract that it created.
    pub created: Option<Address>,
}

impl ChainTransaction {
    pub(crate) fn of(block_number: u64, mined: &MinedTransaction) -> Self {
        let (transaction, receipt) = (&mined.transaction, &mined.receipt);
        Self {
            block_number,
            hash: receipt.transaction_hash,
            from: transaction.sender,
            nonce: transaction.envelope.nonce(),
            to: transaction.envelope.to(),
            value: transaction.envelope.value(),
            input: transaction.envelope.input().clone(),
            succeeded: receipt.inner.status(),
            gas_used: receipt.gas_used,
            effective_gas_price_wei: receipt.effective_gas_price,
            created: receipt.contract_address,
        }
    }
}

/// A Transfer event of the canonical chain, as an oracle sees it. A mint comes from the zero address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLog {
    /// The block that holds it.
    pub block_number: u64,
    /// The transaction that emitted it.
    pub transaction_hash: B256,
    /// Its place in the block.
    pub log_index: u64,
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much, in atomic units.
    pub units: U256,
}

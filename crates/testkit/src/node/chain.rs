//! The canonical chain: blocks, receipts and state, made and unmade.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{
    Eip658Value, Header as ConsensusHeader, Receipt, ReceiptEnvelope, ReceiptWithBloom,
    Transaction as _,
};
use alloy_primitives::{Address, B256, Bloom, Log as PlainLog, keccak256, logs_bloom};
use alloy_rpc_types_eth::{Header, Log, TransactionReceipt};
use portcullis_core::time::Timestamp;
use revm::context::result::{ExecutionResult, Output};

use super::block::{MinedTransaction, SignedTransaction, StoredBlock};
use super::config::{BaseFeeRule, SimConfig};
use super::execute;
use super::pool::{Funds, Pool};
use super::state::{StateAt, WorldState};

/// Who is paid the tips.
const BENEFICIARY: Address = Address::with_last_byte(0xbe);

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) config: SimConfig,
    pub(crate) state: WorldState,
    /// Block `n` is at index `n`.
    pub(crate) blocks: Vec<StoredBlock>,
    index: HashMap<B256, (u64, usize)>,
    pub(crate) next_base_fee_wei: u64,
    /// Counts the reorgs, and goes into every block hash: a block made again is another block.
    salt: u64,
}

/// What one transaction did, before the block around it is known.
struct Executed {
    transaction: Arc<SignedTransaction>,
    result: ExecutionResult,
}

impl Chain {
    pub(crate) fn new(config: SimConfig) -> Self {
        let genesis = ConsensusHeader {
            gas_limit: config.block_gas_limit,
            timestamp: seconds(config.genesis_at),
            base_fee_per_gas: Some(config.base_fee_wei),
            mix_hash: keccak256(config.chain_id.to_be_bytes()),
            ..ConsensusHeader::default()
        };
        let genesis = StoredBlock { header: Header::new(genesis), transactions: Vec::new() };
        Self {
            next_base_fee_wei: config.base_fee_wei,
            config,
            state: WorldState::default(),
            blocks: vec![genesis],
            index: HashMap::new(),
            salt: 0,
        }
    }

    pub(crate) fn head(&self) -> &StoredBlock {
        self.blocks.last().expect("the genesis block is never dropped")
    }

    pub(crate) fn head_number(&self) -> u64 {
        self.head().header.inner.number
    }

    /// When the newest block was made, by its own clock, which counts seconds.
    pub(crate) fn head_at(&self) -> Timestamp {
        let seconds = i64::try_from(self.head().header.inner.timestamp).unwrap_or(i64::MAX);
        Timestamp::from_millis(seconds.saturating_mul(1_000))
    }

    pub(crate) fn block(&self, number: u64) -> Option<&StoredBlock> {
        usize::try_from(number).ok().and_then(|number| self.blocks.get(number))
    }

    pub(crate) fn block_of_hash(&self, hash: B256) -> Option<&StoredBlock> {
        self.blocks.iter().rev().find(|block| block.header.hash == hash)
    }

    /// A mined transaction with its block and its place there.
    pub(crate) fn mined(&self, hash: B256) -> Option<(&StoredBlock, u64, &MinedTransaction)> {
        let (number, index) = *self.index.get(&hash)?;
        let block = self.block(number)?;
        let mined = block.transactions.get(index)?;
        Some((block, u64::try_from(index).unwrap_or(u64::MAX), mined))
    }

    pub(crate) fn state_at(&self, block: u64) -> StateAt<'_> {
        StateAt { state: &self.state, blocks: &self.blocks, block }
    }

    /// What the head says about an account.
    pub(crate) fn funds(&self, address: Address) -> Funds {
        let head = self.head_number();
        Funds { nonce: self.state.nonce(address, head), balance: self.state.balance(address, head) }
    }

    /// Makes a block at `at` (never before its parent) of `first`, in their order, and then of what the
    /// pool holds: highest tip first, each sender's nonces in order.
    pub(crate) fn mine(
        &mut self,
        at: Timestamp,
        first: &[Arc<SignedTransaction>],
        pool: Option<&Pool>,
    ) {
        let mut header = self.header_of_next(at);
        let mut executed = Vec::new();
        for transaction in first {
            self.execute(&mut header, transaction, &mut executed);
        }
        if let Some(pool) = pool {
            self.fill_from(pool, &mut header, &mut executed);
        }
        self.seal(header, executed);
    }

    fn header_of_next(&self, at: Timestamp) -> ConsensusHeader {
        let parent = &self.head().header;
        let number = parent.inner.number + 1;
        let mut salted = Vec::with_capacity(24);
        for part in [self.config.chain_id, number, self.salt] {
            salted.extend_from_slice(&part.to_be_bytes());
        }
        ConsensusHeader {
            parent_hash: parent.hash,
            number,
            beneficiary: BENEFICIARY,
            gas_limit: self.config.block_gas_limit,
            timestamp: seconds(at).max(parent.inner.timestamp),
            base_fee_per_gas: Some(self.next_base_fee_wei),
            mix_hash: keccak256(salted),
            ..ConsensusHeader::default()
        }
    }

    fn fill_from(
        &mut self,
        pool: &Pool,
        header: &mut ConsensusHeader,
        executed: &mut Vec<Executed>,
    ) {
        let base_fee_wei = header.base_fee_per_gas.unwrap_or(0);
        let mut next: BTreeMap<Address, u64> =
            pool.senders().map(|sender| (sender, self.funds(sender).nonce)).collect();
        let mut done = BTreeSet::new();
        loop {
            // The best of the transactions that stand first in their sender's line; the earlier of equals.
            let best = next
                .iter()
                .filter(|(sender, _)| !done.contains(*sender))
                .filter_map(|(sender, nonce)| pool.at(*sender, *nonce))
                .filter_map(|waiting| {
                    let tip = waiting.transaction.envelope.effective_tip_per_gas(base_fee_wei)?;
                    Some(((tip, std::cmp::Reverse(waiting.arrival)), waiting))
                })
                .max_by_key(|(rank, _)| *rank);
            let Some((_, waiting)) = best else { break };
            let sender = waiting.transaction.sender;
            if self.execute(header, &waiting.transaction, executed) {
                next.entry(sender).and_modify(|nonce| *nonce += 1);
            } else {
                done.insert(sender);
            }
        }
    }

    /// Runs a transaction at the end of the block. False where it does not fit, or the EVM refuses it.
    fn execute(
        &mut self,
        header: &mut ConsensusHeader,
        transaction: &Arc<SignedTransaction>,
        executed: &mut Vec<Executed>,
    ) -> bool {
        if transaction.envelope.gas_limit() > header.gas_limit - header.gas_used {
            return false;
        }
        let outcome = execute::run(
            self.state_at(header.number),
            execute::block_env(header),
            execute::rules(self.config.chain_id, self.config.pool.tx_gas_cap),
            execute::tx_env(transaction),
        );
        let Ok(outcome) = outcome else { return false };
        header.gas_used += outcome.result.tx_gas_used();
        self.state.apply(header.number, outcome.state);
        executed.push(Executed { transaction: transaction.clone(), result: outcome.result });
        true
    }

    /// Closes the block: roots, bloom, hash, and receipts that name them.
    fn seal(&mut self, mut header: ConsensusHeader, executed: Vec<Executed>) {
        let mut cumulative_gas_used = 0;
        let receipts: Vec<ReceiptEnvelope<PlainLog>> = executed
            .iter()
            .map(|done| {
                cumulative_gas_used += done.result.tx_gas_used();
                consensus_receipt(done, cumulative_gas_used)
            })
            .collect();
        let envelopes: Vec<_> =
            executed.iter().map(|done| done.transaction.envelope.clone()).collect();
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = calculate_receipt_root(&receipts);
        header.logs_bloom =
            receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
        self.next_base_fee_wei = self.config.base_fee_rule.next(
            header.base_fee_per_gas.unwrap_or(0),
            header.gas_used,
            header.gas_limit,
        );
        let header = Header::new(header);
        let mut log_index = 0;
        let mut transactions = Vec::with_capacity(executed.len());
        for (index, (done, receipt)) in executed.into_iter().zip(receipts).enumerate() {
            self.index.insert(done.transaction.hash(), (header.inner.number, index));
            let receipt = rpc_receipt(&header, index, &done, receipt, &mut log_index);
            transactions.push(MinedTransaction { transaction: done.transaction, receipt });
        }
        self.blocks.push(StoredBlock { header, transactions });
    }

    /// Drops the last `depth` blocks (never block 0), newest first, and returns them.
    pub(crate) fn rewind(&mut self, depth: u64) -> Vec<StoredBlock> {
        self.salt += 1;
        let mut dropped = Vec::new();
        while u64::try_from(dropped.len()).unwrap_or(u64::MAX) < depth && self.blocks.len() > 1 {
            dropped.extend(self.blocks.pop());
        }
        for mined in dropped.iter().flat_map(|block| &block.transactions) {
            self.index.remove(&mined.receipt.transaction_hash);
        }
        if let Some(oldest) = dropped.last() {
            self.state.rewind(oldest.header.inner.number - 1);
            // A constant base fee is the test's own: a reorg does not take a change of it back.
            if self.config.base_fee_rule != BaseFeeRule::Constant {
                self.next_base_fee_wei = oldest.header.inner.base_fee_per_gas.unwrap_or(0);
            }
        }
        dropped
    }
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis() / 1_000).unwrap_or(0)
}

fn consensus_receipt(done: &Executed, cumulative_gas_used: u64) -> ReceiptEnvelope<PlainLog> {
    // revm keeps the logs of a reverted frame for tracing; a receipt has none.
    let (succeeded, logs) = match &done.result {
        ExecutionResult::Success { logs, .. } => (true, logs.clone()),
        ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => (false, Vec::new()),
    };
    let bloom = logs_bloom(&logs);
    let receipt = Receipt { status: Eip658Value::Eip658(succeeded), cumulative_gas_used, logs };
    ReceiptEnvelope::from_typed(
        done.transaction.envelope.tx_type(),
        ReceiptWithBloom { receipt, logs_bloom: bloom },
    )
}

fn rpc_receipt(
    header: &Header,
    index: usize,
    done: &Executed,
    receipt: ReceiptEnvelope<PlainLog>,
    log_index: &mut u64,
) -> TransactionReceipt {
    let transaction_hash = done.transaction.hash();
    let transaction_index = u64::try_from(index).ok();
    let contract_address = match &done.result {
        ExecutionResult::Success { output: Output::Create(_, created), .. } => *created,
        _ => None,
    };
    let inner = receipt.map_logs(|log| {
        let place = *log_index;
        *log_index += 1;
        Log {
            inner: log,
            block_hash: Some(header.hash),
            block_number: Some(header.inner.number),
            block_timestamp: Some(header.inner.timestamp),
            transaction_hash: Some(transaction_hash),
            transaction_index,
            log_index: Some(place),
            removed: false,
        }
    });
    let envelope = &done.transaction.envelope;
    TransactionReceipt {
        inner,
        transaction_hash,
        transaction_index,
        block_hash: Some(header.hash),
        block_number: Some(header.inner.number),
        gas_used: done.result.tx_gas_used(),
        effective_gas_price: envelope.effective_gas_price(header.inner.base_fee_per_gas),
        blob_gas_used: None,
        blob_gas_price: None,
        from: done.transaction.sender,
        to: envelope.to(),
        contract_address,
    }
}

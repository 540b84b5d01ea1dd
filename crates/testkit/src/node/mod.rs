//! [`SimNode`]: an EVM node inside the process, with bor's pool rules.

mod admission;
mod block;
mod chain;
mod config;
mod control;
mod execute;
mod oracle;
mod pool;
mod state;
mod stranded;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256, Bytes, U256};
use portcullis_core::time::Timestamp;

pub use admission::{PoolError, Shortfall};
pub use block::{BlockSummary, ChainTransaction, TransferLog};
pub(crate) use block::{MinedTransaction, StoredBlock};
pub(crate) use chain::Chain;
pub use config::{BaseFeeRule, PoolOverflow, PoolRules, SimConfig};
pub use control::ControlError;
pub(crate) use execute::{Outcome, block_env_of_a_call, rules_of_a_call, run};
pub(crate) use pool::Pool;

use crate::builders::DevKey;
use admission::Admission;
use block::SignedTransaction;
use stranded::Stranded;

/// What becomes of the transactions of dropped blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// They go back to the pool, as geth and bor do where the reorg is not deeper than 64 blocks; a
    /// deeper one loses them. A slot that another transaction holds in the pool stays with that one.
    Reinject,
    /// They are gone until somebody sends them again, as with anvil or a restored node.
    Forget,
}

/// What a reorg did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reorg {
    /// The blocks that are no longer canonical, lowest first.
    pub dropped_blocks: Vec<BlockSummary>,
    /// How many of their transactions went back to the pool.
    pub reinjected: usize,
}

/// A node. Clones are handles to the same node.
///
/// It has no clock and no randomness of its own. Blocks are made by [`SimNode::mine`] alone, and by the
/// orders of the test's owner account (deployments, mints, [`crate::TokenOrder`]), each of which makes a
/// block of its own at the time of its parent and brings no transaction of the pool into it.
#[derive(Clone)]
pub struct SimNode {
    inner: Arc<Mutex<NodeState>>,
}

/// Everything that a node is.
#[derive(Clone)]
pub(crate) struct NodeState {
    pub(crate) chain: Chain,
    pub(crate) pool: Pool,
    stranded: Stranded,
    owner: DevKey,
    /// The owner's transactions of dropped blocks: they come back first of all, also where the reorg
    /// forgets, because they are the test's own doing.
    owner_again: Vec<Arc<SignedTransaction>>,
    /// Bytes that a provider holds back, and the first block that may hold them.
    held_back: Vec<(u64, Bytes)>,
}

/// What a provider does with a raw transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// It goes to the pool.
    Now,
    /// It goes to the pool that many blocks later.
    Later { blocks: u64 },
    /// It goes to the pool and is dropped there.
    Forgotten,
}

impl SimNode {
    /// A node with an empty block 0.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let owner = DevKey::from_name("portcullis test owner");
        let mut chain = Chain::new(config);
        chain.state.credit_since_genesis(owner.address, U256::from(u128::MAX));
        Self::from_state(NodeState {
            chain,
            pool: Pool::default(),
            stranded: Stranded::default(),
            owner,
            owner_again: Vec::new(),
            held_back: Vec::new(),
        })
    }

    fn from_state(state: NodeState) -> Self {
        Self { inner: Arc::new(Mutex::new(state)) }
    }

    /// A second node with the same chain and the same pool, which goes its own way from here: a provider
    /// on another branch, or a node restored from an old copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_state(self.lock().clone())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, NodeState> {
        // A panic in a test that holds the lock is reported by that test.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a block at `at`, or at the time of its parent where that is later, of what waits in the
    /// pool: highest effective tip first, each sender's nonces in order, while the gas limit lasts.
    /// Transactions whose fee cap is below the base fee wait on.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn mine(&self, at: Timestamp) -> BlockSummary {
        let mut node = self.lock();
        node.release_held_back();
        let node = &mut *node;
        node.chain.mine(at, &node.owner_again, Some(&node.pool));
        let chain = &node.chain;
        node.owner_again.retain(|transaction| chain.mined(transaction.hash()).is_none());
        node.reset_pool();
        node.evict_stranded();
        node.chain.head().summary()
    }

    /// Drops the last `depth` blocks, but never block 0. State, nonces, receipts and logs are those of
    /// before. Blocks made afterwards have other hashes than the dropped ones, whatever they hold.
    pub fn reorg(&self, depth: u64, dropped: Dropped) -> Reorg {
        let mut node = self.lock();
        let blocks = node.chain.rewind(depth);
        let oldest_first = || blocks.iter().rev();
        let deep = u64::try_from(blocks.len()).unwrap_or(u64::MAX)
            > node.chain.config.pool.reinject_depth_blocks;
        let mut reinjected = 0;
        let mut owner_again = Vec::new();
        for mined in oldest_first().flat_map(|block| &block.transactions) {
            let transaction = &mined.transaction;
            if transaction.sender == node.owner.address {
                owner_again.push(transaction.clone());
            } else if dropped == Dropped::Reinject && !deep && node.reinject(transaction) {
                reinjected += 1;
            }
        }
        owner_again.append(&mut node.owner_again);
        node.owner_again = owner_again;
        Reorg { dropped_blocks: oldest_first().map(StoredBlock::summary).collect(), reinjected }
    }

    /// The base fee of the next block, in wei per gas. Under [`BaseFeeRule::Constant`] it stays so.
    pub fn set_base_fee(&self, wei: u64) {
        self.lock().chain.next_base_fee_wei = wei;
    }

    /// Transactions in the pool, executable or not.
    #[must_use]
    pub fn pool_len(&self) -> usize {
        self.lock().pool.len()
    }

    /// Transactions that the stranded rule dropped so far ([`PoolRules::stranded_lifetime_ms`]).
    #[must_use]
    pub fn stranded_evictions(&self) -> u64 {
        self.lock().stranded.evicted()
    }

    /// Whether the pool holds a transaction.
    #[must_use]
    pub fn is_pooled(&self, hash: B256) -> bool {
        self.lock().pool.contains(hash)
    }

    /// Drops a transaction from the pool, as an eviction does. False if it was not there.
    #[expect(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn drop_from_pool(&self, hash: B256) -> bool {
        self.lock().pool.remove(hash).is_some()
    }

    /// Empties the pool, as a restart without a journal does. What providers hold back is not touched.
    pub fn clear_pool(&self) {
        self.lock().pool.clear();
    }

    /// Offers raw bytes to the pool, without a transport and its faults in between.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn send_raw(&self, raw: &[u8]) -> Result<B256, PoolError> {
        self.lock().send(raw)
    }

    /// The account that deploys and mints for the tests.
    #[must_use]
    pub fn owner(&self) -> Address {
        self.lock().owner.address
    }
}

impl fmt::Debug for SimNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.lock();
        formatter
            .debug_struct("SimNode")
            .field("chain_id", &node.chain.config.chain_id)
            .field("head", &node.chain.head_number())
            .field("pool_len", &node.pool.len())
            .finish_non_exhaustive()
    }
}

impl NodeState {
    /// `eth_sendRawTransaction`.
    pub(crate) fn send(&mut self, raw: &[u8]) -> Result<B256, PoolError> {
        let admission = Admission {
            rules: &self.chain.config.pool,
            chain_id: self.chain.config.chain_id,
            block_gas_limit: self.chain.config.block_gas_limit,
        };
        let transaction = admission.check(raw, |hash| self.pool.contains(hash))?;
        if self.stranded.refuses(&transaction, self.chain.head_at(), self.chain.next_base_fee_wei) {
            return Err(PoolError::Underpriced);
        }
        let (hash, funds) = (transaction.hash(), self.chain.funds(transaction.sender));
        self.pool.offer(Arc::new(transaction), funds, &self.chain.config.pool)?;
        Ok(hash)
    }

    pub(crate) fn hold_back(&mut self, blocks: u64, raw: Bytes) {
        let due = self.chain.head_number().saturating_add(blocks.max(1));
        self.held_back.push((due, raw));
    }

    fn release_held_back(&mut self) {
        let next = self.chain.head_number() + 1;
        let held_back = std::mem::take(&mut self.held_back);
        for (due, raw) in held_back {
            if due > next {
                self.held_back.push((due, raw));
            } else {
                // Whoever sent it was told that it failed: nobody is left to hear the pool's refusal.
                let _unheard = self.send(&raw);
            }
        }
    }

    fn reinject(&mut self, transaction: &Arc<SignedTransaction>) -> bool {
        use alloy_consensus::Transaction as _;
        let free = self.pool.at(transaction.sender, transaction.envelope.nonce()).is_none();
        if free {
            self.pool.put(transaction.clone());
        }
        free
    }

    fn evict_stranded(&mut self) {
        let Some(lifetime_ms) = self.chain.config.pool.stranded_lifetime_ms else { return };
        let (chain, now) = (&self.chain, self.chain.head_at());
        let next_nonce = |sender| chain.funds(sender).nonce;
        self.stranded.sweep(&mut self.pool, next_nonce, chain.next_base_fee_wei, now, lifetime_ms);
    }

    fn reset_pool(&mut self) {
        let chain = &self.chain;
        self.pool.reset(|sender| chain.funds(sender));
    }
}

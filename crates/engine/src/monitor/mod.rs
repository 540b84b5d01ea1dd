//! The monitor: follows blocks, not transactions. It sees which slots a block consumed, counts
//! confirmations, notices reorgs by block hash, and ends slots when they are final.

mod consumption;
mod finality;
mod recording;
mod unpaid;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::BlockRef;
use portcullis_evm::{ChainLink, FollowError, Follower, HeadBlock, ProviderPool};
use portcullis_store::chain::{ChainAdvance, StoredHeader};
use portcullis_store::lease::Lease;
use portcullis_store::{Store, StoreError};

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::lease::LeaseHolder;
use crate::poison::Narrowing;
use crate::{Progress, RoleParts, Surroundings};

/// Blocks that are kept beyond the conservative depth, so that a reorg as deep as that still finds
/// its common ancestor and a late catch-up its blocks.
const HEADERS_SPARE: u64 = 200;

/// Slots that one step takes.
const SLOTS_MAX: u64 = 500;

/// Slots that one transaction of the database records: requests of clients wait for their commits behind it.
const SLOTS_PER_COMMIT: u64 = 250;

/// The same where a slot carries dozens of payments.
const CALLS_PER_COMMIT: u64 = 5;

/// The monitor's role.
pub struct Monitor {
    store: Store,
    pools: Vec<Arc<ProviderPool>>,
    vaults: BTreeMap<u64, Address>,
    leases: LeaseHolder,
    around: Surroundings,
    doorbells: Doorbells,
    narrowing: Narrowing,
    /// By chain: the block at which everything was looked at. Only a shortcut; a restart looks again.
    looked_at: Mutex<BTreeMap<u64, B256>>,
    /// By chain: what the last look counted, where it left slots for the next one.
    counted: Mutex<BTreeMap<u64, CountedHead>>,
}

/// What the chain counts of each sender at a head.
struct CountedHead {
    hash: B256,
    counts: Vec<(Address, u64)>,
}

/// A chain as it is stored after this step's news.
struct View {
    /// The stored blocks, oldest first.
    headers: Vec<StoredHeader>,
    /// What the node shows.
    head: HeadBlock,
}

impl View {
    fn tip(&self) -> Option<&StoredHeader> {
        self.headers.last()
    }

    fn canonical(&self, block: BlockRef) -> Option<&StoredHeader> {
        self.headers
            .binary_search_by_key(&block.number, |header| header.block.number)
            .ok()
            .map(|index| &self.headers[index])
            .filter(|header| header.block.hash == block.hash)
    }
}

impl Monitor {
    /// A monitor.
    #[must_use]
    pub fn new(parts: RoleParts) -> Self {
        let RoleParts { store, pools, vaults, settings, around, doorbells, concerns: _ } = parts;
        let leases = LeaseHolder::new(store.clone(), around.clone(), settings.lease_ms);
        let narrowing = Narrowing::default();
        let (looked_at, counted) = (Mutex::default(), Mutex::default());
        Self { store, pools, vaults, leases, around, doorbells, narrowing, looked_at, counted }
    }

    /// One look at each chain. A node that does not answer stops its own chain only.
    ///
    /// # Errors
    /// When the database or a node does not answer.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        contained(&self.store, self.try_step().await).await
    }

    async fn try_step(&self) -> Result<Progress, EngineError> {
        let mut progress = Progress::Idle;
        let mut failed = None;
        for pool in &self.pools {
            let name = format!("monitor:{}", pool.chain().chain_id);
            let Some(lease) = self.leases.hold_one(&name).await? else { continue };
            match self.step_chain(pool, &lease).await {
                Ok(done) => progress = progress.or(done),
                Err(error) => {
                    if error.is_lost_race() {
                        self.leases.forget();
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(progress), Err)
    }

    /// Gives the leases back.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release(&self) -> Result<(), EngineError> {
        Ok(self.leases.release().await?)
    }

    async fn step_chain(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
    ) -> Result<Progress, EngineError> {
        let chain = pool.chain();
        let Some((view, advanced)) = self.advance(pool, lease).await? else {
            return Ok(Progress::Idle);
        };
        let Some(tip) = view.tip().map(|tip| tip.block) else { return Ok(Progress::Idle) };
        if !advanced && self.looked_at(chain.chain_id) == Some(tip.hash) {
            return Ok(Progress::Idle);
        }
        let included = self.include_consumed(pool, lease, &view).await?;
        let confirmed_below = tip.number.saturating_add(1).checked_sub(chain.confirmations);
        let confirmed = match confirmed_below {
            None => 0,
            Some(block) => {
                let (at, set) = ((chain.chain_id, block), self.set_size(chain.chain_id));
                self.store.confirm(lease, at, SLOTS_MAX, set).await?
            }
        };
        let released = self.release_unpaid(pool, lease).await?;
        self.notice_skips(chain.chain_id).await?;
        let ended = self.end_deep_slots(pool, lease, &view).await?;
        let full = [confirmed as u64, released, ended].contains(&SLOTS_MAX);
        let more = included.is_full || full;
        if included.slots > 0 || released > 0 || ended > 0 {
            self.doorbells.ring(Bell::Sign);
        }
        let caught_up = tip.number >= view.head.number;
        if caught_up && !more && !included.is_open {
            self.looked_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(chain.chain_id, tip.hash);
        }
        tell_head(chain.network, tip.number);
        Ok(Progress::of(more || !caught_up))
    }

    fn looked_at(&self, chain_id: u64) -> Option<B256> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).get(&chain_id).copied()
    }

    /// Brings the stored chain up to the node's, at most a hundred blocks a step. `None` while the
    /// node is behind what is stored, or its chain moves under the read.
    async fn advance(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
    ) -> Result<Option<(View, bool)>, EngineError> {
        let chain = pool.chain();
        let kept = chain.conservative.blocks.saturating_add(HEADERS_SPARE);
        let mut headers = self.store.headers(chain.chain_id, kept).await?;
        let links: Vec<ChainLink> = headers.iter().map(link_of).collect();
        let follower =
            Follower { first_block: first_block(pool, &links).await?, ..Follower::default() };
        let update = match follower.step(pool, &links).await {
            Ok(update) => update,
            Err(FollowError::Inconsistent { number }) => {
                tracing::debug!(
                    network = chain.network,
                    number,
                    "the chain moved while it was read"
                );
                return Ok(None);
            }
            Err(error @ FollowError::BrokenStore { below, .. }) => {
                // Two copies of the database came together, or somebody edited them: what is above is read again.
                tracing::error!(network = chain.network, %error, "what the stored blocks above held is read again");
                let advance =
                    ChainAdvance { common_ancestor: Some(below), ..ChainAdvance::default() };
                self.store_news(lease, chain.chain_id, &advance).await?;
                return Ok(None);
            }
            Err(error @ FollowError::ReorgTooDeep { .. }) => {
                self.store.raise_halt("reorg", &error.to_string()).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        if update.node_behind {
            // Which provider lags is told by the pool, once.
            tracing::debug!(
                network = chain.network,
                head = update.head.number,
                "the providers are behind what was seen before; waiting for them"
            );
            return Ok(None);
        }
        if update.is_empty() {
            return Ok(Some((View { headers, head: update.head }, false)));
        }
        let ancestor = update.reorg.as_ref().map(|reorg| reorg.common_ancestor.number);
        if let Some(reorg) = &update.reorg {
            tracing::warn!(
                network = chain.network,
                depth = reorg.dropped.len(),
                ancestor = reorg.common_ancestor.number,
                "a reorg: what its blocks held is sent again"
            );
            metrics::counter!("portcullis_reorgs_total", "network" => chain.network).increment(1);
            headers.retain(|header| header.block.number <= reorg.common_ancestor.number);
        }
        let new: Vec<StoredHeader> = update.new_headers.iter().map(stored_of).collect();
        headers.extend(new.iter().copied());
        let newest = headers.last().map_or(0, |header| header.block.number);
        let advance = ChainAdvance {
            common_ancestor: ancestor,
            headers: new,
            forget_below: newest.saturating_sub(kept),
        };
        self.store_news(lease, chain.chain_id, &advance).await?;
        Ok(Some((View { headers, head: update.head }, true)))
    }

    /// Stores what the chain shows now; what a reorg took back is due to be sent at once.
    async fn store_news(
        &self,
        lease: &Lease,
        chain_id: u64,
        advance: &ChainAdvance,
    ) -> Result<(), EngineError> {
        match self.store.advance_chain(lease, chain_id, advance).await {
            Err(StoreError::Halted { reason }) => {
                self.store.raise_halt("reorg", &reason).await?;
                return Err(StoreError::Halted { reason }.into());
            }
            stored => stored?,
        }
        if advance.common_ancestor.is_some() {
            self.doorbells.ring(Bell::Broadcast);
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "block numbers are far below 2^53")]
fn tell_head(network: &'static str, number: u64) {
    metrics::gauge!("portcullis_chain_head", "network" => network).set(number as f64);
}

/// Where to begin on an empty store: deep enough that a reorg right after the first start finds its
/// common ancestor.
async fn first_block(pool: &ProviderPool, links: &[ChainLink]) -> Result<Option<u64>, EngineError> {
    if !links.is_empty() {
        return Ok(None);
    }
    let head = pool.agreed_head(&[]).await?.head;
    Ok(Some(head.number.saturating_sub(pool.chain().conservative.blocks)))
}

const fn link_of(header: &StoredHeader) -> ChainLink {
    ChainLink {
        number: header.block.number,
        hash: header.block.hash,
        parent_hash: header.parent_hash,
    }
}

const fn stored_of(head: &HeadBlock) -> StoredHeader {
    StoredHeader {
        block: BlockRef { number: head.number, hash: head.hash },
        parent_hash: head.parent_hash,
        at: Timestamp::from_millis(head.timestamp_ms),
    }
}

//! Follows the chain by its blocks. One step: what the caller has stored, compared with what the providers show.
//!
//! It follows the newest block that the quorum of independent operators has, and reads every block from as many
//! of them: one provider that lags, lies or is on another fork moves it neither forwards nor back. With a single
//! operator that one is the node which the comments speak of.
//!
//! The follower keeps nothing. The caller passes the recent chain that it stored, applies the update in one
//! transaction, and steps again; a step that is lost or repeated does no harm.

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use alloy_primitives::B256;
use portcullis_core::withdrawal::BlockRef;
use thiserror::Error;

use crate::chain_types::HeadBlock;
use crate::evidence::QuorumError;
use crate::pool::ProviderPool;
use crate::survey::AgreedHead;

/// Headers that the first look back at a reorg reads; each further one reads twice as many. Most are short.
const LOOK_BACK_FIRST: usize = 8;

/// A stored block and the block that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the block below.
    pub parent_hash: B256,
}

impl ChainLink {
    /// Number and hash.
    #[must_use]
    pub const fn reference(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

impl From<&HeadBlock> for ChainLink {
    fn from(head: &HeadBlock) -> Self {
        Self { number: head.number, hash: head.hash, parent_hash: head.parent_hash }
    }
}

/// Blocks that are no longer on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reorg {
    /// The newest stored block that still is on it.
    pub common_ancestor: BlockRef,
    /// The stored blocks above, lowest first.
    pub dropped: Vec<BlockRef>,
}

/// What one step found. Apply the reorg first, then the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainUpdate {
    /// What to drop.
    pub reorg: Option<Reorg>,
    /// What to append: it links to what is stored after the reorg. Bounded; there may be more.
    pub new_headers: Vec<HeadBlock>,
    /// The newest block that the node showed.
    pub head: HeadBlock,
    /// The node's head is below ours, and as far as it can tell nothing of ours changed: it lags.
    pub node_behind: bool,
}

impl ChainUpdate {
    /// Whether the update leaves nothing more to fetch up to the head. `tip` is what was stored before.
    #[must_use]
    pub fn reaches_head(&self, tip: Option<BlockRef>) -> bool {
        let after_reorg = self.reorg.as_ref().map(|reorg| reorg.common_ancestor).or(tip);
        let newest = self.new_headers.last().map(HeadBlock::reference).or(after_reorg);
        newest.is_some_and(|newest| newest.number >= self.head.number)
    }

    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reorg.is_none() && self.new_headers.is_empty()
    }
}

/// Why a step has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FollowError {
    /// Too few providers answered, or they do not agree. Step again later.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The chain changed while it was read, or nodes of different views answered. Step again.
    #[error(
        "block {number} does not link to the block below it: the chain moved while it was read"
    )]
    Inconsistent {
        /// The block that does not link.
        number: u64,
    },
    /// Not one stored block is on the node's chain: the node is on another fork, lost its state, or the chain
    /// was rewritten deeper than is stored. Nothing may be concluded; an operator has to look.
    #[error(
        "none of the stored blocks {oldest} to {newest} is on the node's chain (head {head}): \
         check the provider, then run reconcile"
    )]
    ReorgTooDeep {
        /// The lowest stored block.
        oldest: u64,
        /// The highest stored block.
        newest: u64,
        /// The node's head.
        head: u64,
    },
    /// What the caller passed is not a chain.
    #[error("the stored block {number} does not link to the stored block below it")]
    BrokenStore {
        /// The first block that does not link.
        number: u64,
        /// The stored block below it.
        below: u64,
    },
}

/// The block follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Headers that a step fetches at most.
    pub headers_max: usize,
    /// Where to begin when nothing is stored; `None` begins at the node's head.
    pub first_block: Option<u64>,
}

impl Default for Follower {
    fn default() -> Self {
        Self { headers_max: 100, first_block: None }
    }
}

impl Follower {
    /// Compares `stored`, the recent chain with its newest block last, with the node.
    ///
    /// # Errors
    /// See [`FollowError`]. After an error nothing is to be applied.
    pub async fn step(
        &self,
        pool: &ProviderPool,
        stored: &[ChainLink],
    ) -> Result<ChainUpdate, FollowError> {
        check_stored(stored)?;
        let agreed = pool.agreed_head(stored).await?;
        let view = View { pool, agreed: &agreed };
        let head = agreed.head;
        let Some(tip) = stored.last() else { return self.begin(&view, head).await };
        if head.number < tip.number {
            return self.below_tip(&view, stored, head).await;
        }
        // The two usual cases need no further read.
        if head.hash == tip.hash {
            return Ok(unchanged(head, false));
        }
        if head.number == tip.number.saturating_add(1) && head.parent_hash == tip.hash {
            return Ok(ChainUpdate { new_headers: vec![head], ..unchanged(head, false) });
        }
        if head.number == tip.number {
            return self.replaced(&view, stored, head).await;
        }
        let headers = self.fetch_above(&view, tip.number, head.number).await?;
        match headers.first() {
            Some(next) if next.parent_hash == tip.hash => {
                Ok(appended(None, linked(headers, tip.reference())?, head))
            }
            Some(_) => self.replaced(&view, stored, head).await,
            // The node showed a head above, and does not have the block between: it is of two minds.
            None => Err(FollowError::Inconsistent { number: tip.number.saturating_add(1) }),
        }
    }

    async fn begin(&self, view: &View<'_>, head: HeadBlock) -> Result<ChainUpdate, FollowError> {
        let first = self.first_block.unwrap_or(head.number);
        if first == head.number {
            return Ok(ChainUpdate { new_headers: vec![head], ..unchanged(head, false) });
        }
        if first > head.number {
            return Ok(unchanged(head, true));
        }
        let headers = view.headers(first..=self.last_of(first, head.number)).await?;
        let Some(lowest) = headers.first() else {
            return Err(FollowError::Inconsistent { number: first });
        };
        let below = BlockRef { number: first.saturating_sub(1), hash: lowest.parent_hash };
        Ok(appended(None, linked(headers, below)?, head))
    }

    /// The head is below our newest block: the node lags, or its chain became shorter.
    async fn below_tip(
        &self,
        view: &View<'_>,
        stored: &[ChainLink],
        head: HeadBlock,
    ) -> Result<ChainUpdate, FollowError> {
        let same_height = stored.iter().find(|link| link.number == head.number);
        match same_height {
            // Below all that is stored: it cannot tell.
            None => Ok(unchanged(head, true)),
            Some(link) if link.hash == head.hash => Ok(unchanged(head, true)),
            Some(_) => self.replaced(view, stored, head).await,
        }
    }

    /// Our newest block is not on the node's chain: finds where the chains part, and goes on from there.
    async fn replaced(
        &self,
        view: &View<'_>,
        stored: &[ChainLink],
        head: HeadBlock,
    ) -> Result<ChainUpdate, FollowError> {
        let ancestor = self.common_ancestor(view, stored, &head).await?;
        let tip = stored.last().map_or(0, |link| link.number);
        if ancestor.number == head.number && head.number < tip {
            // It showed another block at its head before, and ours now. Nothing above was seen to change.
            return Ok(unchanged(head, true));
        }
        let above = |link: &&ChainLink| link.number > ancestor.number;
        let dropped: Vec<BlockRef> =
            stored.iter().filter(above).map(ChainLink::reference).collect();
        let headers = self.fetch_above(view, ancestor.number, head.number).await?;
        let headers = linked(headers, ancestor)?;
        let reorg = (!dropped.is_empty()).then_some(Reorg { common_ancestor: ancestor, dropped });
        Ok(appended(reorg, headers, head))
    }

    /// The highest stored block that the node has too. The stored block above it, if the node's chain is that
    /// high, was seen to differ: a block that the node does not show is never taken for one that changed.
    async fn common_ancestor(
        &self,
        view: &View<'_>,
        stored: &[ChainLink],
        head: &HeadBlock,
    ) -> Result<BlockRef, FollowError> {
        let mut end = stored.partition_point(|link| link.number <= head.number);
        let mut batch = LOOK_BACK_FIRST.min(self.headers_max.max(1));
        while end > 0 {
            let start = end.saturating_sub(batch);
            let part = &stored[start..end];
            let (lowest, highest) = (part[0].number, part[part.len() - 1].number);
            let headers = view.headers(lowest..=highest).await?;
            if headers.len() < part.len() {
                let missing = part[headers.len()].number;
                return Err(FollowError::Inconsistent { number: missing });
            }
            let mut pairs = part.iter().zip(&headers).rev();
            if let Some((link, _)) = pairs.find(|(link, header)| link.hash == header.hash) {
                return Ok(link.reference());
            }
            end = start;
            batch = batch.saturating_mul(2).min(self.headers_max.max(1));
        }
        let oldest = stored.first().map_or(0, |link| link.number);
        let newest = stored.last().map_or(0, |link| link.number);
        Err(FollowError::ReorgTooDeep { oldest, newest, head: head.number })
    }

    async fn fetch_above(
        &self,
        view: &View<'_>,
        below: u64,
        head: u64,
    ) -> Result<Vec<HeadBlock>, FollowError> {
        let first = below.saturating_add(1);
        if first > head {
            return Ok(Vec::new());
        }
        Ok(view.headers(first..=self.last_of(first, head)).await?)
    }

    fn last_of(&self, first: u64, head: u64) -> u64 {
        let more = u64::try_from(self.headers_max.saturating_sub(1)).unwrap_or(u64::MAX);
        first.saturating_add(more).min(head)
    }
}

/// What the providers agree on, and how more of it is read.
struct View<'a> {
    pool: &'a ProviderPool,
    agreed: &'a AgreedHead,
}

impl View<'_> {
    async fn headers(&self, range: RangeInclusive<u64>) -> Result<Vec<HeadBlock>, QuorumError> {
        self.pool.agreed_headers(self.agreed, range).await
    }
}

fn check_stored(stored: &[ChainLink]) -> Result<(), FollowError> {
    for pair in stored.windows(2) {
        let [below, above] = pair else { continue };
        let follows = below.number.checked_add(1) == Some(above.number);
        if !follows || above.parent_hash != below.hash {
            return Err(FollowError::BrokenStore { number: above.number, below: below.number });
        }
    }
    Ok(())
}

/// The headers, if each links to the one below and the lowest to `below`. None at all is fine.
fn linked(headers: Vec<HeadBlock>, below: BlockRef) -> Result<Vec<HeadBlock>, FollowError> {
    let mut parent = below.hash;
    for header in &headers {
        if header.parent_hash != parent {
            return Err(FollowError::Inconsistent { number: header.number });
        }
        parent = header.hash;
    }
    Ok(headers)
}

const fn unchanged(head: HeadBlock, node_behind: bool) -> ChainUpdate {
    ChainUpdate { reorg: None, new_headers: Vec::new(), head, node_behind }
}

fn appended(reorg: Option<Reorg>, new_headers: Vec<HeadBlock>, head: HeadBlock) -> ChainUpdate {
    // What was fetched last is newer knowledge than the head that was read first.
    let newest = new_headers.last().copied().filter(|header| header.number >= head.number);
    ChainUpdate { reorg, new_headers, head: newest.unwrap_or(head), node_behind: false }
}

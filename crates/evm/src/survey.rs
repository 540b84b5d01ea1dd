//! Looks at all providers together: who lives, who lags, who is on another fork, and which newest block enough
//! of them have.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures::future::join_all;

use crate::chain_types::HeadBlock;
use crate::evidence::{Decision, HeadVote, QuorumError, agree_on_head, agree_on_headers};
use crate::failure::ReadError;
use crate::fault::ProviderFault;
use crate::follower::ChainLink;
use crate::health::ProviderStatus;
use crate::pool::ProviderPool;
use crate::quorum::operators_of;
use crate::upstream::Upstream;

/// How long a provider on a wrong chain is left before its chain id is asked for again.
const RECHECK_MS: i64 = 30_000;

/// How long a look at a provider's newest block takes at most: the others do not wait longer for one that hangs.
const LOOK_MS_MAX: u64 = 5_000;

/// The newest block that enough independent operators have.
#[derive(Clone, Debug)]
pub struct AgreedHead {
    /// The block.
    pub head: HeadBlock,
    /// Independent operators that have it.
    pub operators: usize,
    /// How many had to.
    needed: usize,
    supporters: Vec<Arc<Upstream>>,
}

/// One provider's newest block, or why it has none.
struct Seen {
    upstream: Arc<Upstream>,
    head: Result<HeadBlock, ReadError>,
}

impl ProviderPool {
    /// The health check, for who does not follow the chain: asks every provider for its newest block, compares
    /// them, and says how each fares. Those that are left alone are not asked until their time is over, and those
    /// on a wrong chain only for their chain id, now and then.
    pub async fn check_health(&self) -> Vec<ProviderStatus> {
        // What it finds is in the statuses.
        let _head = self.agreed_head(&[]).await;
        self.statuses()
    }

    async fn look_at_heads(&self) -> Vec<Seen> {
        let wrong = self.upstreams().iter().filter(|upstream| {
            let rested = |at| upstream.now().millis_since(at) >= RECHECK_MS || at > upstream.now();
            upstream.is_wrong_chain() && upstream.chain_checked_at().is_none_or(rested)
        });
        // Whoever is still wrong has said so by its fault.
        let _checks = join_all(wrong.map(|upstream| upstream.check_chain_id())).await;
        let mut voices = self.voices();
        if voices.is_empty() {
            // So that the error names them.
            voices = self.upstreams().to_vec();
        }
        let looks = voices.into_iter().map(|upstream| async move {
            let head = upstream.look(LOOK_MS_MAX).await;
            Seen { upstream, head }
        });
        join_all(looks).await
    }

    /// The newest block that the quorum of independent operators has on its chains. `stored` is the recent chain
    /// of the caller, newest block last, or empty: of equally supported chains the one that goes on from there
    /// is taken.
    ///
    /// # Errors
    /// [`QuorumError::TooFew`] by the configuration, [`QuorumError::Unanswered`] when too few answered,
    /// [`QuorumError::Split`] when they answered and have no known block in common.
    pub async fn agreed_head(&self, stored: &[ChainLink]) -> Result<AgreedHead, QuorumError> {
        let needed = self.needed(Decision::Paid)?;
        let seen = self.look_at_heads().await;
        let mut last = None;
        let mut votes: Vec<(Arc<Upstream>, HeadBlock)> = Vec::new();
        for Seen { upstream, head } in seen {
            match head {
                Ok(head) => votes.push((upstream, head)),
                Err(error) => last = Some(Box::new(error)),
            }
        }
        let have = operators_of(votes.iter().map(|(upstream, _)| upstream));
        if have < needed {
            return Err(QuorumError::Unanswered { have, need: needed, last });
        }
        let below = self.compare_chains(&votes, stored).await;
        let ballots: Vec<HeadVote<'_>> = votes
            .iter()
            .zip(below)
            .map(|((upstream, head), below)| HeadVote {
                operator: upstream.operator(),
                head: *head,
                below,
            })
            .collect();
        let verdict = agree_on_head(&ballots, stored, needed);
        let split = verdict.split_at.map(|height| format!("different blocks at height {height}"));
        self.note_dispute("head", split.as_deref());
        let Some(agreed) = verdict.agreed else {
            return Err(QuorumError::Split { need: needed });
        };
        self.note_forks(&votes, &ballots, &agreed.supporters, stored);
        for (upstream, head) in &votes {
            upstream.compare_head(head, &agreed.head);
        }
        let supporters: Vec<Arc<Upstream>> =
            agreed.supporters.iter().map(|index| Arc::clone(&votes[*index].0)).collect();
        let operators = operators_of(supporters.iter());
        Ok(AgreedHead { head: agreed.head, operators, needed, supporters })
    }

    /// Where the heads differ: the providers' blocks at each other's heights, and at two heights of the stored
    /// chain. Empty where all show the same head, or there is only one.
    async fn compare_chains(
        &self,
        votes: &[(Arc<Upstream>, HeadBlock)],
        stored: &[ChainLink],
    ) -> Vec<BTreeMap<u64, HeadBlock>> {
        let all_alike = votes.windows(2).all(|pair| pair[0].1.agrees_with(&pair[1].1));
        if all_alike {
            return vec![BTreeMap::new(); votes.len()];
        }
        let mut heights: BTreeSet<u64> = votes.iter().map(|(_, head)| head.number).collect();
        heights.extend(stored.last().map(|link| link.number));
        heights.extend(self.anchor(stored).map(|link| link.number));
        let reads = votes.iter().map(|(upstream, head)| {
            let own: Vec<u64> = heights.range(..head.number).copied().collect();
            async move { upstream.headers_at(&own).await.unwrap_or_default() }
        });
        let found = join_all(reads).await;
        let by_height = |headers: Vec<Option<HeadBlock>>| {
            headers.into_iter().flatten().map(|header| (header.number, header)).collect()
        };
        found.into_iter().map(by_height).collect()
    }

    /// A stored block so deep that a provider that shows another one there is not just in the middle of a reorg.
    fn anchor<'a>(&self, stored: &'a [ChainLink]) -> Option<&'a ChainLink> {
        let depth = usize::try_from(self.chain().confirmations).unwrap_or(usize::MAX);
        let index = stored.len().checked_sub(1)?.saturating_sub(depth);
        stored.get(index)
    }

    fn note_forks(
        &self,
        votes: &[(Arc<Upstream>, HeadBlock)],
        ballots: &[HeadVote<'_>],
        supporters: &[usize],
        stored: &[ChainLink],
    ) {
        let anchor = self.anchor(stored);
        for (index, ((upstream, _), ballot)) in votes.iter().zip(ballots).enumerate() {
            if supporters.contains(&index) {
                upstream.clear(ProviderFault::OtherFork);
                continue;
            }
            let shown = anchor.and_then(|link| Some((link, ballot.below.get(&link.number)?)));
            match shown {
                Some((link, block)) if block.hash != link.hash => upstream.raise(
                    ProviderFault::OtherFork,
                    &format!("block {} is {} there, not {}", link.number, block.hash, link.hash),
                ),
                Some(_) => upstream.clear(ProviderFault::OtherFork),
                None => {}
            }
        }
    }

    /// The blocks of a range below an agreed head, lowest first, up to the first on which its supporters do
    /// not agree.
    ///
    /// # Errors
    /// [`QuorumError::Unanswered`] when too few of them answered.
    pub async fn agreed_headers(
        &self,
        agreed: &AgreedHead,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<HeadBlock>, QuorumError> {
        let mut last = None;
        if agreed.needed <= 1 {
            for upstream in &agreed.supporters {
                match upstream.headers(range.clone()).await {
                    Ok(headers) => return Ok(headers),
                    Err(error) => last = Some(Box::new(error)),
                }
            }
            return Err(QuorumError::Unanswered { have: 0, need: agreed.needed, last });
        }
        let reads = agreed.supporters.iter().map(|upstream| upstream.headers(range.clone()));
        let mut heard: Vec<(&str, Vec<HeadBlock>)> = Vec::new();
        for (upstream, headers) in agreed.supporters.iter().zip(join_all(reads).await) {
            match headers {
                Ok(headers) => heard.push((upstream.operator(), headers)),
                Err(error) => last = Some(Box::new(error)),
            }
        }
        let have = heard.iter().map(|(operator, _)| *operator).collect::<BTreeSet<_>>().len();
        if have < agreed.needed {
            return Err(QuorumError::Unanswered { have, need: agreed.needed, last });
        }
        Ok(agree_on_headers(&heard, agreed.needed))
    }

    /// The block at a height at or below an agreed head; `None` where its supporters show none that they agree on.
    ///
    /// # Errors
    /// As [`Self::agreed_headers`].
    pub async fn agreed_header(
        &self,
        agreed: &AgreedHead,
        number: u64,
    ) -> Result<Option<HeadBlock>, QuorumError> {
        if number == agreed.head.number {
            return Ok(Some(agreed.head));
        }
        if number > agreed.head.number {
            return Ok(None);
        }
        Ok(self.agreed_headers(agreed, number..=number).await?.pop())
    }
}

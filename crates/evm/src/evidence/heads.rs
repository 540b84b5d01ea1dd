//! On which newest block, and on which chain below it, the providers agree.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain_types::HeadBlock;
use crate::follower::ChainLink;

/// What one provider shows of the chain.
#[derive(Clone, Debug)]
pub(crate) struct HeadVote<'a> {
    pub(crate) operator: &'a str,
    /// Its newest block.
    pub(crate) head: HeadBlock,
    /// Blocks of it at the heights where the providers are compared, by height.
    pub(crate) below: BTreeMap<u64, HeadBlock>,
}

impl HeadVote<'_> {
    fn at(&self, height: u64) -> Option<&HeadBlock> {
        if self.head.number == height { Some(&self.head) } else { self.below.get(&height) }
    }
}

/// What the providers together show of the newest blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadVerdict {
    pub(crate) agreed: Option<AgreedVotes>,
    /// The lowest height above it at which enough operators have a block, and too few of them the same.
    pub(crate) split_at: Option<u64>,
}

/// The newest block that enough operators have on their chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgreedVotes {
    pub(crate) head: HeadBlock,
    /// Indices of the votes that have it.
    pub(crate) supporters: Vec<usize>,
}

/// Goes up the heights at which something is known. At each of them the largest camp of operators that is at
/// least a quorum goes on, and the others are left behind; who is not that high has no voice there. Of equal
/// camps the one goes on that has the stored block. So neither a provider that lags, nor one on another fork,
/// nor one that shows a chain of its own on top moves the result.
pub(crate) fn agree_on_head(
    votes: &[HeadVote<'_>],
    stored: &[ChainLink],
    needed: usize,
) -> HeadVerdict {
    let needed = needed.max(1);
    let heights: BTreeSet<u64> = votes
        .iter()
        .flat_map(|vote| vote.below.keys().copied().chain([vote.head.number]))
        .collect();
    let mut left: Vec<usize> = (0..votes.len()).collect();
    let mut verdict = HeadVerdict::default();
    for height in heights {
        let camps = camps_at(votes, &left, height);
        let strong = |camp: &&Camp<'_>| camp.operators.len() >= needed;
        let most = camps.iter().map(|camp| camp.operators.len()).max().unwrap_or(0);
        if most < needed {
            let heard: BTreeSet<&str> =
                camps.iter().flat_map(|camp| camp.operators.iter().copied()).collect();
            if heard.len() >= needed {
                verdict.split_at = verdict.split_at.or(Some(height));
            }
            continue;
        }
        let stored_hash = stored.iter().find(|link| link.number == height).map(|link| link.hash);
        let equal: Vec<&Camp<'_>> =
            camps.iter().filter(strong).filter(|camp| camp.operators.len() == most).collect();
        let winner = match &equal[..] {
            [only] => *only,
            several => {
                let has_stored = |camp: &&&Camp<'_>| Some(camp.block.hash) == stored_hash;
                match several.iter().find(has_stored) {
                    Some(camp) => *camp,
                    // Whoever is content with one operator gets the first.
                    None if needed == 1 => several[0],
                    None => {
                        verdict.split_at = verdict.split_at.or(Some(height));
                        break;
                    }
                }
            }
        };
        let beaten: Vec<usize> = camps
            .iter()
            .filter(|camp| !camp.block.agrees_with(winner.block))
            .flat_map(|camp| camp.members.iter().copied())
            .collect();
        left.retain(|index| !beaten.contains(index));
        let supporters = winner.members.clone();
        verdict.agreed = Some(AgreedVotes { head: *winner.block, supporters });
        verdict.split_at = None;
    }
    verdict
}

/// Those who show the same block at a height.
struct Camp<'a> {
    block: &'a HeadBlock,
    operators: BTreeSet<&'a str>,
    members: Vec<usize>,
}

fn camps_at<'a>(votes: &'a [HeadVote<'a>], left: &[usize], height: u64) -> Vec<Camp<'a>> {
    let mut camps: Vec<Camp<'a>> = Vec::new();
    for index in left {
        let vote = &votes[*index];
        let Some(block) = vote.at(height) else { continue };
        match camps.iter_mut().find(|camp| camp.block.agrees_with(block)) {
            Some(camp) => {
                camp.operators.insert(vote.operator);
                camp.members.push(*index);
            }
            None => camps.push(Camp {
                block,
                operators: BTreeSet::from([vote.operator]),
                members: vec![*index],
            }),
        }
    }
    camps
}

/// The blocks of a range that `needed` operators show alike, from the lowest up to the first on which they do
/// not agree. Who differs once has no voice above.
pub(crate) fn agree_on_headers(
    answers: &[(&str, Vec<HeadBlock>)],
    needed: usize,
) -> Vec<HeadBlock> {
    let longest = answers.iter().map(|(_, headers)| headers.len()).max().unwrap_or(0);
    let mut left: Vec<usize> = (0..answers.len()).collect();
    let mut agreed = Vec::new();
    for position in 0..longest {
        let shown: Vec<(usize, &HeadBlock)> = left
            .iter()
            .filter_map(|index| Some((*index, answers[*index].1.get(position)?)))
            .collect();
        let support = |block: &HeadBlock| {
            let same = shown.iter().filter(|(_, other)| other.agrees_with(block));
            same.map(|(index, _)| answers[*index].0).collect::<BTreeSet<_>>().len()
        };
        let strong: Vec<&HeadBlock> = shown
            .iter()
            .map(|(_, block)| *block)
            .filter(|block| support(block) >= needed.max(1))
            .collect();
        let Some(block) = strong.first().copied() else { break };
        // Two quorums that differ: neither is believed.
        if strong.iter().any(|other| !other.agrees_with(block)) {
            break;
        }
        left.retain(|index| {
            let shown = answers[*index].1.get(position);
            shown.is_some_and(|other| other.agrees_with(block))
        });
        agreed.push(*block);
    }
    agreed
}

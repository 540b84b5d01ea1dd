//! What several providers together prove. Pure: votes in, a verdict out.
//!
//! Three rules. Only distinct operators count. What somebody shows is never outvoted by who shows nothing. And
//! where two versions stand against each other, that is the verdict, unless one of them alone has the quorum.

mod heads;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::chain_types::{ConsumedNonce, Receipt};
use crate::failure::ReadError;

pub(crate) use heads::{HeadVote, agree_on_head, agree_on_headers};

/// What is decided by a read, and so how many independent operators have to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// That a payment was made, and all that follows the chain forwards: the configured quorum. A single
    /// configured operator is believed alone.
    Paid,
    /// That a payment was not made: the configured quorum, and never fewer than the chain's
    /// `release_quorum_min`. A single operator is not believed, except on the local development chain.
    Release,
    /// That the engine has to stop: at least two operators, where two are configured.
    Stop,
}

impl Decision {
    /// The operators that have to agree, of `have` configured ones.
    ///
    /// # Errors
    /// [`QuorumError::TooFew`].
    pub(crate) fn needed(
        self,
        have: usize,
        quorum: usize,
        release_min: usize,
    ) -> Result<usize, QuorumError> {
        let paid = if have <= 1 { 1 } else { quorum.max(1) };
        let need = match self {
            Self::Paid => paid,
            Self::Release => paid.max(release_min),
            Self::Stop if have <= 1 => 1,
            Self::Stop => paid.max(2),
        };
        if have < need { Err(QuorumError::TooFew { have, need }) } else { Ok(need) }
    }
}

/// Why several providers together say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuorumError {
    /// Fewer independent operators are configured than have to agree.
    #[error(
        "{have} independent RPC operators are configured and {need} have to agree: add a \
         [[chain.provider]] of another operator"
    )]
    TooFew {
        /// Distinct operators in the configuration.
        have: usize,
        /// How many have to agree.
        need: usize,
    },
    /// Enough are configured, too few of them answered.
    #[error("{have} independent RPC operators answered and {need} have to agree{}", of_last(.last.as_deref()))]
    Unanswered {
        /// Distinct operators that answered.
        have: usize,
        /// How many have to agree.
        need: usize,
        /// The last failure, where there was one.
        last: Option<Box<ReadError>>,
    },
    /// Enough answered, and they show different chains.
    #[error(
        "the RPC operators show different blocks and no {need} of them the same: see /readyz for who \
         is on another fork"
    )]
    Split {
        /// How many have to agree.
        need: usize,
    },
}

fn of_last(last: Option<&ReadError>) -> String {
    last.map(|error| format!("; the last failure: {error}")).unwrap_or_default()
}

/// One version of a fact, and how many independent operators show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<T> {
    /// What they show.
    pub value: T,
    /// How many.
    pub operators: usize,
}

/// What the providers together show of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence<T> {
    /// The quorum shows the same, no other version has a quorum, and fewer than a quorum of those who know
    /// the block show nothing. A fact.
    Agreed {
        /// The fact.
        value: T,
        /// Independent operators that show it.
        agreeing: usize,
        /// Independent operators that show something else. Each is named by a fault.
        dissenting: usize,
    },
    /// Somebody shows it, nobody shows another version, and it is no fact yet.
    Unconfirmed {
        /// What is shown.
        value: T,
        /// Independent operators that show it.
        agreeing: usize,
    },
    /// Different versions, and none of them is a fact.
    Disputed {
        /// The versions, best supported first.
        versions: Vec<Version<T>>,
    },
    /// Nobody who answered shows one. That proves nothing.
    Absent {
        /// Independent operators that answered.
        operators: usize,
    },
    /// Nobody answered.
    Unanswered,
}

/// A receipt as several providers show it.
pub type QuorumReceipt = Evidence<Receipt>;

/// Who consumed a nonce, as several providers show it.
pub type QuorumConsumption = Evidence<ConsumedNonce>;

impl<T> Evidence<T> {
    /// The fact, if it is one.
    #[must_use]
    pub const fn agreed(&self) -> Option<&T> {
        match self {
            Self::Agreed { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The fact, if it is one that nobody contradicts. A release needs that.
    #[must_use]
    pub const fn undisputed(&self) -> Option<&T> {
        match self {
            Self::Agreed { value, dissenting: 0, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether those who answered show nothing. It proves nothing.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// What one provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Voice<T> {
    Shows(T),
    ShowsNone {
        /// The newest block that the provider is known to have. Below the block in question it cannot know.
        head: Option<u64>,
    },
    /// It gave no answer, or an error.
    Silent,
}

/// A provider's voice, and who stands behind it.
#[derive(Clone, Debug)]
pub(crate) struct Vote<'a, T> {
    pub(crate) operator: &'a str,
    pub(crate) voice: Voice<T>,
}

/// Something that providers can agree about.
pub(crate) struct Subject<T> {
    /// Whether two of them prove the same.
    pub(crate) agrees: fn(&T, &T) -> bool,
    /// The height of the block that it is in.
    pub(crate) height: fn(&T) -> u64,
}

pub(crate) const RECEIPT: Subject<Receipt> =
    Subject { agrees: Receipt::agrees_with, height: |receipt| receipt.block.number };

pub(crate) const CONSUMPTION: Subject<ConsumedNonce> =
    Subject { agrees: ConsumedNonce::agrees_with, height: |consumed| consumed.block.number };

/// Merges the votes on one subject; `needed` operators make a fact.
///
/// Whoever shows nothing although it has the block is not outvoted silently either: where as many of them as
/// a quorum stand against a version, it waits. So a set of liars as large as all but a quorum of honest
/// providers can delay a fact, and cannot make one.
pub(crate) fn merge<T: Clone>(
    votes: &[Vote<'_, T>],
    needed: usize,
    subject: &Subject<T>,
) -> Evidence<T> {
    let needed = needed.max(1);
    let mut camps: Vec<(&T, BTreeSet<&str>)> = Vec::new();
    for vote in votes {
        let Voice::Shows(value) = &vote.voice else { continue };
        match camps.iter_mut().find(|(shown, _)| (subject.agrees)(shown, value)) {
            Some((_, operators)) => {
                operators.insert(vote.operator);
            }
            None => camps.push((value, BTreeSet::from([vote.operator]))),
        }
    }
    // Stable: of equal camps the one of the better provider comes first.
    camps.sort_by_key(|(_, operators)| std::cmp::Reverse(operators.len()));
    let Some(((value, agreeing), others)) = camps.split_first() else {
        return nobody_shows(votes);
    };
    let rival = others.first().map_or(0, |(_, operators)| operators.len());
    let absent = informed_absentees(votes, (subject.height)(value));
    let value = (*value).clone();
    if agreeing.len() >= needed && rival < needed && absent < needed {
        let dissenting: BTreeSet<&str> =
            others.iter().flat_map(|(_, operators)| operators.iter().copied()).collect();
        let agreeing = agreeing.len();
        return Evidence::Agreed { value, agreeing, dissenting: dissenting.len() };
    }
    if others.is_empty() {
        return Evidence::Unconfirmed { value, agreeing: agreeing.len() };
    }
    let versions = camps
        .iter()
        .map(|(value, operators)| Version { value: (*value).clone(), operators: operators.len() });
    Evidence::Disputed { versions: versions.collect() }
}

fn nobody_shows<T>(votes: &[Vote<'_, T>]) -> Evidence<T> {
    let answered = votes.iter().filter(|vote| matches!(vote.voice, Voice::ShowsNone { .. }));
    let operators: BTreeSet<&str> = answered.map(|vote| vote.operator).collect();
    if operators.is_empty() {
        return Evidence::Unanswered;
    }
    Evidence::Absent { operators: operators.len() }
}

/// Operators that have the block and show nothing with any of their providers.
fn informed_absentees<T>(votes: &[Vote<'_, T>], height: u64) -> usize {
    let shows = |operator: &str| {
        votes.iter().any(|vote| vote.operator == operator && matches!(vote.voice, Voice::Shows(_)))
    };
    let is_informed = |vote: &&Vote<'_, T>| match vote.voice {
        Voice::ShowsNone { head } => head.is_none_or(|head| head >= height),
        Voice::Shows(_) | Voice::Silent => false,
    };
    let absent = votes.iter().filter(is_informed).map(|vote| vote.operator);
    absent.filter(|operator| !shows(operator)).collect::<BTreeSet<_>>().len()
}

/// How many transactions an account has sent, as several providers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgreedCount {
    /// The count.
    pub count: u64,
    /// Independent operators that show it or a higher one.
    pub operators: usize,
}

/// Merges transaction counts of one account at one block: pairs of operator and count. `None` when fewer than
/// `needed` operators told one.
///
/// Neither a provider that tells too many nor one that tells too few moves it, as long as a quorum is honest:
/// the quorum has to tell it or more, and the quorum has to tell it or less, where both exist.
pub(crate) fn merge_counts(told: &[(&str, u64)], needed: usize) -> Option<AgreedCount> {
    let needed = needed.max(1);
    // An operator says no more than the least of its providers.
    let mut by_operator: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for (operator, count) in told {
        by_operator
            .entry(operator)
            .and_modify(|least| *least = (*count).min(*least))
            .or_insert(*count);
    }
    let mut counts: Vec<u64> = by_operator.into_values().collect();
    counts.sort_unstable();
    let index = needed.saturating_sub(1);
    let (from_below, from_above) = (counts.get(index)?, counts.iter().rev().nth(index)?);
    let count = *from_below.min(from_above);
    let operators = counts.iter().filter(|other| **other >= count).count();
    Some(AgreedCount { count, operators })
}

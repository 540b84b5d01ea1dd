//! Recovery's policy: what is done about a slot that no block consumes. Facts in, a decision with its reason out.
//!
//! Nothing here concludes that a payment failed. The worst that a wrong fact can cause is a dearer attempt of
//! the same slot, below the hard cap.

#[cfg(test)]
mod tests;

use std::fmt;

use crate::error_class::ErrorClass;
use crate::fee::{AboveFeeCap, FeeBounds, FeeMarket, Fees, replacement_fees};
use crate::withdrawal::Priority;

/// Failed receives after which work becomes a dead letter.
pub const RECEIVES_MAX: u32 = 5;

/// How long an ended dead letter is kept: four days.
pub const LETTER_KEPT_MS: i64 = 4 * 86_400_000;

/// How often a payment may run out of gas and ride again.
pub const OUT_OF_GAS_RIDES_MAX: u32 = 3;

/// Gaps that are filled at one look.
pub const GAPS_MAX: usize = 16;

/// The shortest patience, as a divisor of the longest.
const PATIENCE_SHRINKS_TO: i64 = 4;

/// At this many times its patience a payment's deadline is over, and patience is shortest.
const DEADLINE_PATIENCES: i64 = 10;

const REDRIVE_FIRST_MS: i64 = 60_000;
const REDRIVE_MOST_MS: i64 = 3_600_000;

/// How patient recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a fresh payment of standard priority waits after its newest bytes before it is bumped.
    pub standard_ms: i64,
    /// The chain's time for a few blocks: nothing is bumped sooner for mere impatience.
    pub least_ms: i64,
}

impl Patience {
    /// How long after its newest bytes a slot is bumped. VIP waits two thirds of standard's time, urgent one
    /// third; with the age of its oldest payment it shrinks evenly to a quarter.
    #[must_use]
    pub fn for_payment(self, priority: Priority, age_ms: i64) -> i64 {
        let full = match priority {
            Priority::Standard => self.standard_ms,
            Priority::Vip => self.standard_ms.saturating_mul(2) / 3,
            Priority::Urgent => self.standard_ms / 3,
        };
        let deadline = full.saturating_mul(DEADLINE_PATIENCES).max(1);
        let age = age_ms.clamp(0, deadline);
        let shortest = full / PATIENCE_SHRINKS_TO;
        let shrinking = i128::from(full.saturating_sub(shortest));
        let gone = shrinking.saturating_mul(i128::from(age)) / i128::from(deadline);
        let left = full.saturating_sub(i64::try_from(gone).unwrap_or(full));
        left.max(self.least_ms)
    }
}

/// What is known of the lowest open slot of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadFacts {
    /// The highest priority of its payments; standard for a slot of the system.
    pub priority: Priority,
    /// How long ago its oldest payment was accepted.
    pub age_ms: i64,
    /// How long ago its newest bytes were committed.
    pub waited_ms: i64,
    /// The highest price of its attempts, field by field.
    pub highest: Fees,
    /// Whether any bytes of it are ours. Those that were found on the chain name no price.
    pub has_own_bytes: bool,
    /// How many of its newest attempts, one after the other, a node refused for their price.
    pub price_refusals: u32,
    /// Whether its sender lacks gas money: a dearer attempt would need more of it.
    pub lacks_gas_money: bool,
    /// Chance, so that many do not come back at once: taken from the newest hash.
    pub chance: u64,
}

/// Why a slot is bumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpReason {
    /// Its highest fee cap is below the base fee: bor drops the sender's whole chain for it.
    Stranded {
        /// The highest fee cap of its attempts.
        fee_cap_wei: u128,
        /// What the chain asks for.
        base_fee_wei: u128,
    },
    /// A node refused its newest bytes for their price.
    Refused,
    /// It waited for longer than its payments allow.
    Late {
        /// How long.
        waited_ms: i64,
        /// How long was allowed.
        patience_ms: i64,
    },
}

/// Why a slot is let be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Its time is not over.
    Patience {
        /// What is left of it.
        left_ms: i64,
    },
    /// Its sender has no gas money.
    NoGasMoney,
}

/// What is done about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing now.
    Wait(WaitReason),
    /// A dearer attempt, now.
    Bump {
        /// Why.
        reason: BumpReason,
        /// At least at this price.
        fees: Fees,
    },
    /// A dearer attempt would be due, and does not fit under the hard cap: it waits, and somebody is told.
    AtCap {
        /// Why a bump would be due.
        reason: BumpReason,
        /// What it would take.
        above: AboveFeeCap,
    },
}

/// Decides about the lowest open slot of a sender. The slots behind it wait for it anyway.
#[must_use]
pub fn decide_head(
    facts: &HeadFacts,
    market: FeeMarket,
    bounds: FeeBounds,
    patience: Patience,
) -> Decision {
    if facts.lacks_gas_money {
        return Decision::Wait(WaitReason::NoGasMoney);
    }
    let reason = match due_reason(facts, market, patience) {
        Ok(reason) => reason,
        Err(wait) => return Decision::Wait(wait),
    };
    match replacement_fees(facts.highest, market, bounds) {
        Ok(fees) => Decision::Bump { reason, fees },
        Err(above) => Decision::AtCap { reason, above },
    }
}

fn due_reason(
    facts: &HeadFacts,
    market: FeeMarket,
    patience: Patience,
) -> Result<BumpReason, WaitReason> {
    let fee_cap_wei = facts.highest.max_fee_per_gas_wei;
    if facts.has_own_bytes && fee_cap_wei < market.base_fee_wei {
        return Ok(BumpReason::Stranded { fee_cap_wei, base_fee_wei: market.base_fee_wei });
    }
    if facts.price_refusals == 1 {
        return Ok(BumpReason::Refused);
    }
    let full = patience.for_payment(facts.priority, facts.age_ms);
    // A node that refuses one price after the other is not outbid at every answer: bor refuses a slot that it
    // dropped for a while whatever is offered.
    let allowed = if facts.price_refusals > 1 {
        (full / PATIENCE_SHRINKS_TO).max(patience.least_ms)
    } else {
        full
    };
    let allowed = allowed.saturating_add(spread(allowed, facts.chance));
    if facts.waited_ms < allowed {
        return Err(WaitReason::Patience { left_ms: allowed.saturating_sub(facts.waited_ms) });
    }
    if facts.price_refusals > 1 {
        return Ok(BumpReason::Refused);
    }
    Ok(BumpReason::Late { waited_ms: facts.waited_ms, patience_ms: allowed })
}

/// Up to an eighth of a time, by chance.
fn spread(time_ms: i64, chance: u64) -> i64 {
    let most = u64::try_from(time_ms / 8).unwrap_or(0).saturating_add(1);
    i64::try_from(chance.checked_rem(most).unwrap_or(0)).unwrap_or(0)
}

impl fmt::Display for BumpReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranded { fee_cap_wei, base_fee_wei } => write!(
                formatter,
                "stranded: its highest fee cap is {fee_cap_wei} wei per gas, the base fee {base_fee_wei}"
            ),
            Self::Refused => formatter.write_str("a node refused its price"),
            Self::Late { waited_ms, patience_ms } => {
                write!(formatter, "not mined after {waited_ms} ms, {patience_ms} ms are allowed")
            }
        }
    }
}

/// How many of the newest attempts, one after the other, were refused for their price. `outcomes` are what
/// their last sends came to, oldest attempt first.
#[must_use]
pub fn price_refusals<'a>(outcomes: impl DoubleEndedIterator<Item = Option<&'a str>>) -> u32 {
    let refused = outcomes
        .rev()
        .map(|outcome| outcome.and_then(ErrorClass::of_outcome))
        .take_while(|class| *class == Some(ErrorClass::GasPriceTooLow));
    u32::try_from(refused.count()).unwrap_or(u32::MAX)
}

/// Nonces between the chain's count and our next one that no slot has: at most [`GAPS_MAX`], lowest first.
/// `opened` are the nonces of slots.
#[must_use]
pub fn find_gaps(count: u64, nonce_next: u64, opened: &[u64]) -> Vec<u64> {
    let mut opened: Vec<u64> =
        opened.iter().copied().filter(|nonce| (count..nonce_next).contains(nonce)).collect();
    opened.sort_unstable();
    opened.dedup();
    let mut gaps = Vec::new();
    let mut expected = count;
    for nonce in opened.into_iter().chain([nonce_next]) {
        let room = GAPS_MAX.saturating_sub(gaps.len());
        gaps.extend((expected..nonce).take(room));
        expected = nonce.saturating_add(1);
    }
    gaps
}

/// Whether a reverted transaction ended for want of gas. A call inside it gets 63/64 of what is left
/// (EIP-150), so a little may remain when the innermost one ran dry.
#[must_use]
pub const fn ran_out_of_gas(gas_used: u64, gas_limit: u64) -> bool {
    gas_limit > 0 && gas_used >= gas_limit.saturating_sub(gas_limit / 32)
}

/// The gas limit of a payment that ran out of gas on `rides` earlier rides: once more what it takes for each.
#[must_use]
pub fn gas_after_rides(gas_limit: u64, rides: u32, gas_max: u64) -> u64 {
    gas_limit.saturating_mul(u64::from(rides).saturating_add(1)).min(gas_max.max(gas_limit))
}

/// How long a dead letter waits before it is redriven by itself; it doubles with each time, up to an hour.
#[must_use]
pub fn redrive_after_ms(redrives: u32, chance: u64) -> i64 {
    let pause = REDRIVE_FIRST_MS.saturating_mul(1 << redrives.min(10)).min(REDRIVE_MOST_MS);
    pause.saturating_add(spread(pause, chance))
}

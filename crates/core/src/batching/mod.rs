//! Batching on the vault rail: which payments go into which call, which wait, and why. Facts in, decision out.
//!
//! The rules, in their order: a call never exceeds a limit; what is urgent never waits; while free slots are few, the
//! order of the queue decides alone, so that the oldest never starves; otherwise calls are formed by token, and one
//! that is not full may linger for more, the longer the deeper the queue is, and never beyond the maximum.

mod gas;
mod price;
mod reason;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use alloy_primitives::Address;

pub use self::gas::{GasModel, smoothed, with_headroom};
pub use self::price::{PriceLevel, UsualPrice};
pub use self::reason::{Alone, Early, Limit, Reason};

/// The calldata of a call without payments: the selector, where the list is, and how long it is.
const CALL_BYTES: usize = 68;

/// The calldata of one payment.
const ITEM_BYTES: usize = 160;

/// The operator's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchingRules {
    /// The most payments in one transaction: how many a single mistake can touch.
    pub items_max: usize,
    /// From as many payments in the queue on, they travel in batches.
    pub queue_min: usize,
    /// From as many payments of a token on, it has batches of its own.
    pub token_min: usize,
    /// The longest that a batch lingers for more payments, counted from when the oldest of it was queued.
    pub linger_max_ms: i64,
    /// The share of a block's gas that one call may ask for, in percent.
    pub block_share_percent: u64,
}

impl Default for BatchingRules {
    fn default() -> Self {
        Self {
            items_max: 50,
            queue_min: 5,
            token_min: 3,
            linger_max_ms: 200,
            block_share_percent: 10,
        }
    }
}

/// One queued payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its token; `None` for the native coin.
    pub token: Option<Address>,
    /// Whether it must not wait for others.
    pub is_urgent: bool,
    /// How long it has been queued.
    pub age_ms: i64,
}

/// One account that may call the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Transactions that it may still open.
    pub slots: u64,
    /// The gas that its money buys at the price of now.
    pub gas: u64,
}

/// What chain, nodes and signer allow one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// The most gas of a transaction: the chain's cap (EIP-7825; 2^25 on Polygon) or the signer's.
    pub transaction_gas_max: u64,
    /// The gas at which `maxFeePerGas` × gas reaches the cap of providers and signer.
    pub fee_gas_max: u64,
    /// The gas limit of a block.
    pub block_gas: u64,
    /// The most bytes of calldata.
    pub calldata_bytes_max: usize,
}

/// Everything that a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is queued, in the order of the queue.
    pub queue: &'a [Queued],
    /// Who may call.
    pub operators: &'a [Operator],
    /// What one transaction may be.
    pub limits: CallLimits,
    /// What calls need.
    pub gas: GasModel,
    /// What gas costs now.
    pub price: PriceLevel,
    /// The operator's rules.
    pub rules: BatchingRules,
}

/// One call: who makes it, what it carries, and why just that. Payments and operators are named by their places in
/// the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCall {
    /// The operator.
    pub operator: usize,
    /// The payments.
    pub payments: Vec<usize>,
    /// Why.
    pub reason: Reason,
}

/// Why a payment is in no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its batch lingers for more.
    Lingers {
        /// For how long at most.
        left_ms: i64,
    },
    /// Every operator has as many transactions in flight as it may.
    NoSlot,
    /// No operator that may open a transaction can pay for its gas.
    NoGasMoney,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The calls, the one with the oldest payment first.
    pub calls: Vec<PlannedCall>,
    /// The payments that wait.
    pub waiting: Vec<(usize, Wait)>,
}

impl Decision {
    /// How long until the first batch that lingers leaves; `None` where none does.
    #[must_use]
    pub fn lingers_ms(&self) -> Option<i64> {
        let left = self.waiting.iter().filter_map(|(_, wait)| match wait {
            Wait::Lingers { left_ms } => Some(*left_ms),
            Wait::NoSlot | Wait::NoGasMoney => None,
        });
        left.min()
    }
}

/// Payments that may become a call.
struct Draft {
    payments: Vec<usize>,
    /// Why it is alone; `None` for a batch.
    alone: Option<Alone>,
}

/// Decides. The same facts give the same decision.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Decision {
    let queue = facts.queue;
    let (mut size, mut by) = size_of(facts);
    let mut rooms = rooms(facts, size);
    if rooms.iter().all(|room| *room == 0) {
        let free = (0..facts.operators.len()).filter(|it| facts.operators[*it].slots > 0);
        let Some(richest) = free.max_by_key(|it| (facts.operators[*it].gas, Reverse(*it))) else {
            return nothing(queue, Wait::NoSlot);
        };
        // Less is better than nothing: the richest decides how much a call may need.
        size = facts.gas.items_within(facts.operators[richest].gas, size);
        by = Limit::GasMoney;
        if size == 0 {
            return question(facts, richest);
        }
        rooms = self::rooms(facts, size);
    }
    let free = rooms.iter().fold(0_usize, |sum, room| sum.saturating_add(*room));
    let (going, lingering): (Vec<_>, Vec<_>) = drafts(facts, size)
        .into_iter()
        .map(|draft| {
            let go = departure(facts, &draft, size, by);
            (draft.payments, go)
        })
        .partition(|(_, go)| go.is_ok());
    let mut decision = Decision::default();
    if going.len() > free {
        in_order(queue, size, by, free, &mut decision, &mut rooms);
        return decision;
    }
    for (payments, go) in going.into_iter().chain(lingering) {
        match go {
            Ok(reason) => {
                let operator = take_operator(&mut rooms);
                decision.calls.push(PlannedCall { operator, payments, reason });
            }
            Err(wait) => decision.waiting.extend(payments.into_iter().map(|it| (it, wait))),
        }
    }
    decision
}

/// One payment alone, though what was learned says that there is too little money for it: what made payments dear may be over,
/// and only the node knows. Nothing where the money buys no transaction at all.
fn question(facts: &Facts<'_>, operator: usize) -> Decision {
    let mut decision = nothing(facts.queue, Wait::NoGasMoney);
    let affords_any = facts.operators[operator].gas >= with_headroom(gas::INTRINSIC_GAS);
    if affords_any && !decision.waiting.is_empty() {
        let (first, _) = decision.waiting.remove(0);
        let reason = Reason::Full { items: 1, by: Limit::GasMoney };
        decision.calls.push(PlannedCall { operator, payments: vec![first], reason });
    }
    decision
}

fn nothing(queue: &[Queued], wait: Wait) -> Decision {
    Decision { calls: Vec::new(), waiting: (0..queue.len()).map(|it| (it, wait)).collect() }
}

/// How many payments a call may carry at most, and by which limit. At least one: a limit that not even one payment
/// keeps is for the one who signs to refuse.
fn size_of(facts: &Facts<'_>) -> (usize, Limit) {
    let (limits, rules) = (facts.limits, facts.rules);
    let share = u128::from(limits.block_gas) * u128::from(rules.block_share_percent) / 100;
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    let by_gas = |gas_max: u64| facts.gas.items_within(gas_max, rules.items_max);
    let sizes = [
        (rules.items_max, Limit::BlastRadius),
        (by_gas(limits.transaction_gas_max), Limit::TransactionGas),
        (by_gas(limits.fee_gas_max), Limit::FeeCap),
        (by_gas(share), Limit::BlockShare),
        (limits.calldata_bytes_max.saturating_sub(CALL_BYTES) / ITEM_BYTES, Limit::Calldata),
    ];
    let (size, by) = sizes.into_iter().min_by_key(|(size, _)| *size).unwrap_or(sizes[0]);
    (size.max(1), by)
}

/// How many calls each operator may make and pay for, if all are as large as they may become.
fn rooms(facts: &Facts<'_>, size: usize) -> Vec<usize> {
    let largest = size.min(facts.queue.len());
    let gas = facts.gas.gas_limit(largest).max(1);
    let room = |it: &Operator| usize::try_from(it.slots.min(it.gas / gas)).unwrap_or(usize::MAX);
    facts.operators.iter().map(room).collect()
}

/// The operator with the most room; the first of several. There is one: no more calls are planned than there is room.
fn take_operator(rooms: &mut [usize]) -> usize {
    let freest = (0..rooms.len()).max_by_key(|it| (rooms[*it], Reverse(*it)));
    let operator = freest.unwrap_or(0);
    rooms[operator] = rooms[operator].saturating_sub(1);
    operator
}

/// Forms calls by token, then of what is left, each in the order of the queue; by their oldest payments.
fn drafts(facts: &Facts<'_>, size: usize) -> Vec<Draft> {
    let (queue, rules) = (facts.queue, facts.rules);
    // When gas is dear, nothing travels alone that could share.
    let shares = facts.price == PriceLevel::High;
    let mut drafts = Vec::new();
    let mut single = |payments: Vec<usize>, alone: Alone| {
        drafts.extend(
            payments.into_iter().map(|it| Draft { payments: vec![it], alone: Some(alone) }),
        );
    };
    if queue.len() < rules.queue_min && !shares {
        single((0..queue.len()).collect(), Alone::FewQueued { least: rules.queue_min });
        return drafts;
    }
    let mut by_token: BTreeMap<Option<Address>, Vec<usize>> = BTreeMap::new();
    for (place, payment) in queue.iter().enumerate() {
        by_token.entry(payment.token).or_default().push(place);
    }
    let (many, few): (Vec<_>, Vec<_>) =
        by_token.into_values().partition(|payments| payments.len() >= rules.token_min);
    let mut rest: Vec<usize> = few.into_iter().flatten().collect();
    rest.sort_unstable();
    if rest.len() < rules.queue_min && !shares {
        single(std::mem::take(&mut rest), Alone::FewOfToken { least: rules.token_min });
    }
    let batches = many.iter().flat_map(|payments| payments.chunks(size));
    let mixed = rest.chunks(size);
    drafts.extend(batches.map(|it| Draft { payments: it.to_vec(), alone: None }));
    drafts.extend(mixed.map(|it| Draft { payments: by_token_in(queue, it), alone: None }));
    drafts.sort_by_key(|draft| draft.payments.iter().min().copied());
    drafts
}

/// The same payments, those of one token next to each other: the vault opens each token's budget once then. Tokens
/// in the order of their oldest payments.
fn by_token_in(queue: &[Queued], payments: &[usize]) -> Vec<usize> {
    let mut first: BTreeMap<Option<Address>, usize> = BTreeMap::new();
    for place in payments {
        first.entry(queue[*place].token).or_insert(*place);
    }
    let mut payments = payments.to_vec();
    payments.sort_by_key(|place| (first.get(&queue[*place].token).copied(), *place));
    payments
}

/// Whether a draft leaves now and why, or for how long it lingers.
fn departure(facts: &Facts<'_>, draft: &Draft, size: usize, by: Limit) -> Result<Reason, Wait> {
    if let Some(alone) = draft.alone {
        return Ok(Reason::Alone(alone));
    }
    let items = draft.payments.len();
    if items >= size {
        return Ok(Reason::Full { items, by });
    }
    let payments = || draft.payments.iter().map(|place| facts.queue[*place]);
    if payments().any(|payment| payment.is_urgent) {
        return Ok(Reason::Part { items, early: Early::Urgent });
    }
    let oldest_ms = payments().map(|payment| payment.age_ms).max().unwrap_or(0);
    let left_ms = linger_ms(facts, size).saturating_sub(oldest_ms);
    if left_ms <= 0 {
        return Ok(Reason::Part { items, early: Early::Waited });
    }
    Err(Wait::Lingers { left_ms })
}

/// How long a batch may linger: the shorter, the less there is to wait for. Cheap gas is not worth half of the wait,
/// dear gas is worth all of it.
fn linger_ms(facts: &Facts<'_>, size: usize) -> i64 {
    let whole = facts.rules.linger_max_ms.max(0);
    let depth = i64::try_from(facts.queue.len().min(size)).unwrap_or(i64::MAX);
    let size = i64::try_from(size).unwrap_or(i64::MAX).max(1);
    let by_depth = whole.saturating_mul(depth) / size;
    match facts.price {
        PriceLevel::Low => by_depth / 2,
        PriceLevel::Usual => by_depth.min(whole),
        PriceLevel::High => whole,
    }
}

/// Fills calls in the order of the queue, as many as there are free slots. Nothing lingers, and what is left waits.
fn in_order(
    queue: &[Queued],
    size: usize,
    by: Limit,
    free: usize,
    decision: &mut Decision,
    rooms: &mut [usize],
) {
    let places: Vec<usize> = (0..queue.len()).collect();
    let mut calls = places.chunks(size);
    for payments in calls.by_ref().take(free) {
        let items = payments.len();
        let reason = if items >= size {
            Reason::Full { items, by }
        } else {
            Reason::Part { items, early: Early::FewSlots }
        };
        let payments = by_token_in(queue, payments);
        let operator = take_operator(rooms);
        decision.calls.push(PlannedCall { operator, payments, reason });
    }
    decision.waiting.extend(calls.flatten().map(|place| (*place, Wait::NoSlot)));
}

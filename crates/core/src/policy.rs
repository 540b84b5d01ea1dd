//! Policy: rules over facts. The facts are gathered by the processor; nothing here looks anything up.

use serde::{Deserialize, Serialize};

use crate::address::{DestinationError, check_destination};
use crate::amount::Amount;
use crate::asset::Asset;

/// What policy decides on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The asset, its seal verified.
    pub asset: &'a Asset,
    /// How much is to be paid.
    pub amount: Amount,
    /// To whom.
    pub to: alloy_primitives::Address,
    /// This deployment's senders and contracts on the chain.
    pub own: &'a [alloy_primitives::Address],
    /// What the account withdrew of the asset on this UTC day, this withdrawal included.
    pub day_total: Amount,
}

/// The rule that decided, as the timeline records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The asset is switched off.
    AssetEnabled,
    /// The destination is one that nobody is paid at.
    Destination,
    /// Below the asset's minimum.
    AmountMin,
    /// Above the asset's maximum.
    AmountMax,
    /// Above what an account may withdraw of the asset on one day.
    DailyMax,
    /// Nothing objects.
    Default,
}

impl Rule {
    /// The stable text of the timeline and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AssetEnabled => "asset_enabled",
            Self::Destination => "destination",
            Self::AmountMin => "amount_min",
            Self::AmountMax => "amount_max",
            Self::DailyMax => "daily_max",
            Self::Default => "default",
        }
    }
}

/// What policy says, and which rule said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be paid.
    Pass(Rule),
    /// It must not be paid.
    Refuse(Rule),
}

/// Evaluates the rules in order; the first that objects decides.
#[must_use]
pub fn evaluate(facts: &Facts<'_>) -> Verdict {
    let destination: Result<(), DestinationError> =
        check_destination(facts.to, facts.asset.token, facts.own);
    let objections = [
        (Rule::AssetEnabled, !facts.asset.enabled),
        (Rule::Destination, destination.is_err()),
        (Rule::AmountMin, facts.amount < facts.asset.amount_min),
        (Rule::AmountMax, facts.amount > facts.asset.amount_max),
        (Rule::DailyMax, facts.asset.daily_max.is_some_and(|most| facts.day_total > most)),
    ];
    objections
        .into_iter()
        .find(|(_, objects)| *objects)
        .map_or(Verdict::Pass(Rule::Default), |(rule, _)| Verdict::Refuse(rule))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};

    use super::*;
    use crate::id::AssetId;

    fn units(units: u64) -> Amount {
        Amount::from_atomic(U256::from(units))
    }

    fn asset() -> Asset {
        Asset {
            id: AssetId::from_bytes([1; 16]),
            chain_id: 137,
            symbol: "USDC".into(),
            token: Some(Address::repeat_byte(3)),
            decimals: 6,
            amount_min: units(10),
            amount_max: units(100),
            daily_max: Some(units(250)),
            enabled: true,
        }
    }

    #[test]
    fn each_rule_decides_at_its_edge() {
        let own = [Address::repeat_byte(7)];
        let to = Address::repeat_byte(9);
        let disabled = Asset { enabled: false, ..asset() };
        let unlimited = Asset { daily_max: None, ..asset() };
        let cases = [
            (asset(), to, 10, 10, Verdict::Pass(Rule::Default)),
            (asset(), to, 9, 9, Verdict::Refuse(Rule::AmountMin)),
            (asset(), to, 100, 250, Verdict::Pass(Rule::Default)),
            (asset(), to, 101, 101, Verdict::Refuse(Rule::AmountMax)),
            (asset(), to, 100, 251, Verdict::Refuse(Rule::DailyMax)),
            (unlimited, to, 100, 251, Verdict::Pass(Rule::Default)),
            (disabled, to, 10, 10, Verdict::Refuse(Rule::AssetEnabled)),
            (asset(), own[0], 10, 10, Verdict::Refuse(Rule::Destination)),
            (asset(), Address::repeat_byte(3), 10, 10, Verdict::Refuse(Rule::Destination)),
        ];
        for (asset, to, amount, day_total, expected) in cases {
            let facts = Facts {
                asset: &asset,
                amount: units(amount),
                to,
                own: &own,
                day_total: units(day_total),
            };
            assert_eq!(evaluate(&facts), expected, "{amount} of {day_total} to {to}");
        }
    }
}

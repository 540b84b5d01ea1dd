//! What a demo asks for: withdrawals of every kind, and what has to become of each.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};
use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::invalid::{FAULTS, Ground, POOR_ACCOUNT, WITHDRAWALS};
use crate::assets::{TestAsset, by_symbol};
use crate::client::ApiRequest;
use crate::installation::NETWORK;
use crate::judge::Promise;
use crate::units::format_units;

/// One request of this many is bad on purpose.
const ONE_BAD_OF: usize = 20;
/// One good request of this many goes to one of a few regulars, for the same amount each time.
const ONE_REGULAR_OF: u32 = 20;
const REGULARS: u8 = 5;
const ACCOUNTS: usize = 8;

/// What has to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    /// It is accepted, and this is paid exactly once.
    Paid(Promise),
    /// It is refused.
    Refused {
        /// What is wrong with it.
        fault: &'static str,
        /// With this HTTP status.
        status: u16,
        /// With this code.
        code: &'static str,
    },
}

/// A request, and what has to become of it.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// The body of the request; of a bad one, of what it was made from.
    pub(super) body: Value,
    /// The request as it is sent on its own.
    pub(super) request: ApiRequest,
    /// What has to become of it.
    pub(super) expectation: Expectation,
}

/// Money that an account needs beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deposit {
    /// The account.
    pub(super) account: String,
    /// The asset's symbol.
    pub(super) asset: &'static str,
    /// In whole tokens.
    pub(super) amount: String,
}

/// Everything that a demo asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// In the order of submission. The first one is good, and goes ahead of all others.
    pub(super) requests: Vec<Planned>,
    /// Exactly what the good ones need, so that money that is held twice is missed.
    pub(super) deposits: Vec<Deposit>,
}

impl Plan {
    /// What has to be paid.
    pub(super) fn promises(&self) -> impl Iterator<Item = &Promise> {
        self.requests.iter().filter_map(|planned| match &planned.expectation {
            Expectation::Paid(promise) => Some(promise),
            Expectation::Refused { .. } => None,
        })
    }
}

/// One good request.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) external_id: String,
    pub(super) account: String,
    pub(super) asset: &'a TestAsset,
    pub(super) units: U256,
    pub(super) to: Address,
}

impl Wish<'_> {
    pub(super) fn plan(self, extra: impl FnOnce(&mut Value)) -> Planned {
        let mut body = json!({
            "external_id": self.external_id,
            "account_id": self.account,
            "network": NETWORK,
            "asset": self.asset.symbol,
            "amount": format_units(self.units, self.asset.decimals),
            "to_address": self.to.to_checksum(None),
        });
        extra(&mut body);
        let (external_id, token) = (self.external_id, self.asset.token);
        let promise = Promise { external_id, token, to: self.to, units: self.units };
        let request = ApiRequest::post(WITHDRAWALS, &body);
        Planned { body, request, expectation: Expectation::Paid(promise) }
    }
}

/// Sums of units by account and asset.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs(BTreeMap<(String, &'static str), (U256, u8)>);

impl Needs {
    pub(super) fn add(&mut self, wish: &Wish<'_>) {
        let key = (wish.account.clone(), wish.asset.symbol);
        let (sum, _) = self.0.entry(key).or_insert((U256::ZERO, wish.asset.decimals));
        *sum = sum.saturating_add(wish.units);
    }

    pub(super) fn deposits(self) -> Vec<Deposit> {
        let deposit = |((account, asset), (units, decimals))| {
            let amount = format_units(units, decimals);
            Deposit { account, asset, amount }
        };
        self.0.into_iter().map(deposit).collect()
    }
}

/// Mixes `count` withdrawals: native coin, USDC and USDT, three priorities, most recipients unique,
/// some paid several times with equal amounts, and one in twenty bad. The same seed gives the same.
///
/// # Errors
/// `assets` lacks one of them, or there is no wallet.
pub(super) fn mixed(
    count: usize,
    seed: u64,
    assets: &[TestAsset],
    wallets: &[Address],
) -> Result<Plan> {
    ensure!(count > 0 && !wallets.is_empty(), "a demo needs a withdrawal and a wallet at least");
    let mut random = StdRng::seed_from_u64(seed);
    let mut needs = Needs::default();
    let mut requests = Vec::with_capacity(count);
    for index in 0..count {
        if index % ONE_BAD_OF == ONE_BAD_OF - 1 {
            requests.push(bad(index, assets, wallets, &mut random)?);
        } else {
            let wish = good(index, assets, &mut random)?;
            needs.add(&wish);
            let by_token = random.random_ratio(1, 4).then_some(wish.asset.token).flatten();
            let priority = [None, Some("standard"), Some("vip"), Some("urgent")];
            let priority = priority[random.random_range(0..priority.len())];
            requests.push(wish.plan(|body| {
                if let Some(token) = by_token {
                    body["token_address"] = json!(token.to_checksum(None));
                    body.as_object_mut().map(|body| body.remove("asset"));
                }
                if let Some(priority) = priority {
                    body["priority"] = json!(priority);
                }
            }));
        }
    }
    let mut deposits = needs.deposits();
    deposits.push(Deposit {
        account: POOR_ACCOUNT.to_owned(),
        asset: "USDC",
        amount: "1".to_owned(),
    });
    Ok(Plan { requests, deposits })
}

fn external_id(index: usize) -> String {
    format!("demo-{index:06}")
}

fn good<'a>(index: usize, assets: &'a [TestAsset], random: &mut StdRng) -> Result<Wish<'a>> {
    let account = format!("demo-{}", index % ACCOUNTS);
    let external_id = external_id(index);
    if random.random_ratio(1, ONE_REGULAR_OF) {
        let asset = by_symbol(assets, "USDC")?;
        let to = Address::repeat_byte(0xc0 + random.random_range(0..REGULARS));
        return Ok(Wish { external_id, account, asset, units: U256::from(25_000_000), to });
    }
    let (symbol, least, most) = match random.random_range(0..10) {
        0..3 => ("POL", 100_000_000_000_000_u64, 50_000_000_000_000_000),
        3..7 => ("USDC", 10_000, 500_000_000),
        _ => ("USDT", 10_000, 500_000_000),
    };
    let asset = by_symbol(assets, symbol)?;
    let units = U256::from(random.random_range(least..=most));
    let to = Address::from(random.random::<[u8; 20]>());
    Ok(Wish { external_id, account, asset, units, to })
}

fn bad(
    index: usize,
    assets: &[TestAsset],
    wallets: &[Address],
    random: &mut StdRng,
) -> Result<Planned> {
    let asset = by_symbol(assets, "USDC")?;
    let wish = Wish {
        external_id: external_id(index),
        account: "demo-0".to_owned(),
        asset,
        units: U256::from(5_000_000),
        to: Address::from(random.random::<[u8; 20]>()),
    };
    let body = wish.plan(|_| {}).body;
    let ground = Ground {
        body: body.clone(),
        used_id: external_id(0),
        wallet: wallets[random.random_range(0..wallets.len())],
        token: asset.token.unwrap_or_default(),
    };
    let fault = FAULTS[(index / ONE_BAD_OF) % FAULTS.len()];
    let (status, code) = (fault.status, fault.code);
    let expectation = Expectation::Refused { fault: fault.name, status, code };
    Ok(Planned { body, request: (fault.make)(&ground), expectation })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::testnet::Deployment;

    fn assets() -> [TestAsset; 4] {
        TestAsset::all(&Deployment {
            usdc: Address::repeat_byte(0xa1),
            usdt: Address::repeat_byte(0xa2),
            bal: Address::repeat_byte(0xa3),
            block: 1,
        })
    }

    fn thousand(seed: u64) -> Plan {
        mixed(1_000, seed, &assets(), &[Address::repeat_byte(9)]).unwrap()
    }

    #[test]
    fn one_in_twenty_is_bad_and_each_kind_comes() {
        let plan = thousand(1);
        let promises: Vec<&Promise> = plan.promises().collect();
        assert_eq!((plan.requests.len(), promises.len()), (1_000, 950));
        let faults: BTreeSet<&str> = plan
            .requests
            .iter()
            .filter_map(|planned| match planned.expectation {
                Expectation::Refused { fault, .. } => Some(fault),
                Expectation::Paid(_) => None,
            })
            .collect();
        assert_eq!(faults.len(), FAULTS.len());
        let ids: BTreeSet<&str> =
            promises.iter().map(|promise| promise.external_id.as_str()).collect();
        assert_eq!(ids.len(), promises.len());
        assert!(matches!(plan.requests[0].expectation, Expectation::Paid(_)));
    }

    #[test]
    fn there_are_three_assets_equal_payments_and_every_priority() {
        let plan = thousand(2);
        let mut terms: HashMap<_, usize> = HashMap::new();
        for promise in plan.promises() {
            *terms.entry((promise.token, promise.to, promise.units)).or_default() += 1;
        }
        let tokens: BTreeSet<_> = terms.keys().map(|(token, ..)| *token).collect();
        assert_eq!(tokens.len(), 3);
        assert!(terms.values().any(|count| *count > 2));
        assert!(terms.values().filter(|count| **count == 1).count() > 800);
        for priority in ["standard", "vip", "urgent"] {
            assert!(plan.requests.iter().any(|planned| planned.body["priority"] == priority));
        }
    }

    #[test]
    fn deposits_are_exactly_what_is_needed() {
        let assets = assets();
        let plan = thousand(3);
        for asset in &assets {
            let due = plan.promises().filter(|promise| promise.token == asset.token);
            let due = due.fold(U256::ZERO, |sum, promise| sum + promise.units);
            let deposits = plan
                .deposits
                .iter()
                .filter(|deposit| deposit.asset == asset.symbol && deposit.account != POOR_ACCOUNT);
            let deposited = deposits
                .fold(U256::ZERO, |sum, deposit| sum + asset.units(&deposit.amount).unwrap());
            assert_eq!(deposited, due, "{}", asset.symbol);
        }
    }

    #[test]
    fn a_seed_is_repeatable() {
        let bodies = |seed| -> Vec<Value> {
            thousand(seed).requests.into_iter().map(|planned| planned.body).collect()
        };
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
    }
}

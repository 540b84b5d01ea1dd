//! The demo withdrawals of a sandbox: paid in front of the user, then judged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, keccak256};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::table::LiveTable;
use crate::assets::{TestAsset, by_symbol};
use crate::chain::Rpc;
use crate::client::{ApiClient, ApiRequest};
use crate::installation::NETWORK;
use crate::judge::{BalanceSheet, Promise, Scope, Verdict, observe};
use crate::latency::seconds;
use crate::testbed::{CONFIRMATIONS, Payers};

/// Who pays, and in the examples too.
pub(super) const ACCOUNTS: [&str; 3] = ["alice", "bob", "carol"];
/// How many withdrawals.
const COUNT: usize = 20;
/// Blocks that are waited for after the last confirmation.
const QUIET_BLOCKS: u64 = 2;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// How long nothing may change before what is missing counts as lost.
const STALL: Duration = Duration::from_mins(1);
/// States that a withdrawal does not leave by itself on a chain that nothing happens to.
const ENDS: [&str; 5] = ["CONFIRMED", "FAILED", "REJECTED", "CANCELED", "HELD"];
/// What each account is given before a run, by asset. All of a run together needs less.
const DEPOSITS: [(&str, &str); 4] =
    [("POL", "100"), ("USDC", "10000"), ("USDT", "10000"), ("BAL", "1000")];

/// One demo withdrawal.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Errand {
    account: &'static str,
    amount: &'static str,
    asset: &'static str,
    priority: &'static str,
    promise: Promise,
}

/// The judgement, counted from the chain.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxReport {
    /// Withdrawals that were asked for.
    pub withdrawals: usize,
    /// Those that the chain shows as paid, with the chain's confirmations.
    pub confirmed: usize,
    /// Those that the chain does not show.
    pub lost: usize,
    /// Payments beyond them.
    pub paid_twice: usize,
    /// Payments to their recipients that nobody asked for.
    pub unexpected: usize,
    /// Recipients whose balance is not what they were promised.
    pub wrong_balances: usize,
    /// Withdrawals that the API says are confirmed.
    pub reported_confirmed: usize,
    /// From the first request to the judgement.
    pub seconds: f64,
}

impl SandboxReport {
    /// Whether all were paid, and once.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.confirmed == self.withdrawals
            && self.reported_confirmed == self.withdrawals
            && self.lost == 0
            && self.paid_twice == 0
            && self.unexpected == 0
            && self.wrong_balances == 0
    }
}

/// What a run of demo withdrawals works with.
#[derive(Debug)]
pub(super) struct Errands<'a> {
    pub(super) api: &'a ApiClient,
    pub(super) rpc: &'a Rpc,
    pub(super) assets: &'a [TestAsset],
    pub(super) payers: &'a Payers,
    /// Makes ids and recipients those of this run alone.
    pub(super) run: &'a str,
}

impl Errands<'_> {
    /// Credits the accounts, asks for the withdrawals, follows them in a live table, and judges.
    ///
    /// # Errors
    /// A request is refused or not answered, or the node fails.
    pub(super) async fn pay_and_judge(&self) -> Result<SandboxReport> {
        for account in ACCOUNTS {
            for (asset, amount) in DEPOSITS {
                let id = format!("sandbox-{}-{account}-{asset}", self.run);
                self.api.deposit(account, &id, asset, amount).await?;
            }
        }
        let errands = errands(self.run, self.assets)?;
        let from_block = self.rpc.block_number().await?.saturating_add(1);
        let begun = Instant::now();
        let reported_confirmed = self.pay(&errands).await?;
        let promises: Vec<Promise> = errands.into_iter().map(|errand| errand.promise).collect();
        let recipients: BTreeSet<Address> = promises.iter().map(|promise| promise.to).collect();
        let scope = Scope {
            wallets: self.payers.wallets.iter().copied().collect(),
            vault: self.payers.vault,
            tokens: self.assets.iter().filter_map(|asset| asset.token).collect(),
            recipients: Some(recipients.iter().copied().collect()),
        };
        let head = self.quiet_head().await?;
        let observation = observe(self.rpc, &scope, from_block, head).await?;
        let verdict = Verdict::of(&promises, &observation.payments);
        // The recipients are new: they had nothing before.
        let after = BalanceSheet::read(self.rpc, &scope.tokens, &recipients).await?;
        let wrong = after.check_recipients(&BalanceSheet::default(), &promises, &BTreeSet::new());
        Ok(SandboxReport {
            withdrawals: promises.len(),
            confirmed: verdict.confirmed(head, CONFIRMATIONS),
            lost: verdict.lost().len(),
            paid_twice: verdict.paid_twice.len(),
            unexpected: verdict.unexpected.len(),
            wrong_balances: wrong.len(),
            reported_confirmed,
            seconds: seconds(begun.elapsed()),
        })
    }

    /// Lets a few blocks more pass, in which a second payment would come; the newest of them.
    async fn quiet_head(&self) -> Result<u64> {
        let wanted = self.rpc.block_number().await?.saturating_add(QUIET_BLOCKS);
        loop {
            let head = self.rpc.block_number().await?;
            if head >= wanted {
                return Ok(head);
            }
            sleep(FOLLOW_INTERVAL).await;
        }
    }

    /// Asks for each withdrawal and follows all to their ends; the number of those confirmed.
    async fn pay(&self, errands: &[Errand]) -> Result<usize> {
        let mut table = LiveTable::new(errands.iter().enumerate().map(|(index, errand)| {
            let Errand { account, amount, asset, priority, .. } = errand;
            let number = index.saturating_add(1);
            let to = &errand.promise.to.to_checksum(None)[..10];
            format!("{number:>2}  {account:<5} pays {amount:>8} {asset:<4} to {to}…  {priority:<8}")
        }));
        let mut ids = Vec::with_capacity(errands.len());
        for (index, errand) in errands.iter().enumerate() {
            let request = ApiRequest::post("/v1/withdrawals", &body(errand));
            let answer = self.api.send_until_answered(&request).await?.answer;
            let accepted = answer.expect_success(&errand.promise.external_id)?;
            table.show(index, accepted["status"].as_str().unwrap_or("accepted"), "");
            let id = accepted["id"].as_str().context("an accepted withdrawal has no id")?;
            ids.push(id.to_owned());
        }
        let mut open: Vec<usize> = (0..ids.len()).collect();
        let mut last: Vec<String> = vec![String::new(); ids.len()];
        let mut changed_at = Instant::now();
        while !open.is_empty() && changed_at.elapsed() < STALL {
            sleep(FOLLOW_INTERVAL).await;
            for &index in &open {
                let withdrawal = self.api.withdrawal(&ids[index]).await?;
                if withdrawal.status == last[index] {
                    continue;
                }
                let detail = withdrawal.reason.clone().or_else(|| {
                    let attempt = withdrawal.attempts.last()?;
                    Some(format!("nonce {:<4} {}", attempt.nonce, attempt.hash))
                });
                table.show(index, &withdrawal.status, &detail.unwrap_or_default());
                last[index] = withdrawal.status;
                changed_at = Instant::now();
            }
            open.retain(|&index| !ENDS.contains(&last[index].as_str()));
        }
        Ok(last.iter().filter(|status| *status == "CONFIRMED").count())
    }
}

fn body(errand: &Errand) -> Value {
    json!({
        "external_id": errand.promise.external_id,
        "account_id": errand.account,
        "network": NETWORK,
        "asset": errand.asset,
        "amount": errand.amount,
        "to_address": errand.promise.to.to_checksum(None),
        "priority": errand.priority,
    })
}

/// The withdrawals of a run: all assets and priorities, to recipients that no other run has.
fn errands(run: &str, assets: &[TestAsset]) -> Result<Vec<Errand>> {
    const KINDS: [(&str, &str); 7] = [
        ("0.25", "POL"),
        ("12.5", "USDC"),
        ("100", "USDT"),
        ("3.000001", "USDC"),
        ("1.75", "BAL"),
        ("0.01", "USDT"),
        ("0.001", "POL"),
    ];
    const PRIORITIES: [&str; 4] = ["standard", "vip", "standard", "urgent"];
    let errand = |index: usize| {
        let (amount, symbol) = KINDS[index % KINDS.len()];
        let asset = by_symbol(assets, symbol)?;
        let external_id = format!("sandbox-{run}-{:02}", index.saturating_add(1));
        let to = Address::from_word(keccak256(&external_id));
        let units = asset.units(amount)?;
        Ok(Errand {
            account: ACCOUNTS[index % ACCOUNTS.len()],
            amount,
            asset: asset.symbol,
            priority: PRIORITIES[index % PRIORITIES.len()],
            promise: Promise { external_id, token: asset.token, to, units },
        })
    };
    (0..COUNT).map(errand).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;
    use crate::testnet::Deployment;

    fn assets() -> [TestAsset; 4] {
        TestAsset::all(&Deployment {
            usdc: Address::repeat_byte(1),
            usdt: Address::repeat_byte(2),
            bal: Address::repeat_byte(3),
            block: 1,
        })
    }

    #[test]
    fn runs_share_neither_ids_nor_recipients() {
        let (first, second) = (errands("a", &assets()).unwrap(), errands("b", &assets()).unwrap());
        let mut ids = BTreeSet::new();
        let mut recipients = BTreeSet::new();
        for errand in first.iter().chain(&second) {
            ids.insert(errand.promise.external_id.clone());
            recipients.insert(errand.promise.to);
        }
        assert_eq!((ids.len(), recipients.len()), (2 * COUNT, 2 * COUNT));
        let symbols: BTreeSet<&str> = first.iter().map(|errand| errand.asset).collect();
        assert_eq!(symbols.len(), 4);
    }

    #[test]
    fn the_deposits_are_enough() {
        let assets = assets();
        let errands = errands("a", &assets).unwrap();
        for (symbol, amount) in DEPOSITS {
            let asset = by_symbol(&assets, symbol).unwrap();
            let due = errands.iter().filter(|errand| errand.asset == symbol);
            let due = due.fold(U256::ZERO, |sum, errand| sum + errand.promise.units);
            assert!(!due.is_zero() && due < asset.units(amount).unwrap(), "{symbol}");
        }
    }

    #[test]
    fn a_report_is_good_only_when_the_chain_and_the_api_agree() {
        let good = SandboxReport {
            withdrawals: 20,
            confirmed: 20,
            lost: 0,
            paid_twice: 0,
            unexpected: 0,
            wrong_balances: 0,
            reported_confirmed: 20,
            seconds: 1.0,
        };
        assert!(good.is_good());
        assert!(!SandboxReport { confirmed: 19, lost: 1, ..good.clone() }.is_good());
        assert!(!SandboxReport { reported_confirmed: 19, ..good.clone() }.is_good());
        assert!(!SandboxReport { paid_twice: 1, ..good.clone() }.is_good());
        let line = serde_json::to_string(&good).unwrap();
        assert!(line.starts_with(r#"{"withdrawals":20,"confirmed":20,"lost":0,"paid_twice":0,"#));
    }
}

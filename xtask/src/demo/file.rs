//! A payout list from a CSV file.

use std::io::Read;
use std::path::Path;

use alloy_primitives::Address;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::plan::{Needs, Plan, Wish};
use crate::assets::{TestAsset, by_symbol};
use crate::judge::Promise;
use crate::testnet::Deployment;

/// The account that pays the whole list.
const ACCOUNT: &str = "payouts";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    external_id: String,
    to_address: String,
    asset: String,
    amount: String,
}

/// Reads a list with the columns `external_id,to_address,asset,amount`.
///
/// # Errors
/// The file cannot be read, or a row is wrong: the message names its line.
pub(super) fn read_list(path: &Path, assets: &[TestAsset]) -> Result<Plan> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("cannot read the payout list {}", path.display()))?;
    plan(file, assets).with_context(|| format!("the payout list {}", path.display()))
}

/// What a list promises, in its order.
///
/// # Errors
/// The file cannot be read, or a row is wrong: the message names its line.
pub fn payout_list(path: &Path, assets: &[TestAsset]) -> Result<Vec<Promise>> {
    Ok(read_list(path, assets)?.promises().cloned().collect())
}

/// Whether [`read_list`] will take the list: that does not depend on where the tokens are.
///
/// # Errors
/// As [`read_list`].
pub(super) fn check_list(path: &Path) -> Result<()> {
    let nowhere = Deployment {
        usdc: Address::repeat_byte(1),
        usdt: Address::repeat_byte(2),
        bal: Address::repeat_byte(3),
        block: 0,
    };
    read_list(path, &TestAsset::all(&nowhere)).map(drop)
}

fn plan(text: impl Read, assets: &[TestAsset]) -> Result<Plan> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let mut needs = Needs::default();
    let mut requests = Vec::new();
    for (index, row) in reader.deserialize::<Row>().enumerate() {
        // The header is line 1.
        let line = index.saturating_add(2);
        let row = row.with_context(|| format!("line {line} is not a payout"))?;
        let wish = wish(row, assets).with_context(|| format!("line {line}"))?;
        needs.add(&wish);
        requests.push(wish.plan(|_| {}));
    }
    ensure!(!requests.is_empty(), "has no rows");
    Ok(Plan { requests, deposits: needs.deposits() })
}

fn wish(row: Row, assets: &[TestAsset]) -> Result<Wish<'_>> {
    let asset = by_symbol(assets, &row.asset)?;
    let units = asset.units(&row.amount)?;
    let to = Address::parse_checksummed(&row.to_address, None)
        .with_context(|| format!("{} is not an address with its checksum", row.to_address))?;
    let account = ACCOUNT.to_owned();
    Ok(Wish { external_id: row.external_id, account, asset, units, to })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;
    use crate::demo::plan::Deposit;

    const ALICE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    const BOB: &str = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";

    fn read(rows: &str) -> Result<Plan> {
        let deployment = Deployment {
            usdc: Address::repeat_byte(1),
            usdt: Address::repeat_byte(2),
            bal: Address::repeat_byte(3),
            block: 1,
        };
        let text = format!("external_id,to_address,asset,amount\n{rows}");
        plan(text.as_bytes(), &TestAsset::all(&deployment))
    }

    #[test]
    fn rows_become_promises_and_one_deposit() {
        let plan = read(&format!("a-1,{ALICE},BAL,0.00000000004\na-2, {BOB} ,BAL,1.5\n")).unwrap();
        let promises: Vec<_> = plan.promises().collect();
        assert_eq!(promises[0].units, U256::from(40_000_000));
        assert_eq!(promises[1].external_id, "a-2");
        assert_eq!(promises[1].token, Some(Address::repeat_byte(3)));
        let amount = "1.50000000004".to_owned();
        assert_eq!(plan.deposits, [Deposit { account: ACCOUNT.to_owned(), asset: "BAL", amount }]);
    }

    #[tokio::test]
    async fn a_bad_list_ends_the_demo_before_anything_starts() {
        use clap::Parser;

        use crate::demo::{DemoArgs, run};

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            demo: DemoArgs,
        }

        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.csv");
        let text = format!("external_id,to_address,asset,amount\na-1,{ALICE},NOPE,1\n");
        std::fs::write(&list, text).unwrap();
        let missing = dir.path().join("missing.csv");
        for (path, expected) in [(&list, "line 2"), (&missing, "missing.csv")] {
            let path = path.display().to_string();
            let line = Line::try_parse_from(["demo", "--file", &path]).unwrap();
            let error = format!("{:#}", run(&line.demo).await.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        for line in [["demo", "--withdrawals", "0"], ["demo", "--connections", "0"]] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_wrong_row_is_named_by_its_line() {
        let good = format!("a-1,{ALICE},BAL,1\n");
        for bad in [
            format!("a-2,{ALICE},NOPE,1\n"),
            format!("a-2,{ALICE},BAL,one\n"),
            format!("a-2,{ALICE},BAL\n"),
            format!("a-2,{},BAL,1\n", ALICE.replace("BeAed", "BeAeD")),
            format!("a-2,{ALICE},USDC,0.0000001\n"),
        ] {
            let error = format!("{:#}", read(&format!("{good}{bad}")).unwrap_err());
            assert!(error.contains("line 3"), "{bad}: {error}");
        }
        assert!(read("").is_err());
    }
}

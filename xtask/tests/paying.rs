//! A payout list through the real binary, in batches, against a real chain.

use std::fs;

use alloy_primitives::Address;
use clap::Parser;
use xtask::demo::{self, DemoArgs};

#[derive(Parser)]
struct DemoLine {
    #[command(flatten)]
    arguments: DemoArgs,
}

#[tokio::test]
async fn a_payout_list_is_paid_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.csv");
    let row = |index: u64| {
        let to = Address::left_padding_from(&(index << 32).to_be_bytes()).to_checksum(None);
        format!("list-{index},{to},BAL,0.{index:018}")
    };
    let head = "external_id,to_address,asset,amount".to_owned();
    // More than one batch holds, down to the smallest unit.
    let lines: Vec<String> = std::iter::once(head).chain((1..=600).map(row)).collect();
    fs::write(&list, lines.join("\n")).unwrap();

    let words = ["demo", "--wallets", "32", "--file", list.to_str().unwrap()];
    let report = demo::run(&DemoLine::parse_from(words).arguments).await.unwrap();
    assert!(report.is_good(), "{report}");
    assert_eq!((report.valid, report.confirmed, report.invalid), (600, 600, 0));
    assert!(report.mined_p50_ms > 0.0 && report.payments_per_second > 0.0);
}

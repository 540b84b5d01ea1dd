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
async fn a_payout_list_is_paid_in_batches_on_each_rail() {
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

    // Each payment has a transaction of its own on the one rail, and dozens share one on the other.
    for (rail, signed) in [("direct", 600..=700), ("vault", 12..=300)] {
        let words = ["demo", "--wallets", "32", "--rail", rail, "--file", list.to_str().unwrap()];
        let report = demo::run(&DemoLine::parse_from(words).arguments).await.unwrap();
        assert!(report.is_good(), "{report}");
        assert_eq!((report.valid, report.confirmed, report.invalid), (600, 600, 0));
        assert!(report.mined_p50_ms > 0.0 && report.payments_per_second > 0.0);
        assert!(signed.contains(&report.replayed), "{rail}: {} were signed", report.replayed);
        assert_eq!((report.replay_accepted, report.replay_paid), (0, 0), "{rail}");
    }
}

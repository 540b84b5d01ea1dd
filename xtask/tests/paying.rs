//! The real binary against a real chain: paid once, also by a server that is killed in the middle.

use std::fs;
use std::path::Path;

use alloy_primitives::Address;
use clap::Parser;
use xtask::demo::{self, DemoArgs, DemoReport};
use xtask::sandbox::{self, Ending, SandboxArgs};

#[derive(Parser)]
struct DemoLine {
    #[command(flatten)]
    arguments: DemoArgs,
}

#[derive(Parser)]
struct SandboxLine {
    #[command(flatten)]
    arguments: SandboxArgs,
}

async fn play(line: &str) -> DemoReport {
    let words = std::iter::once("demo").chain(line.split_whitespace());
    let report = demo::run(&DemoLine::parse_from(words).arguments).await.unwrap();
    println!("{report}");
    report
}

#[tokio::test]
async fn a_thousand_withdrawals_are_paid_once_by_a_server_that_is_killed_three_times() {
    let report = play("--withdrawals 1000 --wallets 16 --kill 3").await;
    assert!(report.is_good(), "{report}");
    assert_eq!((report.valid, report.confirmed, report.kills), (950, 950, 3));
    assert_eq!((report.invalid, report.refused), (50, 50));
    assert!(report.mined_p50_ms > 0.0 && report.payments_per_second > 0.0);
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
    let lines: Vec<String> = std::iter::once(head).chain((1..=600).map(row)).collect();
    fs::write(&list, lines.join("\n")).unwrap();
    let report = play(&format!("--wallets 32 --file {}", list.display())).await;
    assert!(report.is_good(), "{report}");
    assert_eq!((report.valid, report.confirmed, report.invalid), (600, 600, 0));
}

async fn sandbox(dir: &Path) -> Ending {
    let dir = dir.to_str().unwrap();
    let words = ["sandbox", "--once", "--json", "--listen", "127.0.0.1:0", "--dir", dir];
    sandbox::run(&SandboxLine::parse_from(words).arguments).await.unwrap()
}

#[tokio::test]
async fn a_sandbox_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sandbox");
    assert_eq!(sandbox(&dir).await, Ending::Good);
    let record = fs::read_to_string(dir.join("sandbox.json")).unwrap();
    assert_eq!(sandbox(&dir).await, Ending::Good);
    assert_eq!(fs::read_to_string(dir.join("sandbox.json")).unwrap(), record);
}

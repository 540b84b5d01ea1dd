//! The whole path: the real binary, a real node, HTTP, and SIGKILL in the middle. What was paid is
//! read from the chain's own blocks, logs and balances.

use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use xtask::demo::{self, DemoArgs};
use xtask::sandbox::{self, Ending, SandboxArgs};

/// The command lines of a user, so that the defaults are the user's.
#[derive(Debug, Parser)]
enum Line {
    Demo(DemoArgs),
    Sandbox(SandboxArgs),
}

/// Each test has a chain and a server: at the same time they would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn a_server_that_is_killed_three_times_pays_every_withdrawal_exactly_once() {
    let _turn = alone();
    let words = "xtask demo --withdrawals 300 --wallets 16 --kill --seed 20261120";
    let Line::Demo(arguments) = Line::try_parse_from(words.split(' ')).unwrap() else {
        panic!("{words:?} is a demo");
    };
    let report = runtime().block_on(demo::run(&arguments)).unwrap();
    println!("{report}");
    assert_eq!(report.kills, 3, "the server was killed in the middle");
    assert_eq!((report.lost, report.paid_twice), (0, 0), "{report}");
    assert_eq!(report.confirmed, report.valid, "{report}");
    assert_eq!(report.refused, report.invalid, "{report}");
    assert!(report.valid > 250 && report.invalid > 0, "{report}");
    assert!(report.is_good(), "{report}");
}

#[test]
fn a_sandbox_pays_and_a_second_start_goes_on_where_the_first_stopped() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sandbox");
    let words = ["xtask", "sandbox", "--once", "--dir", dir.to_str().unwrap()];
    let Line::Sandbox(arguments) = Line::try_parse_from(words).unwrap() else {
        panic!("{words:?} is a sandbox");
    };
    for start in ["the first start", "the second start"] {
        let ending = runtime().block_on(sandbox::run(&arguments)).unwrap();
        assert_eq!(ending, Ending::Good, "{start}");
    }
}

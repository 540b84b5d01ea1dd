//! Bad days of a fleet of real processes: servers between them die, all are restarted in turn, two signers fight over
//! the same wallets, clocks differ, and the holder of the keys fails. Each time the chain judges: nothing lost, nothing
//! paid twice.

use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use xtask::fleet::{self, Fault, FleetArgs, FleetReport, Happened};

/// The command line of a user.
#[derive(Debug, Parser)]
enum Line {
    Fleet(FleetArgs),
}

/// Each run has a chain: at the same time they would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays a run, in which all these faults happened and every promise was kept.
fn played(words: &str, faults: &[Fault]) -> FleetReport {
    let _turn = alone();
    let named = format!("xtask fleet --kill-every 0 {words}");
    let Line::Fleet(arguments) = Line::try_parse_from(named.split_whitespace()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(fleet::run(&arguments)).unwrap();
    println!("{report}\n{:#?}", report.faults);
    assert_eq!((report.lost, report.paid_twice, report.stuck), (0, 0, 0), "{report}");
    assert!(report.replayed > 0 && report.replay_paid == 0, "{report}");
    let mut happened: Vec<Fault> = report.faults.iter().map(|it| it.fault).collect();
    happened.sort_unstable();
    assert_eq!(happened, faults, "{report}");
    assert!(report.is_good(), "{report}");
    report
}

fn told(report: &FleetReport, fault: Fault) -> &Happened {
    report.faults.iter().find(|it| it.fault == fault).unwrap()
}

#[test]
fn two_signers_that_stop_in_turn_and_clocks_that_differ_pay_everything_once() {
    let words =
        "--keys shared --withdrawals 360 --rate 12 --seed 20261129 --fault signer --fault clock";
    let report = played(words, &[Fault::Signer, Fault::Clock]);
    assert!(report.withdrawals > 340, "{report}");
}

#[test]
fn servers_that_die_and_a_rolling_restart_cost_no_payment_and_are_named() {
    let words = "--withdrawals 1000 --rate 25 --seed 20261130 --fault rolling \
                 --fault database --fault redis --fault queues --fault twice";
    let faults = [Fault::Database, Fault::Redis, Fault::Queues, Fault::Twice, Fault::Rolling];
    let report = played(words, &faults);
    assert!(report.withdrawals > 950, "{report}");
    for fault in [Fault::Database, Fault::Redis, Fault::Queues] {
        let told = told(&report, fault);
        assert!(told.readyz.is_some() && told.log.is_some(), "{told:?}");
    }
}

#[test]
fn kms_that_throttles_and_falls_silent_delays_payments_and_nothing_else() {
    let words = "--keys kms --rail direct --withdrawals 60 --rate 5 --seed 20261201 --fault keys";
    let report = played(words, &[Fault::Keys]);
    assert!(told(&report, Fault::Keys).log.is_some(), "{report:?}");
}

#[test]
fn a_secret_that_is_rotated_while_it_signs_goes_on_signing() {
    let words = "--keys secrets-manager --rail direct --withdrawals 60 --rate 5 --seed 20261202 \
                 --fault keys";
    played(words, &[Fault::Keys]);
}

#[test]
fn a_token_that_is_pulled_out_and_put_back_goes_on_signing() {
    let words =
        "--keys pkcs11 --rail direct --withdrawals 60 --rate 5 --seed 20261203 --fault keys";
    let report = played(words, &[Fault::Keys]);
    assert!(told(&report, Fault::Keys).log.is_some(), "{report:?}");
}

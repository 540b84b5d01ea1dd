//! Twenty seeds of every kind of trouble, and the proof that the trouble was real.

use portcullis_simulator::{Outcome, SimulationOptions, Totals, run_seed};

const OPTIONS: SimulationOptions =
    SimulationOptions { withdrawals: 60, crashes_min: 6, trace: false };

fn run(seed: u64) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run_seed(seed, OPTIONS))
        .expect("a world")
}

fn judge(seeds: std::ops::RangeInclusive<u64>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        let outcome = run(seed);
        assert!(outcome.is_good(), "seed {seed}: {:#?}", outcome.problems);
        assert!(outcome.withdrawals >= 50 && outcome.crashes >= 5, "seed {seed}: {outcome:?}");
        totals.add(&outcome);
    }
    totals
}

fn assert_trouble_was_real(totals: &Totals) {
    println!("{totals}");
    let faults = totals.faults;
    for (kind, count) in [
        ("power cuts", totals.power_cuts),
        ("reorgs", totals.reorgs),
        ("requests without answer", totals.lost_requests),
        ("lost doorbells", totals.lost_doorbells),
        ("cancels", totals.cancels),
        ("requests dropped", faults.dropped),
        ("answers lost", faults.lost_answers),
        ("rate limits", faults.rate_limited),
        ("null reads", faults.null_reads),
        ("stale reads", faults.stale_reads),
        ("accepted late", faults.accepted_late),
        ("forgotten", faults.forgotten),
        ("duplicated", faults.duplicated),
    ] {
        assert!(count > 0, "no {kind} in ten seeds");
    }
}

#[test]
fn seeds_1_to_10_pay_exactly_once() {
    assert_trouble_was_real(&judge(1..=10));
}

#[test]
fn seeds_11_to_20_pay_exactly_once() {
    assert_trouble_was_real(&judge(11..=20));
}

#[test]
fn a_seed_replays() {
    let (first, again) = (run(42), run(42));
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
}

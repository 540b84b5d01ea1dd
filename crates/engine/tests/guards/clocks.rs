//! A process whose own clock is a minute and a half off, on a database server: it works by the server's.

use std::ops::RangeInclusive;

use portcullis_core::withdrawal::{Priority, StateCode};
use portcullis_engine::Progress;

use crate::bench::{Bench, LOCAL};

const OFFSETS_MS: [i64; 2] = [-90_000, 90_000];

/// Longer than a step takes on any machine, and shorter than the clocks differ by.
const PAUSE_MS: i64 = 60_000;

async fn bench(off_ms: i64) -> Bench {
    let mut bench = Bench::on_server(off_ms).await;
    bench.settings.rebroadcast_after_ms = PAUSE_MS;
    bench.settings.bump_after_ms = PAUSE_MS;
    bench
}

#[tokio::test]
async fn bytes_are_not_sent_again_before_their_pause_is_over() {
    for off_ms in OFFSETS_MS {
        let bench = bench(off_ms).await;
        let machine = bench.start().await;
        let id = bench.queue(&machine).await;
        machine.sign().await;
        machine.send().await;
        let state = bench.read(&machine.store, id).await.state.code();
        assert_eq!(state, StateCode::Broadcasted, "{off_ms}");
        let right = bench.open_under(&bench.clock).await;
        let due = right.first_sendable(LOCAL).await.expect("reads");
        assert_eq!(due, None, "{off_ms}: due again, by the server's clock");
        assert_eq!(machine.broadcaster.step().await.expect("looks"), Progress::Idle, "{off_ms}");
    }
}

#[tokio::test]
async fn a_head_is_not_bumped_before_its_time() {
    for off_ms in OFFSETS_MS {
        let bench = bench(off_ms).await;
        let machine = bench.start().await;
        bench.queue(&machine).await;
        machine.sign().await;
        machine.send().await;
        assert_eq!(machine.recovery.step().await.expect("looks"), Progress::Idle, "{off_ms}");
        let asked = machine.store.open_commands(LOCAL, 9).await.expect("reads");
        assert!(asked.is_empty(), "{off_ms}: {asked:?}");
    }
}

#[tokio::test]
async fn a_batch_lingers_no_longer_than_it_may() {
    for off_ms in OFFSETS_MS {
        let bench = bench(off_ms).await.operating_vault();
        let most_ms = u64::try_from(bench.settings.batching.linger_max_ms).expect("a length");
        let machine = bench.start().await;
        for id in ["a", "b", "c", "d", "e", "f"] {
            bench.queue_as(&machine, id, Some(bench.token), Priority::Standard).await;
        }
        let step = machine.signer.step().await.expect("signs");
        let may_rest: RangeInclusive<u64> = 0..=most_ms;
        let is_right = match step {
            Progress::Worked => true,
            Progress::IdleFor(rest_ms) => may_rest.contains(&rest_ms),
            Progress::Idle => false,
        };
        assert!(is_right, "{off_ms}: {step:?}");
    }
}

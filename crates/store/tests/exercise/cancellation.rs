//! Any future of the store may be dropped anywhere: nothing half done is ever seen afterwards.

use crate::walk::{Steps, Walk};

/// Roles that are ended in the middle of most of their commits, until everything is paid or refused.
#[tokio::test]
async fn a_walk_with_steps_cut_off_anywhere_stays_consistent_and_ends() {
    let mut cut = 0;
    for seed in 100..120 {
        let mut walk = Walk::open(seed, Steps::CutOff).await;
        for _ in 0..60 {
            walk.step().await;
            walk.fixture.check().await;
        }
        cut += walk.cut;
        walk.settle().await;
        walk.fixture.check().await;
    }
    assert!(cut > 200, "only {cut} steps were cut off");
}

/// The same among threads: the answers of the database come while the future is not polled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_among_threads_stays_consistent_and_ends() {
    for seed in 200..206 {
        let mut walk = Walk::open(seed, Steps::CutOff).await;
        for _ in 0..60 {
            walk.step().await;
            walk.fixture.check().await;
        }
        walk.settle().await;
        walk.fixture.check().await;
    }
}

//! How long a withdrawal's moves take: the whole life of one that is paid, and a move that is refused.

use std::hint::black_box;

use alloy_primitives::B256;
use criterion::{Criterion, Throughput};
use portcullis_core::id::SlotId;
use portcullis_core::withdrawal::{BlockRef, Event, Refused, State, StateCode, decide};

/// From intake to the depth at which nothing can change any more.
fn life() -> Vec<Event> {
    let slot = SlotId::from_bytes([3; 16]);
    let block = BlockRef { number: 7, hash: B256::repeat_byte(9) };
    vec![
        Event::ValidationStarted,
        Event::PolicyPassed,
        Event::Bound(slot),
        Event::AttemptCommitted,
        Event::SendStarted,
        Event::SendAccepted,
        Event::Included(block),
        Event::Confirmed,
        Event::Finalized,
    ]
}

fn live(events: &[Event]) -> Result<State, Refused> {
    events.iter().try_fold(State::Pending, |state, event| {
        let (state, effects) = decide(state, *event)?;
        black_box(effects);
        Ok(state)
    })
}

fn measure(criterion: &mut Criterion) {
    let events = life();
    let end = live(&events).expect("a paid withdrawal goes through these states");
    assert_eq!(end.code(), StateCode::Confirmed);
    let mut group = criterion.benchmark_group("state_transition");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("paid", |bencher| bencher.iter(|| live(black_box(&events))));
    group.throughput(Throughput::Elements(1));
    group.bench_function("refused", |bencher| {
        bencher.iter(|| decide(black_box(State::Pending), black_box(Event::Confirmed)));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}

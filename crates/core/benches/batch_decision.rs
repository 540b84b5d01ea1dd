//! How long the decision takes which payments go into which call, by how many are queued.

use std::hint::black_box;

use alloy_primitives::Address;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use portcullis_core::batching::{
    BatchingRules, CallLimits, Facts, GasModel, Operator, PriceLevel, Queued, decide,
};

const LIMITS: CallLimits = CallLimits {
    transaction_gas_max: 33_554_432,
    fee_gas_max: u64::MAX,
    block_gas: 60_000_000,
    calldata_bytes_max: 120_000,
};
const OPERATORS: [Operator; 16] = [Operator { slots: 8, gas: u64::MAX }; 16];
const QUEUES: [u16; 3] = [5, 500, 5_000];

/// Payments of so many tokens in turn, one of 64 urgent.
fn queue(length: u16, tokens: u8) -> Vec<Queued> {
    (0..length)
        .zip((1..=tokens).cycle())
        .map(|(place, token)| Queued {
            token: Some(Address::repeat_byte(token)),
            is_urgent: place % 64 == 63,
            age_ms: i64::from(length - place),
        })
        .collect()
}

fn measure_one(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, queue: &[Queued]) {
    let mut gas = GasModel::default();
    gas.observe(50, 2_100_000);
    let facts = Facts {
        queue,
        operators: &OPERATORS,
        limits: LIMITS,
        gas,
        price: PriceLevel::Usual,
        rules: BatchingRules::default(),
    };
    group.throughput(Throughput::Elements(queue.len() as u64));
    group.bench_function(name, |bencher| bencher.iter(|| decide(black_box(&facts))));
}

fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_decision");
    for length in QUEUES {
        measure_one(&mut group, &format!("one_token/{length}"), &queue(length, 1));
        measure_one(&mut group, &format!("ten_tokens/{length}"), &queue(length, 10));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}

//! How long calldata takes: built from payments, and read back.

use std::hint::black_box;

use alloy_primitives::{Address, B256, U256, keccak256};
use criterion::{Criterion, Throughput};
use portcullis_core::amount::Amount;
use portcullis_core::calldata::{direct_payment, read_direct_payment};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::vault::{VaultItem, read_vault_payment, vault_payment};

const SENDER: Address = Address::repeat_byte(0x0c);
const VAULT: Address = Address::repeat_byte(0x0a);
const TOKEN: Address = Address::repeat_byte(0x0b);
/// One payment, as many as a call has by default, and as many as it may have at most.
const SIZES: [u64; 3] = [1, 50, 200];

fn item(sequence: u64) -> VaultItem {
    let word: B256 = keccak256(sequence.to_be_bytes());
    VaultItem {
        number: PayoutNumber { epoch: 1, sequence },
        reference: PaymentRef(word),
        token: Some(TOKEN),
        to: Address::from_word(word),
        amount: Amount::from_atomic(U256::from(1_000_000 + sequence)),
    }
}

fn measure(criterion: &mut Criterion) {
    let one = item(1);
    criterion.bench_function("calldata/direct/build", |bencher| {
        bencher.iter(|| direct_payment(black_box(one.token), black_box(one.to), one.amount));
    });
    let direct = direct_payment(one.token, one.to, one.amount);
    criterion.bench_function("calldata/direct/read", |bencher| {
        bencher.iter(|| read_direct_payment(SENDER, black_box(&direct)));
    });
    let mut group = criterion.benchmark_group("calldata/vault");
    for size in SIZES {
        let items: Vec<VaultItem> = (0..size).map(item).collect();
        let call = vault_payment(VAULT, &items);
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("build/{size}"), |bencher| {
            bencher.iter(|| vault_payment(VAULT, black_box(&items)));
        });
        group.bench_function(format!("read/{size}"), |bencher| {
            bencher.iter(|| read_vault_payment(black_box(&call.input)));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}

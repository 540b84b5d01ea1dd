//! How long the signer takes: to check a payment, and from intents to signed bytes that are in the journal, its fsync
//! included. The same intents are signed again and again, to the same bytes.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use criterion::{Criterion, Throughput};
use portcullis_core::amount::Amount;
use portcullis_core::fee::Fees;
use portcullis_core::id::{DeploymentId, TenantId, WithdrawalId};
use portcullis_core::intent::{PaymentIntent, SigningIntent};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{Seal, SealKeyId, SealingKeys};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_keys::{ChainCaps, Journal, KdfCost, Keystore, Signer};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

const CHAIN: u64 = 137;
const NOW: Timestamp = Timestamp::from_millis(1_795_190_400_000);
const TOKEN: Address = Address::repeat_byte(0xaa);
const VAULT: Address = Address::repeat_byte(0xcc);
/// Transactions that are signed with one append to the journal.
const SET: u64 = 100;
/// Payments of a call.
const ITEMS: u64 = 50;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A signer with one key, on one rail.
struct Desk {
    signer: Signer,
    sender: Address,
    sealing: SealingKeys,
    rail: Rail,
    runtime: Runtime,
    _folder: TempDir,
}

fn deployment() -> DeploymentId {
    DeploymentId::from_bytes([1; 16])
}

fn sealing() -> SealingKeys {
    SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))
}

fn caps(rail: Rail) -> ChainCaps {
    ChainCaps {
        chain_id: CHAIN,
        max_fee_per_gas_wei: 1_000,
        transaction_fee_wei_max: 30_000_000_000,
        gas_limit_max: 30_000_000,
        vault: (rail == Rail::Vault).then_some(VAULT),
        amount_max: [(Some(TOKEN), Amount::from_atomic(U256::from(9_000)))].into(),
    }
}

fn keystore(path: &Path) -> Keystore {
    let passphrase = SecretString::from("correct horse battery staple");
    // The least that Argon2id runs with: it is not what is measured.
    let cost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };
    Keystore::create(path, &passphrase, None, cost, NOW).expect("a new file in an empty folder")
}

impl Desk {
    fn new(rail: Rail) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut keystore = keystore(&folder.path().join("keys.json"));
        let key = Zeroizing::new([3; 32]);
        let sender = keystore.import(CHAIN, key, None, NOW).expect("a valid key");
        let journal = Journal::open(&mut keystore, NOW).expect("a new keystore has no journal yet");
        let clock = Arc::new(FixedClock);
        let signer =
            Signer::new(keystore, journal, sealing(), deployment(), vec![caps(rail)], clock)
                .expect("journal and keystore belong together");
        let runtime = Builder::new_current_thread().build().expect("a runtime without any driver");
        Self { signer, sender, sealing: sealing(), rail, runtime, _folder: folder }
    }

    /// The transaction of that nonce, with payments of its own.
    fn intent(&self, nonce: u64, items: u64) -> SigningIntent {
        let first = nonce * items;
        SigningIntent {
            slot: Slot { chain_id: CHAIN, sender: self.sender, nonce },
            purpose: Purpose::Pay,
            rail: self.rail,
            kind: AttemptKind::Payload,
            payments: (first..first + items).map(|sequence| self.payment(sequence)).collect(),
            fees: Fees { max_fee_per_gas_wei: 1_000, max_priority_fee_per_gas_wei: 30 },
            gas_limit: 60_000 * items,
            access_list: Vec::new(),
        }
    }

    /// As intake seals it.
    fn payment(&self, sequence: u64) -> PaymentIntent {
        let tenant = TenantId::from_bytes([2; 16]);
        let external_id = format!("order-{sequence}").parse().expect("a valid id");
        let (to, amount) = (Address::repeat_byte(0xbb), Amount::from_atomic(U256::from(1_000)));
        let reference =
            PaymentRef::derive(deployment(), tenant, &external_id, Some(TOKEN), to, amount);
        let mut payment = PaymentIntent {
            withdrawal: WithdrawalId::from_parts(NOW, u128::from(sequence)),
            tenant,
            external_id,
            payer: B256::repeat_byte(0x77),
            token: Some(TOKEN),
            amount,
            to,
            number: PayoutNumber { epoch: 1, sequence },
            reference,
            seal: Seal { key_id: SealKeyId(1), mac: [0; 32] },
        };
        payment.seal = self.sealing.seal_payment(&payment.sealed(deployment(), CHAIN));
        payment
    }

    fn sign(&self, intents: &[SigningIntent]) {
        let outcomes = self.runtime.block_on(self.signer.sign(intents.to_vec()));
        for outcome in &outcomes {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        black_box(outcomes);
    }
}

fn measure(criterion: &mut Criterion) {
    let direct = Desk::new(Rail::Direct);
    let one = direct.intent(SET, 1);
    criterion.bench_function("signing/direct/check", |bencher| {
        bencher.iter(|| direct.signer.check(black_box(&one)));
    });
    let vault = Desk::new(Rail::Vault);
    let mut group = criterion.benchmark_group("signing");
    group.sample_size(20);
    for (name, desk, items, calls) in [
        ("direct/1", &direct, 1, 1),
        ("direct/100", &direct, 1, SET),
        ("vault/1_of_50", &vault, ITEMS, 1),
        ("vault/10_of_50", &vault, ITEMS, 10),
    ] {
        let intents: Vec<SigningIntent> =
            (0..calls).map(|nonce| desk.intent(nonce, items)).collect();
        group.throughput(Throughput::Elements(calls * items));
        group.bench_function(name, |bencher| bencher.iter(|| desk.sign(&intents)));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
}

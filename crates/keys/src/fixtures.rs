//! What the tests of this crate are built from.

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use portcullis_core::amount::Amount;
use portcullis_core::fee::Fees;
use portcullis_core::id::{DeploymentId, TenantId, WithdrawalId};
use portcullis_core::intent::{PaymentIntent, SigningIntent};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{Seal, SealKeyId, SealingKeys};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_core::time::{Clock, Timestamp};
use secrecy::SecretString;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::journal::Journal;
use crate::keystore::{KdfCost, Keystore, SecondSecret};
use crate::signer::{ChainCaps, Signer};

pub(crate) const CHAIN: u64 = 137;
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_190_400_000);
/// The least that Argon2id runs with.
pub(crate) const CHEAP: KdfCost = KdfCost { memory_kib: 8, iterations: 1, parallelism: 1 };

pub(crate) fn passphrase() -> SecretString {
    SecretString::from("correct horse battery staple")
}

pub(crate) fn second_secret(byte: u8) -> SecondSecret {
    SecondSecret::from_bytes(Zeroizing::new([byte; 32]))
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock)
}

pub(crate) fn deployment() -> DeploymentId {
    DeploymentId::from_bytes([1; 16])
}

pub(crate) fn sealing() -> SealingKeys {
    SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))
}

pub(crate) fn token() -> Address {
    Address::repeat_byte(0xaa)
}

pub(crate) fn units(units: u64) -> Amount {
    Amount::from_atomic(U256::from(units))
}

pub(crate) fn caps() -> ChainCaps {
    ChainCaps {
        chain_id: CHAIN,
        max_fee_per_gas_wei: 1_000,
        transaction_fee_wei_max: 60_000_000,
        gas_limit_max: 100_000,
        vault: None,
        amount_max: [(None, units(500)), (Some(token()), units(9_000))].into(),
    }
}

/// A keystore with two keys, in a directory that ends with it.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) senders: [Address; 2],
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("keys.json");
        let mut keystore =
            Keystore::create(&path, &passphrase(), None, CHEAP, NOW).expect("a new keystore");
        let mut import = |byte| {
            keystore.import(CHAIN, Zeroizing::new([byte; 32]), None, NOW).expect("a valid key")
        };
        let senders = [import(3), import(4)];
        Self { directory, senders }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("keys.json")
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        Journal::path_of(&self.path().canonicalize().expect("it exists"))
    }

    pub(crate) fn keystore(&self) -> Keystore {
        Keystore::open(&self.path(), &passphrase(), None).expect("the keystore opens")
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::open(&mut self.keystore(), NOW).expect("the journal opens")
    }

    pub(crate) fn signer(&self) -> Signer {
        self.signer_with(caps())
    }

    pub(crate) fn signer_with(&self, caps: ChainCaps) -> Signer {
        let mut keystore = self.keystore();
        let journal = Journal::open(&mut keystore, NOW).expect("the journal opens");
        Signer::new(keystore, journal, sealing(), deployment(), vec![caps], clock())
            .expect("they fit together")
    }

    pub(crate) fn slot(&self, nonce: u64) -> Slot {
        Slot { chain_id: CHAIN, sender: self.senders[0], nonce }
    }

    /// Payment `sequence` in the slot of that nonce.
    pub(crate) fn pay(&self, nonce: u64, sequence: u64) -> SigningIntent {
        SigningIntent {
            slot: self.slot(nonce),
            purpose: Purpose::Pay,
            rail: Rail::Direct,
            kind: AttemptKind::Payload,
            payments: vec![payment(sequence)],
            fees: Fees { max_fee_per_gas_wei: 1_000, max_priority_fee_per_gas_wei: 30 },
            gas_limit: 60_000,
            access_list: Vec::new(),
        }
    }

    pub(crate) fn cancel(&self, nonce: u64) -> SigningIntent {
        SigningIntent { kind: AttemptKind::Cancel, payments: Vec::new(), ..self.pay(nonce, 1) }
    }
}

/// A sealed payment of 1,000 units of the token.
pub(crate) fn payment(sequence: u64) -> PaymentIntent {
    let unsealed = PaymentIntent {
        payer: alloy_primitives::B256::repeat_byte(0x77),
        withdrawal: WithdrawalId::from_parts(NOW, u128::from(sequence)),
        tenant: TenantId::from_bytes([2; 16]),
        external_id: format!("order-{sequence}").parse().expect("a valid id"),
        token: Some(token()),
        amount: units(1_000),
        to: Address::repeat_byte(0xbb),
        number: PayoutNumber { epoch: 1, sequence },
        reference: PaymentRef(alloy_primitives::B256::ZERO),
        seal: Seal { key_id: SealKeyId(1), mac: [0; 32] },
    };
    sealed(unsealed)
}

/// The same with its ref and seal made anew, as intake does.
pub(crate) fn sealed(mut payment: PaymentIntent) -> PaymentIntent {
    payment.reference = PaymentRef::derive(
        deployment(),
        payment.tenant,
        &payment.external_id,
        payment.token,
        payment.to,
        payment.amount,
    );
    payment.seal = sealing().seal_payment(&payment.sealed(deployment(), CHAIN));
    payment
}

//! What the signer signs, and what it does not.

mod append;
mod holders;
mod slots;
mod vault;

use alloy_consensus::TxEnvelope;
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::U256;
use portcullis_core::address::DestinationError;
use portcullis_core::amount::Amount;
use portcullis_core::intent::PaymentIntent;
use portcullis_core::number::PaymentRef;
use portcullis_core::seal::{SealError, SealKeyId};
use portcullis_core::slot::{Purpose, Rail};
use portcullis_core::transaction::decode_transaction;

use super::*;
use crate::fixtures::{
    Bench, CHAIN, NOW, caps, clock, deployment, payment, sealed, sealing, token, units,
};
use crate::journal::{AttemptRecord, JournaledPayment};

async fn sign_one(signer: &Signer, intent: SigningIntent) -> Outcome {
    let mut outcomes = signer.sign(vec![intent]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn change(bench: &Bench, with: impl FnOnce(&mut PaymentIntent)) -> SigningIntent {
    let mut intent = bench.pay(1, 1);
    with(&mut intent.payments[0]);
    intent
}

#[tokio::test]
async fn signed_bytes_are_the_senders_and_are_journaled() {
    let bench = Bench::new();
    let signer = bench.signer();
    let attempt = sign_one(&signer, bench.pay(7, 1)).await.expect("in order");
    let decoded = decode_transaction(&attempt.raw).expect("a transaction");
    assert_eq!(decoded.slot, bench.slot(7));
    assert_eq!(decoded.hash, attempt.hash);
    assert_eq!(decoded.fees, attempt.fees);
    assert_eq!(decoded.gas_limit, 60_000);
    assert_eq!(decoded.payload.to, token());
    assert_eq!(decoded.payload.digest(bench.slot(7)), attempt.payload_digest);
    let payload = signer.payload(&bench.pay(7, 1)).expect("one payment");
    assert_eq!(payload.digest(bench.slot(7)), attempt.payload_digest);
    let (records, paid) =
        (signer.journal().records_since(1, 10).await.expect("readable"), payment(1));
    let expected = AttemptRecord {
        slot: bench.slot(7),
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        kind: AttemptKind::Payload,
        payload_digest: attempt.payload_digest,
        hash: attempt.hash,
        payments: vec![JournaledPayment {
            withdrawal: paid.withdrawal,
            number: paid.number,
            reference: paid.reference,
            tenant: paid.tenant,
            external_id: paid.external_id,
        }],
        at: NOW,
    };
    assert_eq!(records, [(1, JournalRecord::Attempt(expected))]);
    let journal = signer.book.lock().await.journal.id();
    assert_eq!(bench.keystore().signed_with(), Some(journal));
}

#[tokio::test]
async fn a_set_is_signed_in_order_with_low_s() {
    let bench = Bench::new();
    let signer = bench.signer();
    let intents: Vec<SigningIntent> = (0..64)
        .map(|nonce| if nonce == 9 { bench.cancel(9) } else { bench.pay(nonce, nonce) })
        .collect();
    let outcomes = signer.sign(intents).await;
    for (nonce, outcome) in (0_u64..).zip(outcomes) {
        let attempt = outcome.expect("in order");
        assert_eq!(attempt.slot, bench.slot(nonce));
        let envelope = TxEnvelope::decode_2718_exact(&attempt.raw).expect("a transaction");
        // EIP-2: nodes refuse the other half.
        assert_eq!(envelope.signature().normalize_s(), None);
        let decoded = decode_transaction(&attempt.raw).expect("a transaction");
        assert_eq!(decoded.slot, bench.slot(nonce));
        assert_eq!(decoded.payload.is_self_transfer(bench.senders[0]), nonce == 9);
    }
    assert_eq!(signer.journal().lines(), 65);
}

#[tokio::test]
async fn the_same_intent_gives_the_same_bytes_and_a_bump_does_not() {
    let bench = Bench::new();
    let signer = bench.signer();
    let first = sign_one(&signer, bench.pay(1, 1)).await.expect("in order");
    let again = sign_one(&signer, bench.pay(1, 1)).await.expect("the same payload");
    assert_eq!(first, again);
    let mut bumped = bench.pay(1, 1);
    bumped.fees.max_priority_fee_per_gas_wei = 40;
    bumped.gas_limit = 59_000;
    let bumped = sign_one(&signer, bumped).await.expect("only the price differs");
    assert_ne!(bumped.hash, first.hash);
    assert_eq!(bumped.payload_digest, first.payload_digest);
    assert_eq!(
        signer.journal().attempt_hashes(bench.slot(1)),
        [first.hash, bumped.hash],
        "an attempt is one, however often it was signed"
    );
}

#[tokio::test]
async fn every_change_to_an_accepted_payment_is_tampering() {
    let bench = Bench::new();
    let signer = bench.signer();
    let changes: [fn(&mut PaymentIntent); 10] = [
        |payment| payment.to = Address::repeat_byte(0xcc),
        |payment| payment.amount = units(1_001),
        |payment| payment.token = None,
        |payment| payment.token = Some(Address::repeat_byte(0xab)),
        |payment| payment.number.sequence = 2,
        |payment| payment.number.epoch = 2,
        |payment| payment.reference = PaymentRef(B256::ZERO),
        |payment| payment.seal.mac[31] ^= 1,
        |payment| payment.tenant = portcullis_core::id::TenantId::from_bytes([3; 16]),
        |payment| payment.external_id = "order-2".parse().expect("a valid id"),
    ];
    for (at, with) in changes.into_iter().enumerate() {
        let refusal = sign_one(&signer, change(&bench, with)).await.expect_err("tampered with");
        assert!(refusal.is_tamper(), "{at}: {refusal}");
        assert!(!refusal.journal_knows_more());
    }
    // Sealed for another chain, or by another deployment.
    let other_chain = change(&bench, |payment| {
        payment.seal = sealing().seal_payment(&payment.sealed(deployment(), 1));
    });
    let other_deployment = change(&bench, |payment| {
        let foreign = DeploymentId::from_bytes([9; 16]);
        payment.seal = sealing().seal_payment(&payment.sealed(foreign, CHAIN));
    });
    for intent in [other_chain, other_deployment] {
        let refusal = sign_one(&signer, intent).await.expect_err("tampered with");
        assert!(matches!(refusal, SigningRefusal::Seal { reason: SealError::Mismatch, .. }));
    }
    let unknown = change(&bench, |payment| payment.seal.key_id = SealKeyId(2));
    let refusal = sign_one(&signer, unknown).await.expect_err("no such key");
    assert!(matches!(refusal, SigningRefusal::Seal { reason: SealError::UnknownKey(2), .. }));
    assert!(!refusal.is_tamper());
    assert_eq!(signer.journal().lines(), 1, "nothing was signed");
    assert_eq!(bench.keystore().signed_with(), None);
}

#[tokio::test]
async fn caps_hold_at_their_edges() {
    let bench = Bench::new();
    let signer = bench.signer();
    let at_the_edges = [
        change(&bench, |it| *it = sealed(PaymentIntent { amount: units(9_000), ..it.clone() })),
        SigningIntent {
            slot: bench.slot(2),
            ..change(&bench, |it| {
                let native = PaymentIntent { token: None, amount: units(500), ..payment(2) };
                *it = sealed(native);
            })
        },
        SigningIntent { gas_limit: 100_000, fees: fees(600, 600), ..bench.pay(3, 3) },
        SigningIntent { gas_limit: 60_000, fees: fees(1_000, 0), ..bench.cancel(4) },
    ];
    for outcome in signer.sign(at_the_edges.to_vec()).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    let amount = |token: Option<Address>, amount: u64| {
        change(&bench, |it| {
            *it = sealed(PaymentIntent { token, amount: units(amount), ..payment(9) });
        })
    };
    let beyond = [
        amount(Some(token()), 9_001),
        amount(None, 501),
        amount(Some(Address::repeat_byte(0xab)), 1),
        SigningIntent { gas_limit: 1_000, fees: fees(1_001, 0), ..bench.pay(9, 9) },
        SigningIntent { gas_limit: 100_001, fees: fees(1, 0), ..bench.pay(9, 9) },
        SigningIntent { gas_limit: 60_001, fees: fees(1_000, 0), ..bench.pay(9, 9) },
        SigningIntent { fees: fees(600, 601), ..bench.pay(9, 9) },
        SigningIntent { gas_limit: 60_001, fees: fees(1_000, 0), ..bench.cancel(9) },
    ];
    let kinds: Vec<&str> = refusals_of(&signer, beyond.to_vec()).await;
    let expected = ["amount", "amount", "token", "fee per gas", "gas limit", "fee", "tip", "fee"];
    assert_eq!(kinds, expected);
}

fn fees(fee: u128, tip: u128) -> portcullis_core::fee::Fees {
    portcullis_core::fee::Fees { max_fee_per_gas_wei: fee, max_priority_fee_per_gas_wei: tip }
}

async fn refusals_of(signer: &Signer, intents: Vec<SigningIntent>) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for intent in intents {
        kinds.push(match sign_one(signer, intent).await {
            Err(SigningRefusal::AmountAboveCap { .. }) => "amount",
            Err(SigningRefusal::TokenNotListed { .. }) => "token",
            Err(SigningRefusal::FeePerGasAboveCap { .. }) => "fee per gas",
            Err(SigningRefusal::GasLimitAboveCap { .. }) => "gas limit",
            Err(SigningRefusal::TransactionFeeAboveCap { .. }) => "fee",
            Err(SigningRefusal::TipAboveFee { .. }) => "tip",
            _ => "something else",
        });
    }
    kinds
}

#[tokio::test]
async fn a_fee_beyond_128_bits_is_beyond_every_cap() {
    let bench = Bench::new();
    let signer = bench.signer_with(ChainCaps {
        max_fee_per_gas_wei: u128::MAX,
        transaction_fee_wei_max: u128::MAX - 1,
        gas_limit_max: u64::MAX,
        ..caps()
    });
    let intent = SigningIntent { gas_limit: u64::MAX, fees: fees(u128::MAX, 0), ..bench.pay(1, 1) };
    let refusal = sign_one(&signer, intent).await.expect_err("too dear");
    assert!(matches!(refusal, SigningRefusal::TransactionFeeAboveCap { asked_wei: u128::MAX, .. }));
}

#[tokio::test]
async fn destinations_where_money_is_lost_or_stays_here_are_refused() {
    let bench = Bench::new();
    let signer = bench.signer();
    for (to, expected) in [
        (bench.senders[0], DestinationError::Own),
        (bench.senders[1], DestinationError::Own),
        (token(), DestinationError::TokenContract),
        (Address::ZERO, DestinationError::Zero),
        (Address::with_last_byte(9), DestinationError::Precompile),
    ] {
        let intent = change(&bench, |it| *it = sealed(PaymentIntent { to, ..it.clone() }));
        let refusal = sign_one(&signer, intent).await.expect_err("no destination");
        assert!(
            matches!(refusal, SigningRefusal::Destination { reason, .. } if reason == expected)
        );
    }
}

#[tokio::test]
async fn foreign_senders_chains_and_payment_counts_are_refused() {
    let bench = Bench::new();
    let mut keystore = bench.keystore();
    let elsewhere = keystore.generate(1, None, NOW).expect("generated");
    let signer = bench.signer();
    assert_eq!(signer.addresses(1), [elsewhere]);
    assert_eq!(signer.addresses(CHAIN).len(), 2);
    let from = |chain_id, sender| SigningIntent {
        slot: Slot { chain_id, sender, nonce: 1 },
        ..bench.cancel(1)
    };
    for (chain_id, sender) in [(CHAIN, elsewhere), (1, bench.senders[0]), (2, Address::ZERO)] {
        let refusal = sign_one(&signer, from(chain_id, sender)).await.expect_err("no such key");
        assert_eq!(refusal, SigningRefusal::UnknownSender { chain_id, sender });
    }
    let refusal = sign_one(&signer, from(1, elsewhere)).await.expect_err("no caps");
    assert_eq!(refusal, SigningRefusal::NoCaps { chain_id: 1 });
    for payments in [vec![], vec![payment(1), payment(2)]] {
        let given = payments.len();
        let refusal = sign_one(&signer, SigningIntent { payments, ..bench.pay(1, 1) }).await;
        let slot = bench.slot(1);
        assert_eq!(refusal, Err(SigningRefusal::PaymentCount { slot, given }));
    }
}

#[test]
fn a_signer_is_put_together_from_what_fits() {
    let (bench, other) = (Bench::new(), Bench::new());
    let setup = |keystore, journal, caps| {
        Signer::new(keystore, journal, sealing(), deployment(), caps, clock())
    };
    let foreign = setup(bench.keystore(), other.journal(), vec![caps()]);
    assert!(matches!(foreign, Err(SignerSetupError::ForeignJournal)));
    let twice = setup(bench.keystore(), bench.journal(), vec![caps(), caps()]);
    assert!(matches!(twice, Err(SignerSetupError::CapsTwice { chain_id: CHAIN })));
    let signer = bench.signer();
    assert_eq!(format!("{signer:?}"), "Signer(2 keys)");
}

#[tokio::test]
async fn the_largest_amount_travels_whole() {
    let bench = Bench::new();
    let largest = Amount::from_atomic(U256::MAX);
    let signer =
        bench.signer_with(ChainCaps { amount_max: [(Some(token()), largest)].into(), ..caps() });
    let intent = change(&bench, |it| *it = sealed(PaymentIntent { amount: largest, ..it.clone() }));
    let attempt = sign_one(&signer, intent).await.expect("within its caps");
    let decoded = decode_transaction(&attempt.raw).expect("a transaction");
    assert_eq!(decoded.payload.input[36..], [0xff; 32]);
}

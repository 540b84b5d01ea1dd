//! One suite for all who hold keys: the same intents are signed, journaled and refused alike.

use std::time::Duration;

use portcullis_core::intent::PaymentIntent;

use super::*;
use crate::keyring::{
    Keyring, KmsKey, KmsKeys, KmsOptions, SecretKeys, SecretOptions, SecretStore, TokenKey,
    TokenKeys, TokenOptions, Wrapping,
};
use crate::servers::moto::{Moto, access, quick};
use crate::servers::proxy::{HttpProxy, Mood};
use crate::servers::softhsm::{PIN, SECP256K1, TOKEN, in_own_process, module, new_pair, on_token};
use zeroize::Zeroizing;

/// A signer with keys that are held elsewhere, and a journal file.
fn signer_of(bench: &Bench, keyring: Keyring) -> Signer {
    let path = bench.directory.path().join("held.journal");
    let id = Journal::begin_file(&path, keyring.id(), NOW).expect("nothing is there");
    let journal = Journal::open_file(&path, keyring.id(), Some(id)).expect("it was just begun");
    Signer::new(keyring, journal, sealing(), deployment(), vec![caps()], clock())
        .expect("they fit together")
}

/// The intent, from another sender.
fn from(sender: Address, intent: SigningIntent) -> SigningIntent {
    SigningIntent { slot: Slot { sender, ..intent.slot }, ..intent }
}

async fn exercise(signer: &Signer, bench: &Bench) {
    let senders = signer.addresses(CHAIN);
    let sender = senders[0];
    let intents: Vec<SigningIntent> = (0..40)
        .map(|nonce| {
            let sender = senders[usize::try_from(nonce).expect("small") % senders.len()];
            let intent = if nonce == 9 { bench.cancel(9) } else { bench.pay(nonce, nonce) };
            from(sender, intent)
        })
        .collect();
    let before = signer.journal().lines();
    let outcomes = signer.sign(intents.clone()).await;
    for (intent, outcome) in intents.iter().zip(&outcomes) {
        let attempt = outcome.as_ref().expect("in order");
        let decoded = decode_transaction(&attempt.raw).expect("a transaction");
        assert_eq!(decoded.slot, intent.slot, "the sender is who was asked for");
        let envelope = TxEnvelope::decode_2718_exact(&attempt.raw).expect("a transaction");
        assert_eq!(envelope.signature().normalize_s(), None);
        assert!(signer.journal().attempt_hashes(intent.slot).contains(&attempt.hash));
    }
    assert_eq!(signer.journal().lines(), before + 40);
    // Again, in the same slot; not in another one, and nothing else in this one.
    let again = sign_one(signer, intents[0].clone()).await.expect("the same payload");
    assert_eq!(again.payload_digest, outcomes[0].as_ref().expect("signed").payload_digest);
    let elsewhere = sign_one(signer, from(sender, bench.pay(100, 1))).await;
    assert!(matches!(elsewhere, Err(SigningRefusal::PaymentElsewhere { .. })), "{elsewhere:?}");
    let other = PaymentIntent { amount: units(7), ..payment(200) };
    let other = SigningIntent { payments: vec![sealed(other)], ..intents[0].clone() };
    let used = sign_one(signer, other).await;
    assert!(matches!(used, Err(SigningRefusal::SlotUsed { .. })), "{used:?}");
    let stranger = sign_one(signer, from(Address::repeat_byte(9), bench.pay(300, 300))).await;
    assert!(matches!(stranger, Err(SigningRefusal::UnknownSender { .. })), "{stranger:?}");
}

#[tokio::test]
async fn a_keystore() {
    let bench = Bench::new();
    exercise(&bench.signer(), &bench).await;
}

#[tokio::test]
async fn aws_kms() {
    let (moto, bench) = (Moto::start(), Bench::new());
    let proxy = HttpProxy::before(moto.port).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        keys.push(KmsKey { id: moto.new_signing_key().await, chain_id: CHAIN, address: None });
    }
    let options = KmsOptions { keys, concurrency: 16 };
    let kms = KmsKeys::open(&access(proxy.port, &quick()), options).await.expect("found");
    let signer = signer_of(&bench, Keyring::of_kms(kms, deployment()));
    exercise(&signer, &bench).await;
    // A KMS that is busy gives nothing, the journal gets nothing, and no slot is given up for it.
    let lines = signer.journal().lines();
    let sender = signer.addresses(CHAIN)[0];
    proxy.set(Mood::Refusing("ThrottlingException", u32::MAX));
    let refused = sign_one(&signer, from(sender, bench.pay(500, 500))).await.expect_err("busy");
    assert!(
        matches!(&refused, SigningRefusal::Key { reason, .. } if reason.is_retryable()),
        "{refused}"
    );
    assert_eq!(signer.journal().lines(), lines);
    proxy.set(Mood::Willing);
    sign_one(&signer, from(sender, bench.pay(500, 500))).await.expect("it answers again");
}

#[tokio::test]
async fn aws_secrets_manager() {
    let (moto, bench) = (Moto::start(), Bench::new());
    let wrapping = Wrapping::Kms(moto.new_wrapping_key().await);
    let name = "portcullis/hot".to_owned();
    let options = SecretOptions { name, wrapping, deployment: deployment() };
    let store = SecretStore::new(&moto.access(), options);
    for byte in [3, 4] {
        let key = Zeroizing::new([byte; 32]);
        store.add(CHAIN, key, None, NOW).await.expect("added");
    }
    let keys = SecretKeys::open(store, Duration::from_mins(1), clock()).await.expect("it opens");
    let signer = signer_of(&bench, Keyring::of_secret(keys, deployment()));
    exercise(&signer, &bench).await;
}

#[test]
fn a_pkcs11_token() {
    in_own_process("signer::tests::holders::a_pkcs11_token", |_home| {
        let labels = ["hot-1", "hot-2"];
        on_token(|session| labels.iter().for_each(|label| new_pair(session, label, &SECP256K1)));
        let key =
            |label: &str| TokenKey { label: label.to_owned(), chain_id: CHAIN, address: None };
        let options = TokenOptions {
            module: module(),
            token: TOKEN.to_owned(),
            pin: secrecy::SecretString::from(PIN),
            sessions_max: 4,
            keys: labels.map(key).to_vec(),
        };
        let keys = TokenKeys::open(options).expect("the token opens");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::new();
            let signer = signer_of(&bench, Keyring::of_token(keys, deployment()));
            exercise(&signer, &bench).await;
        });
    });
}

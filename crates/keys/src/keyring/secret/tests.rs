use std::sync::atomic::{AtomicI64, Ordering};

use zeroize::Zeroizing;

use super::*;
use crate::fixtures::{CHAIN, NOW, deployment, second_secret};
use crate::keyring::asks::{are_signed, asked};
use crate::servers::moto::{Moto, access, quick};
use crate::servers::proxy::{HttpProxy, Mood};

/// A clock that stands until it is moved.
struct Hand(AtomicI64);

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOW.as_millis())))
    }

    fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

const KEPT: Duration = Duration::from_mins(1);

fn options(wrapping: Wrapping) -> SecretOptions {
    SecretOptions { name: "portcullis/hot".to_owned(), wrapping, deployment: deployment() }
}

fn private_key(byte: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([byte; 32])
}

async fn opened(store: &SecretStore, clock: &Arc<Hand>) -> SecretKeys {
    let clock: Arc<dyn Clock> = Arc::<Hand>::clone(clock);
    SecretKeys::open(store.clone(), KEPT, clock).await.expect("the secret opens")
}

#[tokio::test]
async fn each_wrapping_keeps_keys_and_gives_them_back() {
    let moto = Moto::start();
    let wrapping_key = moto.new_wrapping_key().await;
    for (at, wrapping) in [
        Wrapping::Kms(wrapping_key.clone()),
        Wrapping::Operator(second_secret(9)),
        Wrapping::Both(wrapping_key.clone(), second_secret(9)),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("portcullis/hot-{at}");
        let store = SecretStore::new(&moto.access(), SecretOptions { name, ..options(wrapping) });
        let first = store.add(CHAIN, private_key(3), Some("hot 1"), NOW).await.expect("made");
        let second = store.add(1, private_key(4), None, NOW).await.expect("added");
        let again = store.add(1, private_key(3), None, NOW).await;
        assert!(matches!(again, Err(SecretError::KeyExists { .. })), "{again:?}");
        let listed = store.list().await.expect("readable");
        assert_eq!(listed.iter().map(|it| it.address).collect::<Vec<_>>(), [first, second]);
        let keys = opened(&store, &Hand::new()).await;
        let asked = asked(keys.addresses(), 2);
        are_signed(&asked, &keys.sign(asked.clone()).await);
        assert_eq!(format!("{keys:?}"), format!("SecretKeys(portcullis/hot-{at}, 2 keys)"));
    }
}

#[tokio::test]
async fn the_secret_opens_nowhere_else() {
    let moto = Moto::start();
    let wrapping = Wrapping::Kms(moto.new_wrapping_key().await);
    let store = SecretStore::new(&moto.access(), options(wrapping.clone()));
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    // Of another deployment: KMS does not unwrap its data key.
    let other = SecretOptions {
        deployment: portcullis_core::id::DeploymentId::from_bytes([9; 16]),
        ..options(wrapping)
    };
    let clock: Arc<dyn Clock> = Hand::new();
    let elsewhere = SecretStore::new(&moto.access(), other);
    let opening = SecretKeys::open(elsewhere, KEPT, Arc::clone(&clock)).await;
    assert!(!opening.expect_err("another context").is_retryable());
    let without = SecretStore::new(&moto.access(), options(Wrapping::Operator(second_secret(9))));
    let opening = SecretKeys::open(without, KEPT, Arc::clone(&clock)).await;
    let error = opening.expect_err("another wrapping").to_string();
    assert!(error.contains("wrapped by KMS"), "{error}");
    let missing =
        SecretOptions { name: "none".to_owned(), ..options(Wrapping::Kms(String::new())) };
    let missing = SecretStore::new(&moto.access(), missing);
    let error =
        SecretKeys::open(missing, KEPT, clock).await.expect_err("there is none").to_string();
    assert!(error.contains("portcullis keys new"), "{error}");
}

#[tokio::test]
async fn keys_are_kept_no_longer_than_configured() {
    let moto = Moto::start();
    let proxy = HttpProxy::before(moto.port).await;
    let store = SecretStore::new(
        &access(proxy.port, &quick()),
        options(Wrapping::Kms(moto.new_wrapping_key().await)),
    );
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    let clock = Hand::new();
    let keys = opened(&store, &clock).await;
    let asked = asked(keys.addresses(), 1);
    proxy.forget_seen();
    for _ in 0..3 {
        are_signed(&asked, &keys.sign(asked.clone()).await);
    }
    assert_eq!(proxy.seen().requests, 0, "they are in memory");
    assert!(keys.holds_keys());
    clock.advance(60_000);
    keys.forget_expired();
    assert!(!keys.holds_keys(), "nothing is left, also when nobody signs");
    are_signed(&asked, &keys.sign(asked.clone()).await);
    assert_eq!(proxy.seen().requests, 2, "the secret and its data key are fetched again");
    // An AWS that does not answer stops the signing when the time is over, and not before.
    proxy.set(Mood::Refusing("ThrottlingException", u32::MAX));
    clock.advance(59_999);
    are_signed(&asked, &keys.sign(asked.clone()).await);
    clock.advance(1);
    let signed = keys.sign(asked.clone()).await;
    assert!(matches!(&signed[..], [Err(error)] if error.is_retryable()), "{signed:?}");
    assert!(!keys.holds_keys());
    proxy.set(Mood::Willing);
    are_signed(&asked, &keys.sign(asked.clone()).await);
    clock.advance(-1);
    assert!(!keys.holds_keys(), "a clock that was put back says nothing about time");
}

#[tokio::test]
async fn keys_that_are_not_to_be_kept_are_not() {
    let moto = Moto::start();
    let store = SecretStore::new(&moto.access(), options(Wrapping::Operator(second_secret(9))));
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    let keys = SecretKeys::open(store, Duration::ZERO, Hand::new()).await.expect("it opens");
    assert!(!keys.holds_keys());
    let asked = asked(keys.addresses(), 1);
    are_signed(&asked, &keys.sign(asked.clone()).await);
    assert!(!keys.holds_keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_rotated_while_signing() {
    let moto = Moto::start();
    let store = SecretStore::new(
        &moto.access(),
        options(Wrapping::Both(moto.new_wrapping_key().await, second_secret(9))),
    );
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    // Each call fetches: so that every moment of a rotation is met.
    let keys = SecretKeys::open(store.clone(), Duration::ZERO, Hand::new()).await.expect("opens");
    let asked = asked(keys.addresses(), 1);
    let rotating = tokio::spawn(async move {
        for _ in 0..8 {
            store.rotate().await.expect("rotated");
        }
    });
    let mut signed = 0;
    while !rotating.is_finished() || signed < 5 {
        are_signed(&asked, &keys.sign(asked.clone()).await);
        signed += 1;
    }
    rotating.await.expect("it ends");
}

#[tokio::test]
async fn what_a_rotation_left_out_or_spoiled_signs_from_the_version_before() {
    let moto = Moto::start();
    let wrapping = Wrapping::Operator(second_secret(9));
    let store = SecretStore::new(&moto.access(), options(wrapping.clone()));
    let clock = Hand::new();
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    let before = opened(&store, &clock).await;
    let asked = asked(before.addresses(), 1);
    // Somebody puts a version in force that another key of the operator wraps.
    let secrets = aws_sdk_secretsmanager::Client::new(&moto.access());
    let other =
        SecretOptions { name: "other".to_owned(), ..options(Wrapping::Operator(second_secret(8))) };
    let other = SecretStore::new(&moto.access(), other);
    other.add(CHAIN, private_key(4), None, NOW).await.expect("made");
    let foreign = secrets.get_secret_value().secret_id("other").send().await.expect("readable");
    secrets
        .put_secret_value()
        .secret_id(store.name())
        .secret_string(foreign.secret_string().expect("text"))
        .send()
        .await
        .expect("put");
    clock.advance(60_000);
    are_signed(&asked, &before.sign(asked.clone()).await);
    let reopened = opened(&store, &clock).await;
    assert_eq!(reopened.addresses().collect::<Vec<_>>(), before.addresses().collect::<Vec<_>>());
    let rotated = store.rotate().await;
    assert!(
        matches!(rotated, Err(SecretError::Content { .. })),
        "a rotation needs the present one"
    );
}

#[tokio::test]
async fn of_two_writers_one_is_told() {
    let moto = Moto::start();
    let store = SecretStore::new(&moto.access(), options(Wrapping::Operator(second_secret(9))));
    store.add(CHAIN, private_key(3), None, NOW).await.expect("made");
    let in_force = store.read(store::Stage::Current).await.expect("readable");
    store.add(CHAIN, private_key(4), None, NOW).await.expect("the first writer");
    let late = store.replace(&in_force.version, &in_force.plain).await;
    assert!(matches!(late, Err(SecretError::Overtaken { .. })), "{late:?}");
    assert_eq!(store.list().await.expect("readable").len(), 2, "nobody's key is lost");
}

use std::time::Duration;

use aws_sdk_kms::types::{KeySpec, KeyUsageType};

use super::*;
use crate::fixtures::CHAIN;
use crate::keyring::AwsAccess;
use crate::keyring::asks::{are_signed, asked};
use crate::servers::moto::{Moto, access, quick};
use crate::servers::proxy::{HttpProxy, Mood};

fn key(id: &str) -> KmsKey {
    KmsKey { id: id.to_owned(), chain_id: CHAIN, address: None }
}

fn options(ids: &[String]) -> KmsOptions {
    KmsOptions { keys: ids.iter().map(|id| key(id)).collect(), concurrency: 8 }
}

#[tokio::test]
async fn a_set_is_signed_so_many_at_once() {
    let moto = Moto::start();
    let ids = [moto.new_signing_key().await, moto.new_signing_key().await];
    let proxy = HttpProxy::before(moto.port).await;
    let keys = KmsKeys::open(&access(proxy.port, &quick()), options(&ids)).await.expect("found");
    assert_eq!(proxy.seen().requests, 2, "each public key is asked for once");
    proxy.forget_seen();
    let asked = asked(keys.addresses(), 60);
    are_signed(&asked, &keys.sign(asked.clone()).await);
    let seen = proxy.seen();
    assert_eq!(seen.requests, 60, "one request a signature");
    assert!((2..=8).contains(&seen.at_once_max), "{seen:?}");
}

#[tokio::test]
async fn what_cannot_sign_transactions_is_told_at_the_start() {
    let moto = Moto::start();
    let signing = moto.new_signing_key().await;
    let other_curve = moto.new_key(KeySpec::EccNistP256, KeyUsageType::SignVerify).await;
    let open = async |keys: Vec<KmsKey>| {
        let options = KmsOptions { keys, concurrency: 2 };
        KmsKeys::open(&moto.access(), options).await.expect_err("it does not fit")
    };
    let missing = open(vec![key("00000000-0000-0000-0000-000000000000")]).await;
    assert!(matches!(missing, KeyringError::Missing { .. }), "{missing}");
    let unsuited = open(vec![key(&other_curve)]).await;
    assert!(matches!(unsuited, KeyringError::Unsuited { .. }), "{unsuited}");
    let twice = open(vec![key(&signing), key(&signing)]).await;
    assert!(matches!(twice, KeyringError::Twice { .. }), "{twice}");
    let elsewhere = KmsKey { address: Some(Address::repeat_byte(1)), ..key(&signing) };
    let other = open(vec![elsewhere]).await;
    assert!(matches!(other, KeyringError::OtherAddress { .. }), "{other}");
}

#[tokio::test]
async fn a_throttled_request_is_made_again_and_then_given_up_as_passing() {
    let moto = Moto::start();
    let proxy = HttpProxy::before(moto.port).await;
    let ids = [moto.new_signing_key().await];
    let keys = KmsKeys::open(&access(proxy.port, &quick()), options(&ids)).await.expect("found");
    let asked = asked(keys.addresses(), 1);
    proxy.set(Mood::Refusing("ThrottlingException", 1));
    are_signed(&asked, &keys.sign(asked.clone()).await);
    for (code, is_retryable) in [
        ("ThrottlingException", true),
        ("KMSInternalException", true),
        ("KeyUnavailableException", true),
        ("AccessDeniedException", false),
        ("DisabledException", false),
        ("KMSInvalidStateException", false),
    ] {
        proxy.set(Mood::Refusing(code, u32::MAX));
        let signed = keys.sign(asked.clone()).await;
        let [Err(error)] = &signed[..] else { panic!("{code}: {signed:?}") };
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert!(error.to_string().contains(code), "{error}");
    }
    proxy.set(Mood::Willing);
    are_signed(&asked, &keys.sign(asked.clone()).await);
}

#[tokio::test]
async fn no_answer_and_nobody_there_are_passing() {
    let moto = Moto::start();
    let proxy = HttpProxy::before(moto.port).await;
    let ids = [moto.new_signing_key().await];
    let hasty = AwsAccess {
        request_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_millis(900),
        ..quick()
    };
    let keys = KmsKeys::open(&moto.access(), options(&ids)).await.expect("found");
    let asked = asked(keys.addresses(), 3);
    let client = Client::new(&access(proxy.port, &hasty));
    let keys = KmsKeys { client, ..keys };
    proxy.set(Mood::Silent);
    for signed in keys.sign(asked.clone()).await {
        let error = signed.expect_err("nobody answers");
        assert!(error.is_retryable(), "{error}");
    }
    let nobody = HttpProxy::before(moto.port).await.port;
    let keys = KmsKeys { client: Client::new(&access(nobody, &hasty)), ..keys };
    tokio::task::yield_now().await;
    for signed in keys.sign(asked.clone()).await {
        let error = signed.expect_err("nobody is there");
        assert!(error.is_retryable(), "{error}");
    }
    let opened = KmsKeys::open(&access(nobody, &hasty), options(&ids)).await;
    assert!(opened.expect_err("nobody is there").is_retryable());
}

#[tokio::test]
async fn another_keys_signature_never_leaves() {
    let moto = Moto::start();
    let ids = [moto.new_signing_key().await, moto.new_signing_key().await];
    let keys = KmsKeys::open(&moto.access(), options(&ids)).await.expect("found");
    let mut swapped = BTreeMap::new();
    let arns: Vec<String> = keys.keys.values().map(|known| known.arn.clone()).collect();
    for ((key, known), arn) in keys.keys.iter().zip(arns.into_iter().rev()) {
        swapped.insert(*key, Known { arn, public: known.public });
    }
    let swapped = KmsKeys { keys: Arc::new(swapped), ..keys };
    for signed in swapped.sign(asked(swapped.addresses(), 4)).await {
        assert!(matches!(signed, Err(KeyError::Answer { .. })), "{signed:?}");
    }
}

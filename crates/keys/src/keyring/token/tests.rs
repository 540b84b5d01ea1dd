use std::fs;
use std::path::Path;

use super::*;
use crate::fixtures::CHAIN;
use crate::keyring::asks::{are_signed, asked};
use crate::servers::softhsm::{
    P256, PIN, SECP256K1, TOKEN, in_own_process, module, new_pair, on_token, tokens,
};

fn key(label: &str) -> TokenKey {
    TokenKey { label: label.to_owned(), chain_id: CHAIN, address: None }
}

fn options(keys: Vec<TokenKey>) -> TokenOptions {
    TokenOptions {
        module: module(),
        token: TOKEN.to_owned(),
        pin: SecretString::from(PIN),
        sessions_max: 4,
        keys,
    }
}

fn with_pairs(labels: &[&str]) {
    on_token(|session| labels.iter().for_each(|label| new_pair(session, label, &SECP256K1)));
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

#[test]
fn a_set_is_signed_over_several_sessions() {
    in_own_process("keyring::token::tests::a_set_is_signed_over_several_sessions", |_| {
        with_pairs(&["hot-1", "hot-2", "hot-3"]);
        let keys = TokenKeys::open(options(vec![key("hot-1"), key("hot-2"), key("hot-3")]))
            .expect("the token opens");
        assert_eq!(keys.addresses().count(), 3);
        for count in [0, 1, 3, 200] {
            let asked = asked(keys.addresses(), count);
            are_signed(&asked, &wait(keys.sign(asked.clone())));
        }
        let stranger = Ask { key: (CHAIN, Address::ZERO), digest: B256::ZERO };
        let signed = wait(keys.sign(vec![stranger]));
        assert!(matches!(signed[..], [Err(KeyError::Refused { .. })]), "{signed:?}");
        assert!(!format!("{keys:?} {:?}", options(Vec::new())).contains(PIN));
    });
}

#[test]
fn what_does_not_fit_is_told_at_the_start() {
    in_own_process("keyring::token::tests::what_does_not_fit_is_told_at_the_start", |_| {
        with_pairs(&["hot", "twin", "twin"]);
        on_token(|session| new_pair(session, "other-curve", &P256));
        let open = |keys| TokenKeys::open(options(keys)).expect_err("it does not fit");
        assert!(matches!(open(vec![key("cold")]), KeyringError::Missing { .. }));
        assert!(matches!(open(vec![key("twin")]), KeyringError::Unsuited { .. }));
        let unsuited = open(vec![key("other-curve")]);
        assert!(unsuited.to_string().contains("another curve"), "{unsuited}");
        assert!(matches!(open(vec![key("hot"), key("hot")]), KeyringError::Twice { .. }));
        let elsewhere = TokenKey { address: Some(Address::repeat_byte(1)), ..key("hot") };
        assert!(matches!(open(vec![elsewhere]), KeyringError::OtherAddress { .. }));
        let no_token = TokenOptions { token: "another".to_owned(), ..options(vec![key("hot")]) };
        let error = TokenKeys::open(no_token).expect_err("there is none").to_string();
        assert!(error.contains("another") && error.contains(TOKEN), "{error}");
        let no_module = TokenOptions { module: "/none.so".into(), ..options(vec![key("hot")]) };
        let error = TokenKeys::open(no_module).expect_err("there is none").to_string();
        assert!(error.contains("/none.so"), "{error}");
        assert!(TokenKeys::open(options(vec![key("hot")])).is_ok(), "what fits, fits afterwards");
    });
}

#[test]
fn a_wrong_pin_is_told_and_not_shown_twice() {
    in_own_process("keyring::token::tests::a_wrong_pin_is_told_and_not_shown_twice", |home| {
        with_pairs(&["hot"]);
        let wrong = TokenOptions { pin: SecretString::from("000000"), ..options(vec![key("hot")]) };
        let error = TokenKeys::open(wrong).expect_err("it is wrong").to_string();
        assert!(error.contains("PIN") && !error.contains("000000"), "{error}");

        // Somebody changes it while the signer runs, and the token is pulled out and put back.
        let keys = TokenKeys::open(options(vec![key("hot")])).expect("the token opens");
        let asked = asked(keys.addresses(), 1);
        pull_out(home);
        let signed = wait(keys.sign(asked.clone()));
        assert!(matches!(signed[..], [Err(KeyError::Unavailable { .. })]), "{signed:?}");
        put_back(home);
        on_token(|session| {
            let (old, new) = (SecretString::from(PIN), SecretString::from("551133"));
            session.set_pin(&old, &new).expect("it is changed");
        });
        for _ in 0..10 {
            let signed = wait(keys.sign(asked.clone()));
            let [Err(error @ KeyError::Refused { .. })] = &signed[..] else {
                panic!("the PIN is the old one: {signed:?}");
            };
            assert!(!error.is_retryable());
        }
        // Ten tries would have locked it.
        let right = TokenOptions { pin: SecretString::from("551133"), ..options(vec![key("hot")]) };
        let keys = TokenKeys::open(right).expect("it is not locked");
        are_signed(&asked, &wait(keys.sign(asked.clone())));
    });
}

#[test]
fn a_token_that_was_away_signs_when_it_is_back() {
    in_own_process("keyring::token::tests::a_token_that_was_away_signs_when_it_is_back", |home| {
        with_pairs(&["hot-1", "hot-2"]);
        let keys =
            TokenKeys::open(options(vec![key("hot-1"), key("hot-2")])).expect("the token opens");
        let asked = asked(keys.addresses(), 40);
        are_signed(&asked, &wait(keys.sign(asked.clone())));
        for _ in 0..3 {
            pull_out(home);
            for signed in wait(keys.sign(asked.clone())) {
                let error = signed.expect_err("it is away");
                assert!(error.is_retryable(), "{error}");
            }
            put_back(home);
            are_signed(&asked, &wait(keys.sign(asked.clone())));
        }
    });
}

#[test]
fn sessions_that_the_token_closed_are_opened_anew() {
    in_own_process("keyring::token::tests::sessions_that_the_token_closed_are_opened_anew", |_| {
        with_pairs(&["hot"]);
        let keys = TokenKeys::open(options(vec![key("hot")])).expect("the token opens");
        let asked = asked(keys.addresses(), 40);
        // Somebody else in this process stops the library: every handle is void.
        cryptoki::context::Pkcs11::new(module())
            .and_then(cryptoki::context::Pkcs11::finalize)
            .expect("it stops");
        are_signed(&asked, &wait(keys.sign(asked.clone())));
    });
}

#[test]
fn another_token_of_the_same_label_is_not_used() {
    in_own_process("keyring::token::tests::another_token_of_the_same_label_is_not_used", |home| {
        with_pairs(&["hot"]);
        let keys = TokenKeys::open(options(vec![key("hot")])).expect("the token opens");
        let asked = asked(keys.addresses(), 1);
        on_token_again(|session| {
            let all = session.find_objects(&[]).expect("its objects");
            for object in all {
                session.destroy_object(object).expect("gone");
            }
            new_pair(session, "hot", &SECP256K1);
        });
        let signed = wait(keys.sign(asked.clone()));
        let [Err(error)] = &signed[..] else { panic!("it is another key: {signed:?}") };
        assert!(!error.is_retryable(), "{error}");
        assert!(home.exists());
    });
}

/// As [`on_token`], where the library runs already: it is stopped first.
fn on_token_again(work: impl FnOnce(&cryptoki::session::Session)) {
    cryptoki::context::Pkcs11::new(module())
        .and_then(cryptoki::context::Pkcs11::finalize)
        .expect("it stops");
    on_token(work);
}

fn pull_out(home: &Path) {
    fs::rename(tokens(home), home.join("away")).expect("our own folder");
    fs::create_dir(tokens(home)).expect("our own folder");
}

fn put_back(home: &Path) {
    fs::remove_dir_all(tokens(home)).expect("our own folder");
    fs::rename(home.join("away"), tokens(home)).expect("our own folder");
}

//! What the configuration says about keys and journal, opened. Only a process that signs comes here, and the commands that look at
//! keys.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use portcullis_core::id::DeploymentId;
use portcullis_core::time::Clock;
use portcullis_keys::journal::{JournalId, JournalReader, SqlJournalOptions};
use portcullis_keys::keyring::{
    KeyringError, KmsKey, KmsKeys, KmsOptions, SecretError, SecretKeys, SecretOptions, SecretStore,
    TokenKey, TokenKeys, TokenOptions, Wrapping,
};
use portcullis_keys::keystore::KeystoreId;
use portcullis_keys::{Journal, JournalError, Keyring, Keystore};

use crate::commands::{open_keystore, second_secret};
use crate::config::{
    Config, HolderConfig, JournalPlace, KeyConfig, SecretConfig, SignerConfig, TokenConfig,
    WrapWord,
};
use crate::failure::Failure;

/// How often an append to a journal in a database is tried whose answer was lost.
const JOURNAL_TRIES: u32 = 5;

/// Opens the keys, wherever they are held. Slow on purpose where there is a passphrase.
pub(crate) async fn open_keyring(
    signer: &SignerConfig,
    deployment: DeploymentId,
    clock: &Arc<dyn Clock>,
) -> Result<Keyring, Failure> {
    let failed = |error: KeyringError| Failure::failed("the signer's keys", &error);
    match &signer.holder {
        HolderConfig::Keystore => {
            let path = &signer.keystore;
            if !path.exists() {
                return Err(Failure::Refused(format!(
                    "there is no keystore at {}: make keys with `portcullis keys new --network NETWORK`, or \
                     name the keystore with signer.keystore",
                    path.display()
                )));
            }
            let signer = signer.clone();
            Ok(blocking(move || open_keystore(&signer)).await?.into())
        }
        HolderConfig::Kms(kms) => {
            let options = KmsOptions {
                keys: kms
                    .keys
                    .iter()
                    .map(|KeyConfig { name, chain, address }| KmsKey {
                        id: name.clone(),
                        chain_id: chain.chain_id,
                        address: *address,
                    })
                    .collect(),
                concurrency: kms.concurrency,
            };
            let keys = KmsKeys::open(&kms.access.load().await, options).await.map_err(failed)?;
            Ok(Keyring::of_kms(keys, deployment))
        }
        HolderConfig::Secret(secret) => {
            let store = secret_store(signer, secret, deployment).await?;
            let keys = SecretKeys::open(store, secret.kept_for, Arc::clone(clock))
                .await
                .map_err(failed)?;
            Ok(Keyring::of_secret(keys, deployment))
        }
        HolderConfig::Token(token) => {
            let options = token_options(token)?;
            let keys = blocking(move || TokenKeys::open(options).map_err(failed)).await?;
            Ok(Keyring::of_token(keys, deployment))
        }
    }
}

/// Opens the journal of these keys. It reads all of it.
pub(crate) async fn open_journal(
    signer: &SignerConfig,
    mut keyring: Keyring,
    clock: &Arc<dyn Clock>,
) -> Result<(Keyring, Journal), Failure> {
    let (named, now) = (signer.journal.id, clock.now());
    let opened = match &signer.journal.place {
        JournalPlace::Mysql(_) => {
            Journal::open_shared(&journal_options(signer)?, &mut keyring, named, now).await
        }
        JournalPlace::File(path) => {
            let path = path.clone();
            let (returned, opened) = blocking(move || {
                let opened = Journal::open_beside(&path, &mut keyring, named, now);
                Ok((keyring, opened))
            })
            .await?;
            keyring = returned;
            opened
        }
    };
    Ok((keyring, opened.map_err(|error| of_journal(&error))?))
}

/// Begins the journal of keys that are held elsewhere: once in their life.
pub(crate) async fn begin_journal(
    signer: &SignerConfig,
    deployment: DeploymentId,
    clock: &Arc<dyn Clock>,
) -> Result<(JournalId, String), Failure> {
    let (owner, now) = (KeystoreId::of_deployment(deployment), clock.now());
    let begun = match &signer.journal.place {
        JournalPlace::File(path) => {
            (Journal::begin_file(path, owner, now), path.display().to_string())
        }
        JournalPlace::Mysql(_) => (
            Journal::begin_shared(&journal_options(signer)?, owner, now).await,
            "the journal's database".to_owned(),
        ),
    };
    Ok((begun.0.map_err(|error| of_journal(&error))?, begun.1))
}

/// The journal, to be read: a running engine may have it open. Keys without one have signed nothing here.
pub(crate) async fn read_journal(config: &Config) -> Result<JournalReader, Failure> {
    let signer = &config.signer;
    let read = match &signer.journal.place {
        JournalPlace::File(path) if !path.exists() => return Ok(JournalReader::empty(path)),
        JournalPlace::File(path) => JournalReader::open(path),
        JournalPlace::Mysql(_) => JournalReader::open_shared(&journal_options(signer)?).await,
    };
    read.map_err(|error| of_journal(&error))
}

/// Chain and address of every key, without a passphrase where that is possible.
pub(crate) async fn senders(
    signer: &SignerConfig,
    deployment: DeploymentId,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<(u64, Address)>, Failure> {
    match &signer.holder {
        HolderConfig::Keystore => {
            let listed = Keystore::list(&signer.keystore)
                .map_err(|error| Failure::failed("the keystore", &error))?;
            Ok(listed.into_iter().map(|key| (key.chain_id, key.address)).collect())
        }
        HolderConfig::Secret(secret) => {
            let store = secret_store(signer, secret, deployment).await?;
            let listed = store.list().await.map_err(|error| of_secret(&error))?;
            Ok(listed.into_iter().map(|key| (key.chain_id, key.address)).collect())
        }
        HolderConfig::Kms(_) | HolderConfig::Token(_) => {
            let keyring = open_keyring(signer, deployment, clock).await?;
            Ok(keyring.addresses().into_iter().collect())
        }
    }
}

/// The secret of the configuration.
pub(crate) async fn secret_store(
    signer: &SignerConfig,
    secret: &SecretConfig,
    deployment: DeploymentId,
) -> Result<SecretStore, Failure> {
    let kms_key = secret.kms_key.clone().unwrap_or_default();
    let operator = || {
        second_secret(signer)?.ok_or_else(|| {
            let what =
                "signer.secret.wrapping needs the operator's key: set signer.second_secret_file";
            Failure::Refused(what.to_owned())
        })
    };
    let wrapping = match secret.wrapping {
        WrapWord::Kms => Wrapping::Kms(kms_key),
        WrapWord::Operator => Wrapping::Operator(operator()?),
        WrapWord::Both => Wrapping::Both(kms_key, operator()?),
    };
    let options = SecretOptions { name: secret.name.clone(), wrapping, deployment };
    Ok(SecretStore::new(&secret.access.load().await, options))
}

/// What went wrong with a secret, with the exit code that fits.
pub(crate) fn of_secret(error: &SecretError) -> Failure {
    match error {
        SecretError::KeyExists { .. } | SecretError::Overtaken { .. } => {
            Failure::Refused(error.to_string())
        }
        _ if error.is_passing() => Failure::Unavailable(error.to_string()),
        _ => Failure::failed("the secret", error),
    }
}

fn token_options(token: &TokenConfig) -> Result<TokenOptions, Failure> {
    let pin = match &token.pin {
        Some(pin) => pin.reveal()?,
        None => return Err(Failure::Refused("signer.pkcs11.pin is missing".to_owned())),
    };
    Ok(TokenOptions {
        module: token.module.clone(),
        token: token.token.clone(),
        pin,
        sessions_max: token.sessions_max,
        keys: token
            .keys
            .iter()
            .map(|KeyConfig { name, chain, address }| TokenKey {
                label: name.clone(),
                chain_id: chain.chain_id,
                address: *address,
            })
            .collect(),
    })
}

fn journal_options(signer: &SignerConfig) -> Result<SqlJournalOptions, Failure> {
    let JournalPlace::Mysql(Some(url)) = &signer.journal.place else {
        return Err(Failure::Refused("signer.journal.url is missing".to_owned()));
    };
    Ok(SqlJournalOptions {
        url: url.reveal()?,
        statement_timeout: Duration::from_millis(signer.journal.statement_timeout_ms),
        tries_max: JOURNAL_TRIES,
    })
}

/// What went wrong with the journal, with the exit code that fits.
fn of_journal(error: &JournalError) -> Failure {
    if error.is_passing() {
        return Failure::Unavailable(format!("the signer's journal: {error}"));
    }
    Failure::failed("the signer's journal", error)
}

/// On a thread where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::failed("a task ended unexpectedly", &error)))
}

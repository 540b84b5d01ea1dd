//! `keys` with a keystore: makes, imports and lists keys. None is ever printed.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use portcullis_core::chain::ChainSpec;
use portcullis_core::time::Clock;
use portcullis_keys::keystore::parse_private_key;
use portcullis_keys::{KdfCost, KeyInfo, Keystore, KeystoreError, SecondSecret};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::passphrase;
use crate::cli::KeysCommand;
use crate::config::{Config, SignerConfig};
use crate::failure::Failure;
use crate::output::Output;

/// The second of the settings that OWASP's password storage cheat sheet gives for Argon2id. It runs
/// at every start of a signer, whose memory is to stay small.
const KDF_COST: KdfCost = KdfCost { memory_kib: 19 * 1024, iterations: 2, parallelism: 1 };

/// Longer input is no private key.
const PRIVATE_KEY_TEXT_MAX: u64 = 1_024;

pub(super) const COLUMNS: [&str; 4] = ["network", "address", "label", "created_at"];

/// Runs `keys …`.
pub(crate) fn keys(
    command: &KeysCommand,
    config: &Config,
    clock: &Arc<dyn Clock>,
    output: Output,
) -> Result<(), Failure> {
    match command {
        KeysCommand::New { network, count, label } => {
            let chain = config.chain(network)?.spec;
            let mut keystore = open_or_create(&config.signer, clock.as_ref())?;
            let mut made = Vec::with_capacity(usize::from(*count));
            for _ in 0..*count {
                let address = keystore
                    .generate(chain.chain_id, label.as_deref(), clock.now())
                    .map_err(|error| of_keystore(&error))?;
                made.push(address);
            }
            show_new(&keystore, &made, output)
        }
        KeysCommand::Import { network, file, label } => {
            let chain = config.chain(network)?.spec;
            let key = private_key_in(file)?;
            let mut keystore = open_or_create(&config.signer, clock.as_ref())?;
            let address = keystore
                .import(chain.chain_id, key, label.as_deref(), clock.now())
                .map_err(|error| of_keystore(&error))?;
            show_new(&keystore, &[address], output)
        }
        KeysCommand::List { network } => {
            let wanted = network.as_deref().map(|name| config.chain(name)).transpose()?;
            let keys = match Keystore::list(&config.signer.keystore) {
                Err(KeystoreError::Missing { .. }) => Vec::new(),
                listed => listed.map_err(|error| of_keystore(&error))?,
            };
            let shown = keys
                .iter()
                .filter(|key| wanted.is_none_or(|chain| chain.spec.chain_id == key.chain_id));
            output.list("keys", &COLUMNS, shown.map(row).collect());
            Ok(())
        }
        KeysCommand::Rotate | KeysCommand::Journal => Err(Failure::Refused(
            "a keystore is encrypted anew with every change, and begins its journal by itself: there is nothing to do".to_owned(),
        )),
    }
}

/// Opens the keystore that the configuration names. Slow on purpose: call it where blocking is allowed.
pub(crate) fn open_keystore(signer: &SignerConfig) -> Result<Keystore, Failure> {
    let second = second_secret(signer)?;
    let passphrase = passphrase_of(signer, false)?;
    Keystore::open(&signer.keystore, &passphrase, second.as_ref())
        .map_err(|error| of_keystore(&error))
}

fn open_or_create(signer: &SignerConfig, clock: &dyn Clock) -> Result<Keystore, Failure> {
    if signer.keystore.exists() {
        return open_keystore(signer);
    }
    let second = second_secret(signer)?;
    let passphrase = passphrase_of(signer, true)?;
    Keystore::create(&signer.keystore, &passphrase, second.as_ref(), KDF_COST, clock.now())
        .map_err(|error| of_keystore(&error))
}

fn passphrase_of(signer: &SignerConfig, is_new: bool) -> Result<SecretString, Failure> {
    match &signer.passphrase {
        Some(source) => Ok(source.reveal()?),
        None => passphrase::ask(is_new),
    }
}

/// The operator's second secret, where one is configured.
pub(crate) fn second_secret(signer: &SignerConfig) -> Result<Option<SecondSecret>, Failure> {
    let Some(source) = &signer.second_secret else { return Ok(None) };
    let secret = match source.path() {
        // The keystore also looks at who may read the file.
        Some(path) => SecondSecret::read(path),
        None => SecondSecret::parse(source.reveal()?.expose_secret()),
    };
    secret.map(Some).map_err(|error| of_keystore(&error))
}

/// The private key that a file holds, or standard input.
pub(super) fn private_key_in(file: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let text = private_key_text(file)?;
    parse_private_key(text.trim())
        .map_err(|error| Failure::Usage(format!("--file {}: {error}", file.display())))
}

fn private_key_text(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(PRIVATE_KEY_TEXT_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(PRIVATE_KEY_TEXT_MAX).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let message = format!("cannot read the private key from {}: {error}", file.display());
            Err(Failure::Unavailable(message))
        }
    }
}

fn show_new(
    keystore: &Keystore,
    addresses: &[alloy_primitives::Address],
    output: Output,
) -> Result<(), Failure> {
    let listed = Keystore::list(keystore.path()).map_err(|error| of_keystore(&error))?;
    let rows = listed.iter().filter(|key| addresses.contains(&key.address)).map(row);
    output.list("keys", &COLUMNS, rows.collect());
    Ok(())
}

pub(super) fn row(key: &KeyInfo) -> Value {
    json!({
        "network": ChainSpec::by_id(key.chain_id).map(|chain| chain.network),
        "chain_id": key.chain_id,
        "address": key.address.to_checksum(None),
        "label": key.label,
        "created_at": key.created_at.to_rfc3339(),
    })
}

fn of_keystore(error: &KeystoreError) -> Failure {
    match error {
        KeystoreError::KeyExists { .. }
        | KeystoreError::Exists { .. }
        | KeystoreError::FolderMissing { .. } => Failure::Refused(error.to_string()),
        KeystoreError::InvalidPrivateKey | KeystoreError::InvalidLabel => {
            Failure::Usage(error.to_string())
        }
        other => Failure::failed("the keystore", other),
    }
}

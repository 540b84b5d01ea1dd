//! Keys in AWS KMS (`ECC_SECG_P256K1`, `SIGN_VERIFY`). They never leave it: digests go there, signatures come back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::Address;
use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use futures::stream::{self, StreamExt, TryStreamExt};
use k256::ecdsa::VerifyingKey;

use super::aws::{is_missing, key_error};
use super::error::{KeyError, KeyringError};
use super::signature::{address_of, from_der, key_of_spki};
use super::{Ask, HELD_BY_KMS, Signed};

/// Which keys, and how hard KMS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsOptions {
    /// The keys.
    pub keys: Vec<KmsKey>,
    /// The most signatures that are asked for at once.
    pub concurrency: usize,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsKey {
    /// Its id, ARN or alias.
    pub id: String,
    /// The chain that it signs for.
    pub chain_id: u64,
    /// What its address has to be, where the configuration says so: an alias can be moved to another key.
    pub address: Option<Address>,
}

/// The keys in KMS. Cheap to clone.
#[derive(Clone)]
pub struct KmsKeys {
    client: Client,
    keys: Arc<BTreeMap<(u64, Address), Known>>,
    concurrency: usize,
}

/// A key as it was found at the start. The ARN leads to it even when its alias is moved.
#[derive(Debug)]
struct Known {
    arn: String,
    public: VerifyingKey,
}

impl fmt::Debug for KmsKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KmsKeys({} keys)", self.keys.len())
    }
}

impl KmsKeys {
    /// Asks for every public key, once: they never change.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub async fn open(access: &SdkConfig, options: KmsOptions) -> Result<Self, KeyringError> {
        let client = Client::new(access);
        let concurrency = options.concurrency.max(1);
        let found: Vec<(KmsKey, Known)> = stream::iter(options.keys)
            .map(|key| async {
                let known = public_key(&client, &key).await?;
                Ok::<_, KeyringError>((key, known))
            })
            .buffered(concurrency)
            .try_collect()
            .await?;
        let mut keys: BTreeMap<(u64, Address), Known> = BTreeMap::new();
        for (key, known) in found {
            let address = address_of(&known.public);
            if let Some(expected) = key.address.filter(|expected| *expected != address) {
                return Err(KeyringError::OtherAddress { key: key.id, expected, found: address });
            }
            if keys.keys().any(|(_, there)| *there == address) {
                return Err(KeyringError::Twice { address });
            }
            keys.insert((key.chain_id, address), known);
        }
        Ok(Self { client, keys: Arc::new(keys), concurrency })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (u64, Address)> {
        self.keys.keys().copied()
    }

    /// Asks for all of them, so many at once as the options say, and answers in their order.
    pub(super) async fn sign(&self, asked: Vec<Ask>) -> Vec<Signed> {
        stream::iter(asked)
            .map(|ask| async move { self.sign_one(&ask).await })
            .buffered(self.concurrency)
            .collect()
            .await
    }

    async fn sign_one(&self, ask: &Ask) -> Signed {
        let known = self.keys.get(&ask.key).ok_or_else(|| KeyError::Refused {
            holder: HELD_BY_KMS,
            reason: format!("there is no key of {}", ask.key.1),
        })?;
        let answer = self
            .client
            .sign()
            .key_id(&known.arn)
            .message_type(MessageType::Digest)
            .message(Blob::new(ask.digest.to_vec()))
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send()
            .await
            .map_err(|error| key_error(HELD_BY_KMS, &error))?;
        let der = answer.signature().map(Blob::as_ref).unwrap_or_default();
        from_der(der, ask.digest, &known.public)
            .map_err(|reason| KeyError::Answer { holder: HELD_BY_KMS, reason })
    }
}

async fn public_key(client: &Client, key: &KmsKey) -> Result<Known, KeyringError> {
    let answer = client.get_public_key().key_id(&key.id).send().await.map_err(|error| {
        if is_missing(&error) {
            let hint = "look at its id and at the region".to_owned();
            return KeyringError::Missing { holder: HELD_BY_KMS, key: key.id.clone(), hint };
        }
        KeyringError::Key { key: key.id.clone(), reason: key_error(HELD_BY_KMS, &error) }
    })?;
    let unsuited = |what: String| KeyringError::Unsuited { key: key.id.clone(), what };
    if answer.key_usage() != Some(&KeyUsageType::SignVerify) {
        return Err(unsuited("may not sign".to_owned()));
    }
    // The key itself says it too, below; the name of its kind says it better.
    if answer.key_spec().is_some_and(|kind| *kind != KeySpec::EccSecgP256K1) {
        return Err(unsuited("is of another kind than ECC_SECG_P256K1".to_owned()));
    }
    let spki = answer.public_key().map(Blob::as_ref).unwrap_or_default();
    let public = key_of_spki(spki).map_err(|reason| unsuited(reason.to_string()))?;
    let arn = answer.key_id().unwrap_or(&key.id).to_owned();
    Ok(Known { arn, public })
}

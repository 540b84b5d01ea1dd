//! The secret in AWS Secrets Manager: read, and written in such a way that two writers do not lose each other's keys.

use std::sync::Arc;

use alloy_primitives::Address;
use aws_config::SdkConfig;
use aws_sdk_kms::Client as KmsClient;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_sdk_secretsmanager::Client;
use k256::ecdsa::SigningKey;
use portcullis_core::id::DeploymentId;
use portcullis_core::time::Timestamp;
use thiserror::Error;
use zeroize::Zeroizing;

use super::document::{DataKey, Document, DocumentError, PlainKey, Unwrapped, fresh_data_key};
use super::{HELD_BY_SECRET, Wrapping};
use crate::keyring::HELD_BY_KMS;
use crate::keyring::aws::{is_missing, key_error};
use crate::keyring::error::{KeyError, KeyringError};
use crate::keystore::{KeyInfo, KeystoreError, KeystoreId, UnlockedKeys};
use crate::random;

/// Which secret, and who wraps its data key.
#[derive(Clone, Debug)]
pub struct SecretOptions {
    /// The secret's name.
    pub name: String,
    /// Who wraps its data key.
    pub wrapping: Wrapping,
    /// The deployment that the keys belong to.
    pub deployment: DeploymentId,
}

/// The secret.
#[derive(Clone, Debug)]
pub struct SecretStore {
    secrets: Client,
    kms: KmsClient,
    options: SecretOptions,
}

/// Why a secret was not read or written.
#[derive(Debug, Error)]
pub enum SecretError {
    /// There is none, or not this version of it.
    #[error("there is no secret {name} in that place: make one with `portcullis keys new`")]
    Missing {
        /// Its name.
        name: String,
    },
    /// AWS gives no answer that helps.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its content is not what this configuration opens.
    #[error("the secret {name} cannot be used: {what}")]
    Content {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Somebody else has changed it meanwhile.
    #[error(
        "the secret {name} was changed by somebody else meanwhile: nothing was changed, try again"
    )]
    Overtaken {
        /// Its name.
        name: String,
    },
    /// The key is there already. A key belongs to one chain.
    #[error(
        "the key of {address} is in this secret for chain {chain_id}, and a key belongs to one chain"
    )]
    KeyExists {
        /// Its address.
        address: Address,
        /// Its chain.
        chain_id: u64,
    },
    /// Not a private key, or no random bytes.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

impl SecretError {
    /// Whether the same may go well later, without anybody repairing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Key(error) => error.is_retryable(),
            _ => false,
        }
    }

    pub(super) fn to_key_error(&self) -> KeyError {
        match self {
            Self::Key(error) => error.clone(),
            other => KeyError::Refused { holder: HELD_BY_SECRET, reason: other.to_string() },
        }
    }

    pub(super) fn to_keyring_error(&self, store: &SecretStore) -> KeyringError {
        KeyringError::Key { key: store.name().to_owned(), reason: self.to_key_error() }
    }
}

/// Which version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The one in force.
    Current,
    /// The one before it.
    Previous,
}

impl Stage {
    const fn label(self) -> &'static str {
        match self {
            Self::Current => CURRENT,
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";

/// A version, decrypted.
pub(super) struct Opened {
    pub(super) version: String,
    pub(super) plain: Vec<PlainKey>,
    pub(super) keys: UnlockedKeys,
}

impl SecretStore {
    /// The way to the secret. Nothing is asked yet.
    #[must_use]
    pub fn new(access: &SdkConfig, options: SecretOptions) -> Self {
        Self { secrets: Client::new(access), kms: KmsClient::new(access), options }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Whose keys are in the version in force. Nothing is decrypted.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn list(&self) -> Result<Vec<KeyInfo>, SecretError> {
        let (_, document) = self.document(CURRENT).await?;
        Ok(document.list())
    }

    /// Generates a key and adds it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub async fn generate(
        &self,
        chain_id: u64,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<Address, SecretError> {
        loop {
            let bytes = random::secret::<32>().map_err(KeystoreError::from)?;
            // One in 2^128 random scalars is none; then another is drawn.
            if SigningKey::from_slice(&*bytes).is_ok() {
                return self.add(chain_id, bytes, label, now).await;
            }
        }
    }

    /// Adds a key, in a new version with a new data key. Makes the secret where there is none.
    ///
    /// # Errors
    /// See [`SecretError`]. Then the version in force is what it was.
    pub async fn add(
        &self,
        chain_id: u64,
        private_key: Zeroizing<[u8; 32]>,
        label: Option<&str>,
        now: Timestamp,
    ) -> Result<Address, SecretError> {
        let key =
            SigningKey::from_slice(&*private_key).map_err(|_| KeystoreError::InvalidPrivateKey)?;
        let address = Address::from_public_key(key.verifying_key());
        let label = label.map(str::to_owned);
        let info = KeyInfo { chain_id, address, label, created_at: now };
        let added = PlainKey { info, secret: private_key };
        match self.read(Stage::Current).await {
            Ok(Opened { version, mut plain, .. }) => {
                if let Some(there) = plain.iter().find(|there| there.info.address == address) {
                    let chain_id = there.info.chain_id;
                    return Err(SecretError::KeyExists { address, chain_id });
                }
                plain.push(added);
                self.replace(&version, &plain).await?;
            }
            Err(SecretError::Missing { .. }) => self.create(&[added]).await?,
            Err(error) => return Err(error),
        }
        Ok(address)
    }

    /// Encrypts the same keys anew, with a new data key, as a new version. What was in force becomes the version before.
    ///
    /// # Errors
    /// See [`SecretError`]. Then the version in force is what it was.
    pub async fn rotate(&self) -> Result<(), SecretError> {
        let Opened { version, plain, .. } = self.read(Stage::Current).await?;
        self.replace(&version, &plain).await
    }

    /// Reads and decrypts a version.
    pub(super) async fn read(&self, stage: Stage) -> Result<Opened, SecretError> {
        self.read_version(stage.label()).await
    }

    async fn read_version(&self, stage: &str) -> Result<Opened, SecretError> {
        let (version, document) = self.document(stage).await?;
        let id = self.id();
        let unwrapped = document.unwrap(&self.options.wrapping, id);
        let data_key = match unwrapped.map_err(|error| self.unusable(&error))? {
            Unwrapped::Plain(key) => key,
            Unwrapped::ForKms(blob) => self.decrypt(blob).await?,
        };
        let plain = document.open(&data_key, id).map_err(|error| self.unusable(&error))?;
        let mut keys = UnlockedKeys::new();
        for key in &plain {
            let (chain_id, address) = (key.info.chain_id, key.info.address);
            let signing = key
                .signing_key()
                .ok_or_else(|| self.unusable(&DocumentError::PrivateKey(address)))?;
            keys.insert((chain_id, address), Arc::new(signing));
        }
        Ok(Opened { version, plain, keys })
    }

    async fn document(&self, stage: &str) -> Result<(String, Document), SecretError> {
        let asked = self.secrets.get_secret_value().secret_id(self.name()).version_stage(stage);
        let answer = asked.send().await.map_err(|error| {
            if is_missing(&error) {
                return SecretError::Missing { name: self.name().to_owned() };
            }
            key_error(HELD_BY_SECRET, &error).into()
        })?;
        let document = Document::parse(answer.secret_string().unwrap_or_default())
            .map_err(|error| self.unusable(&error))?;
        Ok((answer.version_id().unwrap_or_default().to_owned(), document))
    }

    async fn create(&self, keys: &[PlainKey]) -> Result<(), SecretError> {
        let text = self.sealed(keys).await?;
        let created = self.secrets.create_secret().name(self.name()).secret_string(text);
        created.send().await.map_err(|error| key_error(HELD_BY_SECRET, &error))?;
        Ok(())
    }

    /// Puts a new version beside the one in force, proves that it opens, and only then puts it in force: where somebody
    /// else was quicker, AWS refuses that.
    pub(super) async fn replace(
        &self,
        in_force: &str,
        keys: &[PlainKey],
    ) -> Result<(), SecretError> {
        let failed = |error| SecretError::from(error);
        let text = self.sealed(keys).await?;
        let put = self
            .secrets
            .put_secret_value()
            .secret_id(self.name())
            .secret_string(text)
            .version_stages(PENDING)
            .send()
            .await
            .map_err(|error| failed(key_error(HELD_BY_SECRET, &error)))?;
        let version = put.version_id().unwrap_or_default().to_owned();
        let pending = self.read_version(PENDING).await?;
        if pending.version != version {
            return Err(SecretError::Overtaken { name: self.name().to_owned() });
        }
        let promoted = self
            .secrets
            .update_secret_version_stage()
            .secret_id(self.name())
            .version_stage(CURRENT)
            .move_to_version_id(&version)
            .remove_from_version_id(in_force)
            .send()
            .await;
        match promoted {
            Ok(_) => {}
            Err(error) if is_refused_parameter(&error) => {
                return Err(SecretError::Overtaken { name: self.name().to_owned() });
            }
            Err(error) => return Err(failed(key_error(HELD_BY_SECRET, &error))),
        }
        let unmarked = self
            .secrets
            .update_secret_version_stage()
            .secret_id(self.name())
            .version_stage(PENDING)
            .remove_from_version_id(&version)
            .send()
            .await;
        if let Err(error) = unmarked {
            // It is in force all the same, and the next writer moves the mark.
            let error = key_error(HELD_BY_SECRET, &error);
            tracing::warn!(secret = self.name(), %error, "the new version of the secret is still marked as pending");
        }
        Ok(())
    }

    async fn sealed(&self, keys: &[PlainKey]) -> Result<String, SecretError> {
        let wrapping = &self.options.wrapping;
        let data_key = match wrapping.kms() {
            None => fresh_data_key()?,
            Some(key) => self.fresh_data_key(key).await?,
        };
        Ok(Document::seal(keys, &data_key, wrapping, self.id())?.text())
    }

    async fn fresh_data_key(&self, key: &str) -> Result<DataKey, SecretError> {
        let asked = self
            .kms
            .generate_data_key()
            .key_id(key)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context("portcullis:deployment", self.options.deployment.to_string())
            .encryption_context("portcullis:secret", self.name());
        let answer = asked.send().await.map_err(|error| key_error(HELD_BY_KMS, &error))?;
        let (plain, wrapped) = (answer.plaintext, answer.ciphertext_blob);
        let plain = plain.map(|blob| Zeroizing::new(blob.into_inner())).unwrap_or_default();
        let by_kms = wrapped.map(Blob::into_inner);
        Ok(DataKey { plain: self.of_32_bytes(&plain)?, by_kms })
    }

    async fn decrypt(&self, blob: Vec<u8>) -> Result<Zeroizing<[u8; 32]>, SecretError> {
        let key = self.options.wrapping.kms().unwrap_or_default();
        let asked = self
            .kms
            .decrypt()
            .key_id(key)
            .ciphertext_blob(Blob::new(blob))
            .encryption_context("portcullis:deployment", self.options.deployment.to_string())
            .encryption_context("portcullis:secret", self.name());
        let answer = asked.send().await.map_err(|error| key_error(HELD_BY_KMS, &error))?;
        let plain = answer.plaintext.map(|blob| Zeroizing::new(blob.into_inner()));
        self.of_32_bytes(&plain.unwrap_or_default())
    }

    fn of_32_bytes(&self, plain: &[u8]) -> Result<Zeroizing<[u8; 32]>, SecretError> {
        let mut key = Zeroizing::new([0; 32]);
        if plain.len() != key.len() {
            return Err(self.unusable(&DocumentError::DataKey));
        }
        key.copy_from_slice(plain);
        Ok(key)
    }

    fn unusable(&self, error: &DocumentError) -> SecretError {
        SecretError::Content { name: self.name().to_owned(), what: error.to_string() }
    }

    /// Names deployment and secret, so that no ciphertext opens in another place.
    fn id(&self) -> KeystoreId {
        let name = format!("secret/{}/{}", self.options.deployment, self.name());
        KeystoreId::of_name(name.as_bytes())
    }
}

/// Whether AWS refused to take the label from a version that no longer has it.
fn is_refused_parameter<E, R>(error: &aws_sdk_kms::error::SdkError<E, R>) -> bool
where
    E: aws_sdk_kms::error::ProvideErrorMetadata,
{
    let aws_sdk_kms::error::SdkError::ServiceError(context) = error else { return false };
    matches!(context.err().code(), Some("InvalidParameterException" | "InvalidRequestException"))
}

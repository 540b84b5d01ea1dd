//! What is in the secret: ciphertext, and who the keys belong to.

use alloy_primitives::{Address, Bytes};
use k256::ecdsa::SigningKey;
use portcullis_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keystore::{
    DoesNotOpen, Key, KeyInfo, KeystoreError, KeystoreId, Part, Sealed, SecondSecret, subkey,
};
use crate::random;

const FORMAT: &str = "portcullis-secret";
const VERSION: u32 = 1;

/// Where a wrapped data key stands among the ciphertexts: it belongs to no chain and no address.
const DATA_KEY: Part = Part::DataKey { chain_id: 0, address: Address::ZERO };
const OUTER_DATA_KEY: Part = Part::OuterDataKey { chain_id: 0, address: Address::ZERO };

/// Who wraps the data key.
#[derive(Clone, Debug)]
pub enum Wrapping {
    /// A symmetric key in AWS KMS, by id, ARN or alias.
    Kms(String),
    /// A key that the operator holds.
    Operator(SecondSecret),
    /// Both, one around the other: AWS alone opens nothing, and neither does the operator.
    Both(String, SecondSecret),
}

impl Wrapping {
    /// The operator's part, where there is one.
    pub(super) const fn operator(&self) -> Option<&SecondSecret> {
        match self {
            Self::Kms(_) => None,
            Self::Operator(secret) | Self::Both(_, secret) => Some(secret),
        }
    }

    /// The key in KMS, where there is one.
    pub(super) fn kms(&self) -> Option<&str> {
        match self {
            Self::Kms(key) | Self::Both(key, _) => Some(key),
            Self::Operator(_) => None,
        }
    }

    const fn word(&self) -> Wrapped {
        match self {
            Self::Kms(_) => Wrapped::Kms,
            Self::Operator(_) => Wrapped::Operator,
            Self::Both(..) => Wrapped::Both,
        }
    }
}

/// How a document says who wrapped its data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wrapped {
    Kms,
    Operator,
    Both,
}

/// The content of one version of the secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: String,
    version: u32,
    wrapped_by: Wrapped,
    data_key: Bytes,
    keys: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    chain_id: u64,
    address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    created_at_ms: Timestamp,
    private_key: Sealed,
}

/// Why a document is not one, or does not open.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum DocumentError {
    #[error("it holds no keys of Portcullis ({0})")]
    Foreign(String),
    #[error("its data key is wrapped by {0}, and another wrapping is configured")]
    OtherWrapping(&'static str),
    #[error(
        "its data key does not open: another key of the operator, another secret's content, or damage"
    )]
    DataKey,
    #[error("the key of {0} does not open: another secret's content, or damage")]
    PrivateKey(Address),
}

/// One private key and whose it is.
pub(super) struct PlainKey {
    pub(super) info: KeyInfo,
    pub(super) secret: Zeroizing<[u8; 32]>,
}

impl PlainKey {
    /// `None` where it is no private key of this address.
    pub(super) fn signing_key(&self) -> Option<SigningKey> {
        let key = SigningKey::from_slice(&*self.secret).ok()?;
        (Address::from_public_key(key.verifying_key()) == self.info.address).then_some(key)
    }
}

/// A data key in the clear, and what KMS has made of it, where KMS has made it.
pub(super) struct DataKey {
    pub(super) plain: Key,
    pub(super) by_kms: Option<Vec<u8>>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let document: Self = serde_json::from_str(text)
            .map_err(|error| DocumentError::Foreign(error.to_string()))?;
        if document.format != FORMAT || document.version != VERSION {
            let what = format!("{} of version {}", document.format, document.version);
            return Err(DocumentError::Foreign(what));
        }
        Ok(document)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data has a JSON form")
    }

    /// What anybody who may read it can know of its keys.
    pub(super) fn list(&self) -> Vec<KeyInfo> {
        self.keys
            .iter()
            .map(|entry| KeyInfo {
                chain_id: entry.chain_id,
                address: entry.address,
                label: entry.label.clone(),
                created_at: entry.created_at_ms,
            })
            .collect()
    }

    /// Encrypts the keys. `id` names deployment and secret: elsewhere nothing of it opens.
    pub(super) fn seal(
        keys: &[PlainKey],
        data_key: &DataKey,
        wrapping: &Wrapping,
        id: KeystoreId,
    ) -> Result<Self, KeystoreError> {
        let outer = wrapping.operator().map(|secret| operator_key(secret, id));
        let wrapped: Bytes = match (&data_key.by_kms, outer) {
            (Some(blob), None) => blob.clone().into(),
            (Some(blob), Some(outer)) => Sealed::seal(&outer, OUTER_DATA_KEY, id, blob)?.0,
            (None, Some(outer)) => Sealed::seal(&outer, DATA_KEY, id, &*data_key.plain)?.0,
            (None, None) => unreachable!("every wrapping has KMS or an operator"),
        };
        let keys = keys
            .iter()
            .map(|key| {
                let (chain_id, address) = (key.info.chain_id, key.info.address);
                let part = Part::PrivateKey { chain_id, address };
                Ok(Entry {
                    chain_id,
                    address,
                    label: key.info.label.clone(),
                    created_at_ms: key.info.created_at,
                    private_key: Sealed::seal(&data_key.plain, part, id, &*key.secret)?,
                })
            })
            .collect::<Result<_, KeystoreError>>()?;
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            wrapped_by: wrapping.word(),
            data_key: wrapped,
            keys,
        })
    }

    /// Takes the operator's wrapping off: what is left is for KMS, or is the data key.
    pub(super) fn unwrap(
        &self,
        wrapping: &Wrapping,
        id: KeystoreId,
    ) -> Result<Unwrapped, DocumentError> {
        if self.wrapped_by != wrapping.word() {
            return Err(DocumentError::OtherWrapping(match self.wrapped_by {
                Wrapped::Kms => "KMS",
                Wrapped::Operator => "an operator's key",
                Wrapped::Both => "KMS and an operator's key",
            }));
        }
        let sealed = Sealed(self.data_key.clone());
        let opened = |_: DoesNotOpen| DocumentError::DataKey;
        Ok(match wrapping {
            Wrapping::Kms(_) => Unwrapped::ForKms(self.data_key.to_vec()),
            Wrapping::Both(_, secret) => {
                let blob = sealed.open(&operator_key(secret, id), OUTER_DATA_KEY, id);
                Unwrapped::ForKms(blob.map_err(opened)?.to_vec())
            }
            Wrapping::Operator(secret) => {
                let key = sealed.open_key(&operator_key(secret, id), DATA_KEY, id);
                Unwrapped::Plain(key.map_err(opened)?)
            }
        })
    }

    /// Decrypts the keys.
    pub(super) fn open(
        &self,
        data_key: &Key,
        id: KeystoreId,
    ) -> Result<Vec<PlainKey>, DocumentError> {
        self.list()
            .into_iter()
            .zip(&self.keys)
            .map(|(info, entry)| {
                let (chain_id, address) = (info.chain_id, info.address);
                let part = Part::PrivateKey { chain_id, address };
                let secret = entry.private_key.open_key(data_key, part, id);
                secret
                    .map(|secret| PlainKey { info, secret })
                    .map_err(|_| DocumentError::PrivateKey(address))
            })
            .collect()
    }
}

/// A data key without the operator's wrapping.
pub(super) enum Unwrapped {
    ForKms(Vec<u8>),
    Plain(Key),
}

/// A fresh data key, where KMS makes none.
pub(super) fn fresh_data_key() -> Result<DataKey, KeystoreError> {
    Ok(DataKey { plain: random::secret::<32>()?, by_kms: None })
}

fn operator_key(secret: &SecondSecret, id: KeystoreId) -> Key {
    subkey(secret.key(), "secret", id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{CHAIN, NOW, second_secret};

    fn id(byte: u8) -> KeystoreId {
        KeystoreId::of_name(&[byte])
    }

    fn plain(byte: u8) -> PlainKey {
        let secret = Zeroizing::new([byte; 32]);
        let key = SigningKey::from_slice(&*secret).expect("a scalar");
        let address = Address::from_public_key(key.verifying_key());
        let info = KeyInfo { chain_id: CHAIN, address, label: None, created_at: NOW };
        PlainKey { info, secret }
    }

    fn sealed(wrapping: &Wrapping, by_kms: Option<Vec<u8>>) -> Document {
        let data_key = DataKey { plain: Zeroizing::new([9; 32]), by_kms };
        let document = Document::seal(&[plain(3), plain(4)], &data_key, wrapping, id(1));
        let text = document.expect("random bytes").text();
        assert!(!text.contains("0303030303") && !text.contains("0909090909"), "{text}");
        Document::parse(&text).expect("its own text")
    }

    #[test]
    fn each_wrapping_opens_with_what_it_was_made_with() {
        let operator = Wrapping::Operator(second_secret(5));
        let document = sealed(&operator, None);
        let Ok(Unwrapped::Plain(key)) = document.unwrap(&operator, id(1)) else {
            panic!("the operator's key opens it");
        };
        let opened = document.open(&key, id(1)).expect("whole");
        let secrets: Vec<u8> = opened.iter().map(|key| key.secret[0]).collect();
        assert_eq!(secrets, [3, 4]);
        assert!(opened.iter().all(|key| key.signing_key().is_some()));

        let blob = vec![7; 40];
        for wrapping in [
            Wrapping::Kms("alias/wrap".to_owned()),
            Wrapping::Both("alias/wrap".to_owned(), second_secret(5)),
        ] {
            let document = sealed(&wrapping, Some(blob.clone()));
            let Ok(Unwrapped::ForKms(found)) = document.unwrap(&wrapping, id(1)) else {
                panic!("what KMS has made comes back");
            };
            assert_eq!(found, blob);
            let other = document.unwrap(&operator, id(1)).err();
            assert!(matches!(other, Some(DocumentError::OtherWrapping(_))));
        }
    }

    #[test]
    fn nothing_opens_elsewhere_or_with_another_key() {
        let operator = Wrapping::Operator(second_secret(5));
        let document = sealed(&operator, None);
        let stranger = Wrapping::Operator(second_secret(6));
        assert_eq!(document.unwrap(&stranger, id(1)).err(), Some(DocumentError::DataKey));
        assert_eq!(document.unwrap(&operator, id(2)).err(), Some(DocumentError::DataKey));
        let key = Zeroizing::new([9; 32]);
        assert!(matches!(document.open(&key, id(2)).err(), Some(DocumentError::PrivateKey(_))));
        let mut swapped = document.clone();
        let one = swapped.keys[0].private_key.clone();
        swapped.keys[0].private_key = swapped.keys[1].private_key.clone();
        swapped.keys[1].private_key = one;
        assert!(swapped.open(&key, id(1)).is_err());
        let mut elsewhere = document;
        elsewhere.keys[0].chain_id = 1;
        assert!(elsewhere.open(&key, id(1)).is_err());
    }

    #[test]
    fn other_documents_are_refused() {
        let text = sealed(&Wrapping::Operator(second_secret(5)), None).text();
        for other in [
            String::new(),
            "{}".to_owned(),
            text.replace("portcullis-secret", "another"),
            text.replace("\"version\":1", "\"version\":2"),
            text.replace("\"keys\"", "\"more\":1,\"keys\""),
        ] {
            let parsed = Document::parse(&other).err();
            assert!(matches!(parsed, Some(DocumentError::Foreign(_))), "{other}");
        }
    }
}

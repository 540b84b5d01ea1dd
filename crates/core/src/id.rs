//! Identifiers. Those that we give are prefixed and sort by time; those that clients give are bounded text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use ulid::Ulid;

use crate::time::Timestamp;

/// Text that is not an identifier of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be {expected}")]
pub struct IdError {
    expected: &'static str,
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// From the time and 80 random bits: a later id sorts behind an earlier one.
            #[must_use]
            pub fn from_parts(at: Timestamp, random: u128) -> Self {
                let millis = u64::try_from(at.as_millis()).unwrap_or(0);
                Self(Ulid::from_parts(millis, random).0)
            }

            /// The 16 bytes that the store keeps; they sort as the text does.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// From the store's 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = Ulid(self.0).to_string().to_lowercase();
                write!(formatter, concat!($prefix, "_{}"), text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError {
                    expected: concat!("an id of the form ", $prefix, "_ and 26 characters"),
                };
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|rest| !rest.bytes().any(|byte| byte.is_ascii_uppercase()))
                    .and_then(|rest| Ulid::from_string(rest).ok())
                    .map(|ulid| Self(ulid.0))
                    .ok_or(error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

prefixed_id!(
    /// One withdrawal, given at intake.
    WithdrawalId,
    "wd"
);
prefixed_id!(
    /// One tenant.
    TenantId,
    "tn"
);
prefixed_id!(
    /// One API key (its public half).
    ApiKeyId,
    "key"
);
prefixed_id!(
    /// One asset on one network.
    AssetId,
    "as"
);
prefixed_id!(
    /// One slot: `(chain_id, sender, nonce)`.
    SlotId,
    "sl"
);
prefixed_id!(
    /// One deposit that credited an account.
    DepositId,
    "dp"
);
prefixed_id!(
    /// One installation of Portcullis: the domain of its seals and refs.
    DeploymentId,
    "dep"
);

macro_rules! client_text {
    ($(#[$doc:meta])* $name:ident, $most:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The longest that is accepted, in bytes.
            pub const LENGTH_MAX: usize = $most;

            /// The text, byte for byte as the client gave it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let allowed = |byte: u8| byte.is_ascii_graphic();
                if text.is_empty() || text.len() > $most || !text.bytes().all(allowed) {
                    return Err(IdError { expected: $expected });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

client_text!(
    /// The client's own id of a withdrawal, unique per tenant for ever.
    ExternalId,
    255,
    "1 to 255 printable ASCII characters without spaces"
);
client_text!(
    /// The client's id of an account; an account begins with its first deposit.
    AccountId,
    128,
    "1 to 128 printable ASCII characters without spaces"
);

/// The account of payments whose payer nobody knows. No client's account has its name.
const SUSPENSE: &str = "portcullis:suspense";

impl AccountId {
    /// Where `reconcile` books a payment that it imported from journal and chain, until a retry names who pays.
    #[must_use]
    pub fn suspense() -> Self {
        Self(SUSPENSE.to_owned())
    }

    /// Whether it is that account: no client may withdraw from it.
    #[must_use]
    pub fn is_suspense(&self) -> bool {
        self.0 == SUSPENSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_in_every_form() {
        let early = WithdrawalId::from_parts(Timestamp::from_millis(1_000), u128::MAX);
        let late = WithdrawalId::from_parts(Timestamp::from_millis(1_001), 0);
        assert!(early < late);
        assert!(early.to_bytes() < late.to_bytes());
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn ids_read_back_and_refuse_other_kinds() {
        let id = WithdrawalId::from_parts(Timestamp::from_millis(1_795_190_400_000), 7);
        let text = id.to_string();
        assert!(text.starts_with("wd_"));
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(WithdrawalId::from_bytes(id.to_bytes()), id);
        assert!(text.parse::<TenantId>().is_err());
        assert!(text.to_uppercase().parse::<WithdrawalId>().is_err());
        assert!(text[3..].parse::<WithdrawalId>().is_err());
        assert!("wd_".parse::<WithdrawalId>().is_err());
        let id_with_upper_tail = format!("wd_{}", text[3..].to_uppercase());
        assert!(id_with_upper_tail.parse::<WithdrawalId>().is_err());
    }

    #[test]
    fn client_text_is_bounded_and_kept_as_given() {
        assert_eq!("Order-1".parse::<ExternalId>().map(|id| id.to_string()), Ok("Order-1".into()));
        for bad in ["", " ", "a b", "a\n", "주문", &"x".repeat(256)] {
            assert!(bad.parse::<ExternalId>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(255).parse::<ExternalId>().is_ok());
    }
}

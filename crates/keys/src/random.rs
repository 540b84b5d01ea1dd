//! Random bytes of the operating system, and the ids that are made of them.

use thiserror::Error;
use zeroize::Zeroizing;

/// The operating system gives no random bytes. Nothing secret can be made then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the operating system gives no random bytes ({0}): check /dev/urandom, then try again")]
pub struct NoRandomness(pub(crate) String);

/// Fresh random bytes, erased when dropped.
pub(crate) fn secret<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(bytes)
}

/// Fresh random bytes that are no secret.
pub(crate) fn public<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(bytes)
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(alloy_primitives::FixedBytes<16>);

        impl $name {
            pub(crate) fn random() -> Result<Self, $crate::random::NoRandomness> {
                $crate::random::public::<16>().map(|bytes| Self(bytes.into()))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl std::str::FromStr for $name {
            type Err = alloy_primitives::hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, formatter)
            }
        }
    };
}
pub(crate) use random_id;

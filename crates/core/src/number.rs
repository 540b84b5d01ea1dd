//! Payout numbers and refs: what makes two payments the same payment, on chain and off it.

use std::fmt;

use alloy_primitives::{Address, B256, U256, keccak256};

use crate::amount::Amount;
use crate::id::{DeploymentId, ExternalId, TenantId};

/// `epoch ‖ sequence`, 64 bits each, given at intake. The vault pays a number at most once.
/// A restore from a backup opens a new epoch, so that no number is ever given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayoutNumber {
    /// Counts the restores of this deployment, from 1.
    pub epoch: u64,
    /// Counts the withdrawals of this epoch, from 1.
    pub sequence: u64,
}

impl PayoutNumber {
    /// The number as the vault's `uint256`.
    #[must_use]
    pub fn to_u256(self) -> U256 {
        U256::from((u128::from(self.epoch) << 64) | u128::from(self.sequence))
    }

    /// From the vault's `uint256`; `None` when it has more than 128 bits.
    #[must_use]
    pub fn from_u256(number: U256) -> Option<Self> {
        let number = u128::try_from(number).ok()?;
        let epoch = u64::try_from(number >> 64).ok()?;
        let sequence = u64::try_from(number & u128::from(u64::MAX)).ok()?;
        Some(Self { epoch, sequence })
    }

    /// The 16 bytes that seals and journals hold, epoch first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (epoch, sequence) = bytes.split_at_mut(8);
        epoch.copy_from_slice(&self.epoch.to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }
}

/// `epoch-sequence`, as logs and journals show it.
impl fmt::Display for PayoutNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.epoch, self.sequence)
    }
}

/// `keccak(deployment, tenant, external_id, token, to, amount)`: what was promised, in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentRef(pub B256);

impl PaymentRef {
    /// Derives the ref. Variable parts are length-prefixed, so that no two inputs share an encoding;
    /// the native coin is the zero token.
    #[must_use]
    pub fn derive(
        deployment: DeploymentId,
        tenant: TenantId,
        external_id: &ExternalId,
        token: Option<Address>,
        to: Address,
        amount: Amount,
    ) -> Self {
        let external = external_id.as_str().as_bytes();
        let mut input = Vec::with_capacity(160_usize.saturating_add(external.len()));
        input.extend_from_slice(b"portcullis/ref/v1");
        input.extend_from_slice(&deployment.to_bytes());
        input.extend_from_slice(&tenant.to_bytes());
        input.extend_from_slice(&(external.len() as u64).to_be_bytes());
        input.extend_from_slice(external);
        input.extend_from_slice(token.unwrap_or_default().as_slice());
        input.extend_from_slice(to.as_slice());
        input.extend_from_slice(&amount.atomic().to_be_bytes::<32>());
        Self(keccak256(&input))
    }
}

impl fmt::Display for PaymentRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_and_sequence_stand_side_by_side() {
        let number = PayoutNumber { epoch: 2, sequence: 5 };
        assert_eq!(number.to_u256(), (U256::from(2) << 64) | U256::from(5));
        assert_eq!(U256::from_be_slice(&number.to_bytes()), number.to_u256());
        assert_eq!(number.to_string(), "2-5");
    }

    #[test]
    fn every_part_changes_the_ref() {
        let id = |text: &str| text.parse::<ExternalId>().expect("valid in this test");
        let derive = |deployment: u8, tenant: u8, external: &str, token, to: u8, amount: u64| {
            PaymentRef::derive(
                DeploymentId::from_bytes([deployment; 16]),
                TenantId::from_bytes([tenant; 16]),
                &id(external),
                token,
                Address::with_last_byte(to),
                Amount::from_atomic(U256::from(amount)),
            )
        };
        let token = Some(Address::with_last_byte(9));
        let base = derive(1, 1, "a", token, 1, 1);
        assert_eq!(base, derive(1, 1, "a", token, 1, 1));
        for other in [
            derive(2, 1, "a", token, 1, 1),
            derive(1, 2, "a", token, 1, 1),
            derive(1, 1, "A", token, 1, 1),
            derive(1, 1, "a", None, 1, 1),
            derive(1, 1, "a", token, 2, 1),
            derive(1, 1, "a", token, 1, 2),
        ] {
            assert_ne!(base, other);
        }
    }
}

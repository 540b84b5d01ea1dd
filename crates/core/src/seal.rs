//! Seals: MACs over what was accepted, so that who can write the database cannot redirect a payment.

use std::collections::BTreeMap;
use std::fmt;

use alloy_primitives::{Address, B256, keccak256};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::amount::Amount;
use crate::id::{AccountId, AssetId, DeploymentId, TenantId};
use crate::number::{PaymentRef, PayoutNumber};

/// Names one sealing key; rows keep it, so that keys can be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKeyId(pub u32);

/// An HMAC-SHA-256 and the key that made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The key.
    pub key_id: SealKeyId,
    /// The code.
    pub mac: [u8; 32],
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Seal(key {})", self.key_id.0)
    }
}

/// What the seal of a withdrawal covers: all that decides who is paid what, once.
#[derive(Clone, Copy, Debug)]
pub struct SealedPayment {
    /// The deployment that accepted it.
    pub deployment: DeploymentId,
    /// Whose account pays: tenant, account and asset ([`payer_of`]).
    pub payer: B256,
    /// Where it is paid.
    pub chain_id: u64,
    /// In which token; `None` is the native coin.
    pub token: Option<Address>,
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub to: Address,
    /// Under which payout number.
    pub number: PayoutNumber,
    /// For which request.
    pub reference: PaymentRef,
}

/// Who pays, in 32 bytes: the tenant, its account, and the asset that the account holds.
#[must_use]
pub fn payer_of(tenant: TenantId, account: &AccountId, asset: AssetId) -> B256 {
    let account = account.as_str().as_bytes();
    let mut input = Vec::with_capacity(64_usize.saturating_add(account.len()));
    input.extend_from_slice(b"portcullis/payer/v1");
    input.extend_from_slice(&tenant.to_bytes());
    input.extend_from_slice(&asset.to_bytes());
    input.extend_from_slice(account);
    keccak256(&input)
}

/// A row outside the withdrawals that must not be forged either. The variant is the MAC's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedRow {
    /// An API key: its hash, tenant and scopes.
    ApiKey,
    /// A deposit: account, asset and amount.
    Deposit,
    /// An asset: network, contract, decimals and limits.
    Asset,
}

impl SealedRow {
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"portcullis/api-key/v1",
            Self::Deposit => b"portcullis/deposit/v1",
            Self::Asset => b"portcullis/asset/v1",
        }
    }
}

/// A seal that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// No configured key has this id.
    #[error("sealed with key {0}, which is not configured")]
    UnknownKey(u32),
    /// The row is not what was sealed: it was changed outside Portcullis.
    #[error("does not match its seal")]
    Mismatch,
}

/// The sealing keys: one that seals, and older ones that only verify.
#[derive(Clone)]
pub struct SealingKeys {
    current: SealKeyId,
    keys: BTreeMap<SealKeyId, Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKeys(current {}, {} in all)", self.current.0, self.keys.len())
    }
}

impl SealingKeys {
    /// With the key that seals from now on.
    #[must_use]
    pub fn new(current: SealKeyId, key: Zeroizing<[u8; 32]>) -> Self {
        Self { current, keys: BTreeMap::from([(current, key)]) }
    }

    /// Adds an older key, which only verifies.
    #[must_use]
    pub fn with_verifying(mut self, id: SealKeyId, key: Zeroizing<[u8; 32]>) -> Self {
        self.keys.entry(id).or_insert(key);
        self
    }

    /// Seals a payment with the current key.
    #[must_use]
    pub fn seal_payment(&self, payment: &SealedPayment) -> Seal {
        self.seal(b"portcullis/payment/v1", &payment_fields(payment))
    }

    /// Checks a payment against its seal.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn verify_payment(&self, payment: &SealedPayment, seal: &Seal) -> Result<(), SealError> {
        self.verify(b"portcullis/payment/v1", &payment_fields(payment), seal)
    }

    /// Seals the fields of a row, in the order that the table's module gives.
    #[must_use]
    pub fn seal_row(&self, row: SealedRow, fields: &[&[u8]]) -> Seal {
        let fields: Vec<Vec<u8>> = fields.iter().map(|field| field.to_vec()).collect();
        self.seal(row.domain(), &fields)
    }

    /// Checks the fields of a row against their seal.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn verify_row(
        &self,
        row: SealedRow,
        fields: &[&[u8]],
        seal: &Seal,
    ) -> Result<(), SealError> {
        let fields: Vec<Vec<u8>> = fields.iter().map(|field| field.to_vec()).collect();
        self.verify(row.domain(), &fields, seal)
    }

    fn seal(&self, domain: &[u8], fields: &[Vec<u8>]) -> Seal {
        let key = &self.keys[&self.current];
        let mac = mac_of(key, self.current, domain, fields).finalize().into_bytes().into();
        Seal { key_id: self.current, mac }
    }

    fn verify(&self, domain: &[u8], fields: &[Vec<u8>], seal: &Seal) -> Result<(), SealError> {
        let key = self.keys.get(&seal.key_id).ok_or(SealError::UnknownKey(seal.key_id.0))?;
        // `verify_slice` compares in constant time.
        mac_of(key, seal.key_id, domain, fields)
            .verify_slice(&seal.mac)
            .map_err(|_| SealError::Mismatch)
    }
}

fn mac_of(key: &[u8; 32], id: SealKeyId, domain: &[u8], fields: &[Vec<u8>]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for field in [domain, &id.0.to_be_bytes()].into_iter().chain(fields.iter().map(Vec::as_slice)) {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    mac
}

fn payment_fields(payment: &SealedPayment) -> Vec<Vec<u8>> {
    vec![
        payment.deployment.to_bytes().to_vec(),
        payment.payer.to_vec(),
        payment.chain_id.to_be_bytes().to_vec(),
        payment.token.map(|token| token.to_vec()).unwrap_or_default(),
        payment.amount.atomic().to_be_bytes::<32>().to_vec(),
        payment.to.to_vec(),
        payment.number.to_bytes().to_vec(),
        payment.reference.0.to_vec(),
    ]
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    fn keys() -> SealingKeys {
        SealingKeys::new(SealKeyId(1), Zeroizing::new([7; 32]))
    }

    fn payment() -> SealedPayment {
        SealedPayment {
            deployment: DeploymentId::from_bytes([1; 16]),
            payer: B256::with_last_byte(8),
            chain_id: 137,
            token: Some(Address::with_last_byte(2)),
            amount: Amount::from_atomic(U256::from(3)),
            to: Address::with_last_byte(4),
            number: PayoutNumber { epoch: 1, sequence: 5 },
            reference: PaymentRef(B256::with_last_byte(6)),
        }
    }

    #[test]
    fn every_sealed_field_is_covered() {
        let seal = keys().seal_payment(&payment());
        assert_eq!(keys().verify_payment(&payment(), &seal), Ok(()));
        let changes: [fn(&mut SealedPayment); 9] = [
            |p| p.payer = B256::ZERO,
            |p| p.deployment = DeploymentId::from_bytes([2; 16]),
            |p| p.chain_id = 1,
            |p| p.token = None,
            |p| p.amount = Amount::from_atomic(U256::from(4)),
            |p| p.to = Address::with_last_byte(5),
            |p| p.number.sequence = 6,
            |p| p.number.epoch = 2,
            |p| p.reference = PaymentRef(B256::ZERO),
        ];
        for change in changes {
            let mut forged = payment();
            change(&mut forged);
            assert_eq!(keys().verify_payment(&forged, &seal), Err(SealError::Mismatch));
        }
    }

    #[test]
    fn another_key_or_key_id_does_not_verify() {
        let seal = keys().seal_payment(&payment());
        let foreign = SealingKeys::new(SealKeyId(1), Zeroizing::new([8; 32]));
        assert_eq!(foreign.verify_payment(&payment(), &seal), Err(SealError::Mismatch));
        let renamed = Seal { key_id: SealKeyId(2), ..seal };
        assert_eq!(keys().verify_payment(&payment(), &renamed), Err(SealError::UnknownKey(2)));
        let rotated = SealingKeys::new(SealKeyId(2), Zeroizing::new([9; 32]))
            .with_verifying(SealKeyId(1), Zeroizing::new([7; 32]));
        assert_eq!(rotated.verify_payment(&payment(), &seal), Ok(()));
        assert_eq!(rotated.seal_payment(&payment()).key_id, SealKeyId(2));
    }

    #[test]
    fn rows_of_different_tables_and_splits_do_not_share_a_seal() {
        let keys = keys();
        let seal = keys.seal_row(SealedRow::Deposit, &[b"ab", b"c"]);
        assert_eq!(keys.verify_row(SealedRow::Deposit, &[b"ab", b"c"], &seal), Ok(()));
        for (row, fields) in [
            (SealedRow::Deposit, [b"a".as_slice(), b"bc"]),
            (SealedRow::Asset, [b"ab".as_slice(), b"c"]),
        ] {
            assert_eq!(keys.verify_row(row, &fields, &seal), Err(SealError::Mismatch));
        }
    }
}

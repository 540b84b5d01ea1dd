//! Assets: what can be withdrawn, on which chain, within which bounds.

use alloy_primitives::Address;

use crate::amount::Amount;
use crate::id::AssetId;
use crate::seal::{Seal, SealError, SealedRow, SealingKeys};

/// One asset on one chain. Registered by an operator; the row carries a seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its id.
    pub id: AssetId,
    /// The chain.
    pub chain_id: u64,
    /// What people call it, unique per chain: `USDC`, `POL`.
    pub symbol: String,
    /// The token contract; `None` for the chain's native coin.
    pub token: Option<Address>,
    /// Decimal places of one unit.
    pub decimals: u8,
    /// The smallest withdrawal.
    pub amount_min: Amount,
    /// The largest withdrawal.
    pub amount_max: Amount,
    /// The most that one account may withdraw on one UTC day; `None` is unlimited.
    pub daily_max: Option<Amount>,
    /// Whether new withdrawals are accepted.
    pub enabled: bool,
}

impl Asset {
    /// Seals the row.
    #[must_use]
    pub fn seal(&self, keys: &SealingKeys) -> Seal {
        self.with_sealed_fields(|fields| keys.seal_row(SealedRow::Asset, fields))
    }

    /// Checks the row against its seal.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn verify(&self, keys: &SealingKeys, seal: &Seal) -> Result<(), SealError> {
        self.with_sealed_fields(|fields| keys.verify_row(SealedRow::Asset, fields, seal))
    }

    fn with_sealed_fields<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let daily_max = self.daily_max.map(|most| most.to_string()).unwrap_or_default();
        with(&[
            &self.id.to_bytes(),
            &self.chain_id.to_be_bytes(),
            self.symbol.as_bytes(),
            self.token.as_ref().map_or(&[], |token| token.as_slice()),
            &[self.decimals, u8::from(self.enabled)],
            &self.amount_min.atomic().to_be_bytes::<32>(),
            &self.amount_max.atomic().to_be_bytes::<32>(),
            daily_max.as_bytes(),
        ])
    }
}

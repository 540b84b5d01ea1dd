//! Columns to core types and back. A column that does not read is damage, and says where.

use std::fmt::Display;

use alloy_primitives::{Address, B256};
use portcullis_core::amount::Amount;

use crate::error::StoreError;

/// A column of one row, for the error that says where the damage is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a [u8],
}

impl Place<'_> {
    fn damaged(&self, column: &'static str, problem: &dyn Display) -> StoreError {
        StoreError::corrupt(self.table, column, &alloy_primitives::hex::encode(self.row), problem)
    }

    pub(crate) fn id(&self, column: &'static str, bytes: &[u8]) -> Result<[u8; 16], StoreError> {
        bytes.try_into().map_err(|_| self.damaged(column, &"is not 16 bytes"))
    }

    pub(crate) fn hash(&self, column: &'static str, bytes: &[u8]) -> Result<B256, StoreError> {
        B256::try_from(bytes).map_err(|_| self.damaged(column, &"is not 32 bytes"))
    }

    pub(crate) fn address(
        &self,
        column: &'static str,
        bytes: &[u8],
    ) -> Result<Address, StoreError> {
        Address::try_from(bytes).map_err(|_| self.damaged(column, &"is not 20 bytes"))
    }

    /// A token column: 20 zero bytes are the native coin.
    pub(crate) fn token(
        &self,
        column: &'static str,
        bytes: &[u8],
    ) -> Result<Option<Address>, StoreError> {
        self.address(column, bytes).map(|token| Some(token).filter(|token| !token.is_zero()))
    }

    pub(crate) fn amount(&self, column: &'static str, text: &str) -> Result<Amount, StoreError> {
        Amount::parse_atomic(text).map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn unsigned<T: TryFrom<i64>>(
        &self,
        column: &'static str,
        value: i64,
    ) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.damaged(column, &format!("{value} is out of range")))
    }

    pub(crate) fn parsed<T, E: Display>(
        &self,
        column: &'static str,
        result: Result<T, E>,
    ) -> Result<T, StoreError> {
        result.map_err(|error| self.damaged(column, &error))
    }

    pub(crate) fn known<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.damaged(column, &"has an unknown value"))
    }
}

/// The column form of a token.
pub(crate) fn token_bytes(token: Option<Address>) -> Vec<u8> {
    token.unwrap_or_default().to_vec()
}

/// An unsigned number in a BIGINT column. Numbers that large do not occur; the largest stands for them.
pub(crate) fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Wei per gas in a BIGINT column: 9.2 billion gwei fit, far above every fee cap.
pub(crate) fn wei_bigint(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

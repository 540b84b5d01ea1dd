//! The endpoints.

pub(crate) mod accounts;
pub(crate) mod batch;
pub(crate) mod dead_letters;
pub(crate) mod documents;
pub(crate) mod fees;
pub(crate) mod health;
pub(crate) mod list;
pub(crate) mod networks;
pub(crate) mod withdrawals;

//! One module a table. Entities never leave this crate: the public records are made of core types.

pub(crate) mod accepted_difference;
pub(crate) mod account;
pub(crate) mod alarm;
pub(crate) mod api_key;
pub(crate) mod asset;
pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod balance;
pub(crate) mod binding;
pub(crate) mod command;
pub(crate) mod dead_letter;
pub(crate) mod deployment;
pub(crate) mod deposit;
pub(crate) mod forgotten;
pub(crate) mod halt;
pub(crate) mod header;
pub(crate) mod lease;
pub(crate) mod line;
pub(crate) mod posting;
pub(crate) mod reconciliation;
pub(crate) mod sender;
pub(crate) mod slot;
pub(crate) mod tenant;
#[cfg(test)]
mod tests;
pub(crate) mod window;
pub(crate) mod withdrawal;
pub(crate) mod work;

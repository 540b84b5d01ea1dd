//! From bytes to what a request means, with every problem of it.

mod amount;
mod fields;
mod instant;
mod json;
mod metadata;
mod parameters;
mod target;
mod withdrawal;

pub(crate) use amount::{parse_amount, take_amount_text};
pub(crate) use fields::{Fields, Problems};
pub(crate) use json::{kind_of, read_object};
pub(crate) use parameters::Parameters;
pub(crate) use target::check_payee;
pub(crate) use target::{check_address_text, choose_external_id, parse_account_id};
pub(crate) use withdrawal::{Checked, Meaning, WithdrawalRequest, hash_fields};

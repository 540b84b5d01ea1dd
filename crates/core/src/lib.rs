//! The pure rules of Portcullis. No IO, no clock, no randomness: facts in, decisions out.
//!
//! Everything that decides about money is here and can be tested without a database or a node:
//! amounts, identifiers, seals, the states of a withdrawal and of a slot, fees, policy, calldata.

pub mod access_list;
pub mod address;
pub mod amount;
pub mod asset;
pub mod batching;
pub mod calldata;
pub mod causes;
pub mod chain;
pub mod effect;
pub mod error_class;
pub mod fee;
pub mod host;
pub mod id;
pub mod intent;
pub mod ledger;
pub mod number;
pub mod policy;
pub mod recovery;
pub mod seal;
pub mod slot;
pub mod time;
pub mod transaction;
pub mod turn;
pub mod vault;
pub mod withdrawal;

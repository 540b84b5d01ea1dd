//! A JSON-RPC client of our own for what the commands do to a chain and for what they judge.
//!
//! It uses none of the engine's crates on purpose: a mistake that the engine and its judge shared
//! would go unseen. It is plain and patient, and meant for a node on this machine.

mod control;
mod outline;
mod read;
mod rpc;
mod vault;

pub use control::Fee;
pub use outline::BlockOutline;
pub use read::{BlockTransaction, FullBlock, Receipt, TransferLog};
pub use rpc::{Request, Rpc, RpcError};
pub use vault::{VaultEvent, VaultLog};

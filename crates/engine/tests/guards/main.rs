//! What the roles must never do, each on a real database, a real journal and a node in this process, in the
//! one situation where the mistake would cost money. `docs/safety.md` names them by invariant.

// Statements, transactions, steps and roles are futures of each other.
#![recursion_limit = "256"]

mod batches;
mod bench;
mod clocks;
mod following;
mod funds;
mod releasing;
mod remembering;
mod sending;
mod stop;
mod vault;

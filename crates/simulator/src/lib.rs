//! The simulator: the real roles on a real database and a simulated chain, under a seeded scheduler.
//!
//! Each role's step, and each client's request, is a future that stops at a gate before and after
//! every effect: a commit, a write to the journal, a request to the node. The scheduler lets one of
//! them through at a time, in an order drawn from the seed, mines blocks, rolls them back, and ends
//! futures where they stand. Time is a counter. The same seed gives the same run.
//!
//! The oracle stands outside: it reads the simulated chain's own state and compares it with what the
//! clients were promised.

mod activity;
mod client;
mod faults;
mod gate;
mod machine;
pub mod model;
mod oracle;
mod report;
mod scheduler;
mod world;

pub use report::{Outcome, Totals};
pub use scheduler::{SimulationError, SimulationOptions, run_seed};

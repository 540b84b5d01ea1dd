//! The simulator: the real roles on a real database and a simulated chain, under a seeded scheduler.
//!
//! Each role's step, and each client's request, is a future that stops at a gate before and after
//! every effect: a commit, a write to the journal, a request to the node. The scheduler lets one of
//! them through at a time, in an order drawn from the seed, mines blocks, rolls them back, and ends
//! futures where they stand. Three providers show the chain, each with faults of its own; old copies of
//! the database come back, and second engines run beside the first. Time is a counter. The same seed gives the same run.
//!
//! The oracle stands outside: it reads the simulated chain's own state and compares it with what the
//! clients were promised.

mod activity;
mod breaks;
mod chaos;
mod client;
mod copies;
mod ending;
mod faults;
mod fees;
mod gate;
mod machine;
pub mod model;
mod operator;
mod oracle;
mod providers;
mod refused;
mod report;
mod scenario;
mod scheduler;
mod world;

pub use chaos::{Chaos, ChaosSet, Counts, UnknownChaos};
pub use report::{Outcome, Totals};
pub use scenario::RailPlan;
pub use scheduler::{SimulationError, SimulationOptions, run_seed};

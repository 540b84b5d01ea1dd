//! `cargo xtask bench`: measures what the project promises about its own speed and size.

mod api;
mod ceiling;
mod drain;
mod feed;
mod machine;
mod metrics;
mod pace;
mod payouts;
mod points;
mod run;
mod scale;
mod stage;
mod work;

use clap::Subcommand;

pub use api::{ApiBenchArgs, ApiBenchReport, run};
pub use drain::{DrainArgs, DrainReport, run as drain};
pub use payouts::{PayoutsArgs, PayoutsReport, run as payouts};
pub use scale::{ScaleArgs, ScaleReport, run as scale};
pub use stage::Database;

/// `cargo xtask bench`
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Payments a second from HTTP request to mined, beside what the same chain takes at most
    Payouts(PayoutsArgs),
    /// Time, cost and memory of a large backlog that is handed over at once
    Drain(DrainArgs),
    /// Cost of a payment as the table grows to a million finished withdrawals, and as 64 wallets work
    Scale(ScaleArgs),
    /// Latency of the API under a steady load, memory when idle, and the time of a cold start
    Api(ApiBenchArgs),
}

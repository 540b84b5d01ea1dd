//! `cargo xtask bench`: measures what the project promises about its own speed and size.

mod api;
mod load;

use clap::Subcommand;

pub use api::{ApiBenchArgs, ApiBenchReport, run};

/// `cargo xtask bench`
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Latency of the API under a steady load, memory when idle, and the time of a cold start
    Api(ApiBenchArgs),
}

//! The command line of the queues between processes.

use clap::Subcommand;

/// `queues`
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "\
The queues carry doorbells: what waits is in the database, and a queue that is lost costs latency alone. They are those of
queue.type, in queue.region or at queue.endpoint.

Examples:
  portcullis queues init
  portcullis queues status --json
  portcullis queues redrive request-dlq --reason \"the signers run again\"")]
pub(crate) enum QueuesCommand {
    /// Make what is missing, and bring the attributes of the others up to date
    Init,
    /// Show what each queue holds beside what waits in the database
    Status,
    /// Send dead letters of a queue again; what is not ours stays
    Redrive {
        /// request-dlq, signed-tx-dlq or broadcast-tx-dlq
        #[arg(value_name = "QUEUE")]
        queue: String,
        /// The most that are sent
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        limit: u64,
        /// What was found out; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
}

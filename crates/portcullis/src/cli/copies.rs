//! The command line of backups, restores, and what follows them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `backup`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  portcullis backup /backups/portcullis-2026-11-20.db

The copy is consistent, and is made while the engine runs. In it is the database alone: not the keystore, not its
journal (which must never come back older than it is), not the sealing key and not the configuration.")]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `restore`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example, with the engine stopped:
  portcullis restore /backups/portcullis-2026-11-20.db
  portcullis reconcile --repair
  portcullis serve

The replaced database is kept beside the new one. A new epoch of payout numbers is opened, and the engine is halted:
it signs nothing and takes nothing in until `reconcile --repair` has imported what the journal and the chain know more.")]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `reconcile`
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  portcullis reconcile                 compare and tell
  portcullis reconcile --repair        bring the database to what journal and chain prove
  portcullis reconcile --json          one object: differences, history, accepted, remaining
  portcullis reconcile accept 5f0c21d9e3ab --reason \"the old owner emptied the retired wallet\"

Works while the engine is stopped and while it runs; it only reads the journal, and asks every configured provider.
It reads everything since the deployment was founded; what providers have forgotten takes an archive node.
Ends with exit code 1 while a difference remains."
)]
pub(crate) struct ReconcileArgs {
    /// Write what is proved; lift the halts that this answers when nothing remains
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(subcommand)]
    pub(crate) action: Option<ReconcileAction>,
}

/// What `reconcile` does beside comparing.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ReconcileAction {
    /// Accept a difference that nothing repairs: a foreign transaction, an unknown transfer, a payment that does not show
    #[command(after_help = "\
Accepting pays nobody and lifts no halt; `reconcile --repair` does that afterwards, when nothing else remains. What it
rests on has to be final. A slot that somebody else has consumed ends with that: what was bound to it is queued again, or
HELD (restore) where the foreign transaction may have paid it. Find out first who has the key.")]
    Accept {
        /// The difference's id, as `reconcile` tells it
        id: String,
        /// What was found out; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
}

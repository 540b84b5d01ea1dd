//! The command line of operators: halts, slots and held withdrawals.

use clap::{Args, Subcommand};

/// `admin halt`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A halted engine accepts withdrawals and signs nothing. Find out why before you clear a halt: each says what
was seen and what to do.

Examples:
  portcullis admin halt list
  portcullis admin halt clear 3 --reason \"key rotated, wallet 0x… retired\"")]
pub(crate) enum HaltCommand {
    /// List what stops the engine
    List,
    /// Let the engine go on
    Clear {
        /// The halt's number
        id: i64,
        /// What was found out; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
}

/// Which slot.
#[derive(Clone, Debug, Args)]
pub(crate) struct SlotArgs {
    /// The network
    #[arg(long)]
    pub(crate) network: String,
    /// The hot wallet
    #[arg(long, value_name = "0x…")]
    pub(crate) sender: String,
    /// Its nonce
    #[arg(long)]
    pub(crate) nonce: u64,
}

/// A command for the signer.
#[derive(Clone, Debug, Args)]
pub(crate) struct SlotOrderArgs {
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
    /// Why; it goes to the audit log
    #[arg(long)]
    pub(crate) reason: String,
}

/// `admin slot`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A slot is one nonce of one hot wallet. Whatever replaces its transaction stays in the slot and pays the same, or
pays nothing: none of these commands can pay twice.

Examples:
  portcullis admin slot show   --network polygon --sender 0x… --nonce 17
  portcullis admin slot bump   --network polygon --sender 0x… --nonce 17 --reason \"stuck below the base fee\"
  portcullis admin slot cancel --network polygon --sender 0x… --nonce 17 --reason \"wrong recipient\"")]
pub(crate) enum SlotCommand {
    /// Show a slot: its payments, attempts and stage
    Show(SlotArgs),
    /// Sign the same payment again, dearer
    Bump(SlotOrderArgs),
    /// Put a zero self-transfer in its place; the payments are queued again when it wins for good
    Cancel(SlotOrderArgs),
    /// Use up the wallet's next nonce with a zero self-transfer: for a gap that the chain shows
    Fill(SlotOrderArgs),
}

/// `admin dead-letter`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
A dead letter is about a withdrawal or a transaction that failed five times; neither is lost. Letters whose class passes by
itself are redriven without you.

Examples:
  portcullis admin dead-letter list
  portcullis admin dead-letter inspect 17
  portcullis admin dead-letter redrive 17 --reason \"the cap is raised\"
  portcullis admin dead-letter discard 17 --reason \"handled by support, ticket 881\"")]
pub(crate) enum DeadLetterCommand {
    /// List the open letters
    List {
        /// Only this queue: request-dlq, signed-tx-dlq or broadcast-tx-dlq
        #[arg(long)]
        queue: Option<String>,
        /// Also those that ended in the last four days
        #[arg(long)]
        all: bool,
    },
    /// Show a letter: what it is about, what went wrong, and what becomes of it
    Inspect {
        /// Its number
        id: i64,
    },
    /// Take its work up again, from the first try
    Redrive {
        /// Its number
        id: i64,
        /// Why; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
    /// Remove the letter; a withdrawal that no transaction carries is held, anything else goes on
    Discard {
        /// Its number
        id: i64,
        /// Why; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
}

/// `admin withdrawal`
#[derive(Debug, Subcommand)]
pub(crate) enum WithdrawalCommand {
    /// Queue a held withdrawal again, once its cause is gone; policy looks at it anew
    Resume {
        /// Its id, wd_…
        id: String,
        /// Why; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
    /// Give a held withdrawal up: its money goes back to its account, after the vault has voided its number where it
    /// was asked to pay it
    Refund {
        /// Its id, wd_…
        id: String,
        /// Why; it goes to the audit log
        #[arg(long)]
        reason: String,
    },
}

/// `admin audit`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute the chain of the audit log, and the ledger from its postings
    Verify,
}

//! The messages of the clients. The first rule that matches wins.
//!
//! Sources: geth and bor `core/txpool/errors.go`, `core/error.go`, `core/txpool/validation.go`,
//! `core/txpool/legacypool/legacypool.go`, `rpc/errors.go`; reth `crates/transaction-pool/src/error.rs`,
//! `crates/rpc/rpc-eth-types/src/error/mod.rs`; erigon `txnprovider/txpool/txpoolcfg/txpoolcfg.go`,
//! `rpc/jsonrpc/send_transaction.go`; Nethermind `TxPool/AcceptTxResult.cs`, `TxPoolErrorMessages.cs`; Besu
//! `RpcErrorType.java`; anvil `crates/anvil/src/eth/error.rs` and measured on 1.7.1; nitro
//! `execution/gethexec/sequencer.go`; Hardhat's messages and Arbitrum's older ones as collected in chainlink-evm
//! `pkg/client/errors.go`.

use Meaning::{InDoubt, Outcome};
use Pattern::{Clause, Words};

use super::{RejectKind, SendOutcome, UnknownKind};

/// What a message means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// This.
    Outcome(SendOutcome),
    /// Nothing about the transaction.
    InDoubt(UnknownKind),
}

/// How a lower-case message is recognised.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// The words stand anywhere, and do not begin inside another word ("unknown transaction" does not
    /// contain the words "known transaction").
    Words(&'static str),
    /// They begin the message or a clause after `: `, `] ` or `, `, and end it, or end at punctuation.
    /// For words so short that other texts contain them.
    Clause(&'static str),
}

const fn rejected(kind: RejectKind) -> Meaning {
    Outcome(SendOutcome::Rejected(kind))
}

/// In this order: an execution that reverted carries a text that a contract chose, so it comes first. Then what
/// leaves us in doubt, then what says "maybe live", and last what says "not live".
const RULES: &[(Meaning, &[Pattern])] = &[
    // Pre-flight, also by Arbitrum's sequencer (`MaxRevertGasReject`). Hardhat's "VM Exception while processing
    // transaction" is deliberately absent: with automining on, that transaction *is* mined.
    (Outcome(SendOutcome::Reverted), &[Clause("execution reverted")]),
    (
        InDoubt(UnknownKind::Timeout),
        &[
            Words("timeout"),
            Words("timed out"),
            Words("context deadline exceeded"), // Go's, from proxies in front of nodes
        ],
    ),
    (
        InDoubt(UnknownKind::NodeNotReady),
        &[
            Words("transaction indexing is in progress"), // geth
            Words("node is syncing"),                     // Nethermind
            Words("initial sync is still in progress"),   // Besu, -32008
            Words("header not found"),                    // a balancer's node that lags behind
        ],
    ),
    (
        Outcome(SendOutcome::AlreadyKnown),
        &[
            Words("already known"),               // geth, bor, reth, erigon, Nethermind
            Words("alreadyknown"),                // Nethermind before 2026
            Words("already imported"),            // reth's pool, anvil
            Words("known transaction"),           // Besu, Hardhat
            Words("existing txn with same hash"), // erigon
            Words("existing tx with same hash"),  // erigon, older
        ],
    ),
    (
        Outcome(SendOutcome::DelegatedLimit),
        &[
            // geth, bor, reth. geth tracks these three (core/txpool/locals/errors.go).
            Words("in-flight transaction limit reached for delegated accounts"),
            Words("gapped-nonce tx from delegated accounts"),
            Words("authority already reserved"), // and erigon
            Words("address already reserved"), // geth: a blob transaction of the sender is pending
            Words("delegation nonce gap"),     // Nethermind
            Words("delegation authority has pending transaction"), // Nethermind
            Words("conflicts with existing transaction"), // reth: another type is pending
        ],
    ),
    (
        Outcome(SendOutcome::NonceTooLow),
        &[
            Words("nonce too low"), // all, with and without numbers; Hardhat
            Clause("oldnonce"),     // Nethermind before 2026
            // Arbitrum classic says this of low and of high nonces. Low is the safe reading: nothing is re-signed.
            Words("invalid transaction nonce"),
        ],
    ),
    (
        Outcome(SendOutcome::ReplacementUnderpriced),
        &[
            Words("replacement transaction underpriced"), // all
            Words("insufficient gas price to replace existing transaction"), // reth's pool, anvil
            Words("could not replace existing tx"),       // erigon
        ],
    ),
    (
        Outcome(SendOutcome::FeeBelowBaseFee),
        &[
            Words("max fee per gas less than block base fee"), // anvil, Arbitrum, geth on execution
            Words("gas price below current base fee"),         // Besu, -32009
            Words("maxfeepergas too low"),                     // Nethermind's detail
            Words("is too low for the next block, which has a basefeepergas"), // Hardhat
        ],
    ),
    (
        Outcome(SendOutcome::PoolFull),
        &[
            Words("txpool is full"),                                  // geth, bor, reth
            Words("future transaction tries to replace pending"),     // geth, bor
            Words("account limit exceeded"),                          // geth, bor
            Words("spammer"),                                         // reth, erigon
            Words("discarded outright due to pool size constraints"), // reth
            Words("sub-pool is full"), // erigon: pending, baseFee, queued
            Clause("queue full"),      // Arbitrum
            Words("sequencer pending tx pool full"), // Arbitrum
        ],
    ),
    (
        Outcome(SendOutcome::FeeCapExceeded),
        &[
            Words("exceeds the configured cap"), // geth, bor, reth, erigon: `rpc.txfeecap`
            Words("transaction fee cap exceeded"), // Besu
        ],
    ),
    (
        Outcome(SendOutcome::Underpriced),
        &[
            Words("transaction underpriced"), // geth, reth, Nethermind
            Clause("underpriced"),            // erigon
            Words("gas price below minimum"), // bor: "transaction gas price below minimum: gas tip cap …"
            Words("priority fee below minimum required priority fee"), // reth
            Words("below chain minimum"),     // reth's pool
            Words("fee too low"),             // erigon: "FEE_TOO_LOW: fee too low"
            Clause("fee_too_low"),
            Clause("feetoolow"),          // Nethermind before 2026
            Clause("feetoolowtocompete"), // Nethermind before 2026
            Words("gas price below configured minimum gas price"), // Besu, -32009
            Clause("gas price too low"),  // Arbitrum
        ],
    ),
    (
        Outcome(SendOutcome::NonceTooHigh),
        &[
            Words("nonce too high"), // geth's blob pool, Nethermind, Besu, Arbitrum, Hardhat
            Clause("noncegap"),      // Nethermind before 2026
            Words("nonce too far in future"), // Nethermind
            Words("nonce is too distant from current sender nonce"), // Besu
        ],
    ),
    (
        Outcome(SendOutcome::InsufficientFunds),
        &[
            Words("insufficient funds for"),                      // all but Besu
            Clause("insufficient funds"),                         // erigon
            Clause("insufficientfunds"),                          // Nethermind before 2026
            Words("transaction overdraws from account"),          // reth's pool
            Words("upfront cost exceeds account balance"),        // Besu, -32004
            Words("not enough funds for gas"),                    // Arbitrum classic
            Words("sender doesn't have enough funds to send tx"), // Hardhat
        ],
    ),
    (
        rejected(RejectKind::GasLimitTooHigh),
        &[
            Words("exceeds block gas limit"), // geth, bor, reth, Besu (-32005), Hardhat
            Words("transaction gas limit too high"), // geth, bor: EIP-7825
            Words("exceeds max transaction gas limit"), // reth
            Words("exceeds block's gas limit"), // reth's pool
            Words("gas limit is too high"),   // erigon
            Words("gas limit reached"),       // Nethermind
            Clause("gaslimitexceeded"),       // Nethermind before 2026
            Words("transaction gas limit cap exceeded"), // Besu
            Words("intrinsic gas too high"),  // anvil
            Words("transaction gas limit is greater than the"), // anvil
        ],
    ),
    (
        rejected(RejectKind::GasLimitTooLow),
        &[
            Words("intrinsic gas too low"), // geth, bor, reth, anvil
            Clause("intrinsicgas"),         // erigon
            Words("insufficient gas for floor data gas cost"), // geth, bor: EIP-7623
            Words("intrinsic gas exceeds gas limit"), // Besu, -32003
            Words("transaction requires at least"), // Hardhat
        ],
    ),
    (
        rejected(RejectKind::Oversized),
        &[
            Words("oversized data"),        // geth, bor
            Words("input data too large"),  // reth
            Clause("rlptoolong"),           // erigon
            Words("transaction too large"), // Nethermind
        ],
    ),
    (
        rejected(RejectKind::UnsupportedType),
        &[
            Words("transaction type not supported"), // geth, bor, reth
            Words("unsupported transaction type"),   // Nethermind
            Words("unknown transaction type"),       // anvil
        ],
    ),
    (
        rejected(RejectKind::WrongChain),
        &[
            Words("invalid chain id"),                 // geth, reth, erigon, anvil
            Clause("wrong chainid"),                   // Besu
            Words("incompatible eip-155 transaction"), // anvil
        ],
    ),
    (
        rejected(RejectKind::BadSender),
        &[
            Clause("invalid sender"),           // geth, bor, erigon
            Clause("invalid signature"),        // Besu, -32002
            Clause("failed to recover sender"), // Nethermind
            Clause("sender not an eoa"),        // geth, Nethermind, anvil
        ],
    ),
    (
        rejected(RejectKind::Malformed),
        &[
            Clause("negative value"),                      // geth, bor, erigon
            Clause("transaction invalid"),                 // Nethermind
            Clause("failed to decode transaction"),        // anvil, -32602
            Clause("failed to decode signed transaction"), // anvil, reth
            Words("max priority fee per gas higher than max fee per gas"), // geth, reth, anvil
        ],
    ),
];

/// The meaning of a message in lower case; `None` when no rule matches.
pub(super) fn look_up(text: &str) -> Option<&'static Meaning> {
    RULES
        .iter()
        .find(|(_, patterns)| patterns.iter().any(|pattern| pattern.matches(text)))
        .map(|(meaning, _)| meaning)
}

impl Pattern {
    fn matches(self, text: &str) -> bool {
        match self {
            Words(words) => text.match_indices(words).any(|(start, _)| {
                !text[..start].ends_with(|before: char| before.is_alphanumeric())
            }),
            Clause(words) => text.match_indices(words).any(|(start, _)| {
                let (before, after) = (&text[..start], &text[start..][words.len()..]);
                let begins = before.is_empty()
                    || [": ", "] ", ", "].iter().any(|mark| before.ends_with(mark));
                begins && (after.is_empty() || after.starts_with([':', ',', '.', ';']))
            }),
        }
    }
}

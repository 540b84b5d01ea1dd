//! Every message of the evm reference, section 2.1, and every way in which no message comes.

use super::*;
use RejectKind::{
    BadSender, GasLimitTooHigh, GasLimitTooLow, Malformed, Oversized, UnsupportedType, WrongChain,
};
use SendOutcome::{
    AlreadyKnown, DelegatedLimit, FeeBelowBaseFee, FeeCapExceeded, InsufficientFunds, NonceTooHigh,
    NonceTooLow, PoolFull, RateLimited, Rejected, ReplacementUnderpriced, Reverted, Underpriced,
};

const OURS: B256 = B256::repeat_byte(7);

fn of_message(code: i64, message: &str) -> SendOutcome {
    let failure = RpcFailure::Rpc { code, message: message.to_owned(), data: None };
    classify_send(OURS, &Err(failure))
}

#[track_caller]
fn expect_all(cases: &[(i64, &str, SendOutcome)]) {
    for (code, message, expected) in cases {
        assert_eq!(of_message(*code, message), *expected, "{message}");
        assert_eq!(of_message(0, &message.to_uppercase()), *expected, "code and case do not count");
    }
}

/// core/txpool/errors.go, core/error.go, core/txpool/validation.go, legacypool.go; `rpc.txfeecap` in
/// internal/ethapi/api.go. The errors of bor that differ are of core/txpool/validation.go.
#[test]
fn geth_and_bor() {
    expect_all(&[
        (-32000, "already known", AlreadyKnown),
        (-32000, "nonce too low: next nonce 8, tx nonce 7", NonceTooLow),
        (-32000, "nonce too high: tx nonce 9, gapped nonce 7", NonceTooHigh),
        (-32000, "replacement transaction underpriced", ReplacementUnderpriced),
        (-32000, "transaction underpriced", Underpriced),
        (
            -32000,
            "transaction gas price below minimum: gas tip cap 1, minimum needed 25000000000",
            Underpriced,
        ),
        (
            -32000,
            "max fee per gas less than block base fee: address 0x01, maxFeePerGas: 1, baseFee: 7",
            FeeBelowBaseFee,
        ),
        (
            -32000,
            "insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1",
            InsufficientFunds,
        ),
        (
            -32000,
            "insufficient funds for gas * price + value: balance 1, queued cost 2, tx cost 3, overshot 4",
            InsufficientFunds,
        ),
        (-32000, "exceeds block gas limit", Rejected(GasLimitTooHigh)),
        (
            -32000,
            "transaction gas limit too high (cap: 33554432, tx: 33554433)",
            Rejected(GasLimitTooHigh),
        ),
        (
            -32000,
            "intrinsic gas too low: gas 20000, minimum needed 21000",
            Rejected(GasLimitTooLow),
        ),
        (
            -32000,
            "insufficient gas for floor data gas cost: gas 21000, minimum needed 30000",
            Rejected(GasLimitTooLow),
        ),
        (-32000, "txpool is full", PoolFull),
        (-32000, "future transaction tries to replace pending", PoolFull),
        (-32000, "account limit exceeded: pooled 16 txs", PoolFull),
        (-32000, "in-flight transaction limit reached for delegated accounts", DelegatedLimit),
        (-32000, "gapped-nonce tx from delegated accounts", DelegatedLimit),
        (-32000, "authority already reserved", DelegatedLimit),
        (-32000, "address already reserved", DelegatedLimit),
        (-32000, "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)", FeeCapExceeded),
        (-32000, "invalid sender: invalid transaction v, r, s values", Rejected(BadSender)),
        (-32000, "oversized data: transaction size 131073, limit 131072", Rejected(Oversized)),
        (-32000, "negative value", Rejected(Malformed)),
        (
            -32000,
            "transaction type not supported: tx type 3 not supported by this pool",
            Rejected(UnsupportedType),
        ),
        (-32000, "invalid chain id for signer: have 1 want 137", Rejected(WrongChain)),
    ]);
}

/// crates/transaction-pool/src/error.rs and crates/rpc/rpc-eth-types/src/error/mod.rs.
#[test]
fn reth() {
    expect_all(&[
        (-32000, "already known", AlreadyKnown),
        (-32000, "[0x0101]: already imported", AlreadyKnown),
        (-32000, "nonce too low: next nonce 8, tx nonce 7", NonceTooLow),
        (-32000, "replacement transaction underpriced", ReplacementUnderpriced),
        (-32000, "insufficient gas price to replace existing transaction", ReplacementUnderpriced),
        (-32000, "transaction underpriced", Underpriced),
        (
            -32000,
            "transaction priority fee below minimum required priority fee 1000000000",
            Underpriced,
        ),
        (-32000, "transaction feeCap 6 below chain minimum", Underpriced),
        (-32000, "insufficient funds for gas * price + value: have 1 want 2", InsufficientFunds),
        (-32000, "transaction overdraws from account, balance: 1, cost: 2", InsufficientFunds),
        (-32000, "exceeds block gas limit", Rejected(GasLimitTooHigh)),
        (-32000, "exceeds max transaction gas limit", Rejected(GasLimitTooHigh)),
        (
            -32000,
            "transaction's gas limit 31000000 exceeds block's gas limit 30000000",
            Rejected(GasLimitTooHigh),
        ),
        (-32000, "intrinsic gas too low", Rejected(GasLimitTooLow)),
        (-32003, "txpool is full", PoolFull),
        (-32000, "rejected due to 0x01 being identified as a spammer", PoolFull),
        (-32000, "transaction discarded outright due to pool size constraints", PoolFull),
        (-32000, "in-flight transaction limit reached for delegated accounts", DelegatedLimit),
        (-32000, "gapped-nonce tx from delegated accounts", DelegatedLimit),
        (-32000, "authority already reserved", DelegatedLimit),
        (-32000, "transaction type 2 conflicts with existing transaction for 0x01", DelegatedLimit),
        (-32000, "tx fee (11 wei) exceeds the configured cap (10 wei)", FeeCapExceeded),
        (-32000, "transaction type not supported", Rejected(UnsupportedType)),
        (-32000, "invalid chain ID", Rejected(WrongChain)),
    ]);
}

/// `txnprovider/txpool/txpoolcfg/txpoolcfg.go`; `rpc/jsonrpc/send_transaction.go` puts the result's name in front.
#[test]
fn erigon() {
    expect_all(&[
        (-32000, "ALREADY_EXISTS: already known", AlreadyKnown),
        (-32000, "INTERNAL_ERROR: existing txn with same hash", AlreadyKnown),
        (-32000, "INTERNAL_ERROR: nonce too low", NonceTooLow),
        (-32000, "INTERNAL_ERROR: replacement transaction underpriced", ReplacementUnderpriced),
        (-32000, "INTERNAL_ERROR: could not replace existing tx", ReplacementUnderpriced),
        (-32000, "INTERNAL_ERROR: underpriced", Underpriced),
        (-32000, "FEE_TOO_LOW: fee too low", Underpriced),
        (-32000, "INTERNAL_ERROR: insufficient funds", InsufficientFunds),
        (-32000, "INTERNAL_ERROR: gas limit is too high", Rejected(GasLimitTooHigh)),
        (-32000, "INTERNAL_ERROR: IntrinsicGas", Rejected(GasLimitTooLow)),
        (-32000, "INTERNAL_ERROR: pending sub-pool is full", PoolFull),
        (-32000, "INTERNAL_ERROR: baseFee sub-pool is full", PoolFull),
        (-32000, "INTERNAL_ERROR: queued sub-pool is full", PoolFull),
        (-32000, "INTERNAL_ERROR: spammer", PoolFull),
        (
            -32000,
            "INTERNAL_ERROR: EIP-7702 transaction with authority already reserved",
            DelegatedLimit,
        ),
        (-32000, "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)", FeeCapExceeded),
        (-32000, "INVALID: RLPTooLong", Rejected(Oversized)),
        (-32000, "invalid chain id, expected: 137 got: 1", Rejected(WrongChain)),
    ]);
}

/// TxPool/AcceptTxResult.cs and TxPoolErrorMessages.cs of 2026; the names that older releases wrote as well.
#[test]
fn nethermind() {
    expect_all(&[
        (-32010, "already known", AlreadyKnown),
        (-32010, "AlreadyKnown", AlreadyKnown),
        (-32010, "nonce too low", NonceTooLow),
        (-32010, "OldNonce, Current nonce: 8, nonce of rejected tx: 7", NonceTooLow),
        (-32010, "nonce too high", NonceTooHigh),
        (-32010, "NonceGap, Future nonce. Expected nonce: 7", NonceTooHigh),
        (-32010, "nonce too far in future", NonceTooHigh),
        (-32010, "replacement transaction underpriced", ReplacementUnderpriced),
        (-32010, "transaction underpriced", Underpriced),
        (
            -32010,
            "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7, MaxPriorityFeePerGas:1",
            FeeBelowBaseFee,
        ),
        (-32010, "FeeTooLowToCompete", Underpriced),
        (-32010, "insufficient funds for gas * price + value", InsufficientFunds),
        (-32010, "InsufficientFunds, Account balance: 1, cumulative cost: 2", InsufficientFunds),
        (-32010, "gas limit reached", Rejected(GasLimitTooHigh)),
        (
            -32010,
            "GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2",
            Rejected(GasLimitTooHigh),
        ),
        (-32010, "transaction invalid", Rejected(Malformed)),
        (-32010, "transaction invalid, intrinsic gas too low", Rejected(GasLimitTooLow)),
        (-32010, "delegation nonce gap", DelegatedLimit),
        (-32010, "delegation authority has pending transaction", DelegatedLimit),
        (-32010, "transaction too large", Rejected(Oversized)),
        (-32010, "unsupported transaction type", Rejected(UnsupportedType)),
        (-32010, "failed to recover sender", Rejected(BadSender)),
        (-32010, "sender not an eoa", Rejected(BadSender)),
    ]);
}

/// RpcErrorType.java. Its codes collide with others' on purpose here: -32005 is not a rate limit.
#[test]
fn besu() {
    expect_all(&[
        (-32000, "Known transaction", AlreadyKnown),
        (-32001, "Nonce too low", NonceTooLow),
        (-32006, "Nonce too high", NonceTooHigh),
        (-32006, "Transaction nonce is too distant from current sender nonce", NonceTooHigh),
        (-32000, "Replacement transaction underpriced", ReplacementUnderpriced),
        (-32009, "Gas price below configured minimum gas price", Underpriced),
        (-32009, "Gas price below current base fee", FeeBelowBaseFee),
        (-32004, "Upfront cost exceeds account balance", InsufficientFunds),
        (-32005, "Transaction gas limit exceeds block gas limit", Rejected(GasLimitTooHigh)),
        (-32005, "Transaction gas limit cap exceeded", Rejected(GasLimitTooHigh)),
        (-32003, "Intrinsic gas exceeds gas limit", Rejected(GasLimitTooLow)),
        (-32000, "Transaction fee cap exceeded", FeeCapExceeded),
        (-32000, "Wrong chainId", Rejected(WrongChain)),
        (-32002, "Invalid signature", Rejected(BadSender)),
    ]);
}

/// crates/anvil/src/eth/error.rs, and measured on 1.7.1.
#[test]
fn anvil() {
    expect_all(&[
        (-32003, "transaction already imported", AlreadyKnown),
        (-32003, "Tx: [0x0101] already Imported", AlreadyKnown),
        (-32003, "nonce too low", NonceTooLow),
        (-32003, "replacement transaction underpriced", ReplacementUnderpriced),
        (
            -32003,
            "Tx: [0x0101] insufficient gas price to replace existing transaction",
            ReplacementUnderpriced,
        ),
        (-32003, "max fee per gas less than block base fee", FeeBelowBaseFee),
        (-32003, "Insufficient funds for gas * price + value", InsufficientFunds),
        (
            -32000,
            "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit",
            Rejected(GasLimitTooHigh),
        ),
        (-32000, "intrinsic gas too low", Rejected(GasLimitTooLow)),
        (-32003, "invalid chain id for signer", Rejected(WrongChain)),
        (-32602, "Failed to decode transaction", Rejected(Malformed)),
        (-32003, "Unknown transaction type not supported", Rejected(UnsupportedType)),
        (-32003, "max priority fee per gas higher than max fee per gas", Rejected(Malformed)),
    ]);
}

/// Messages of Hardhat, second-hand, and of Arbitrum (nitro sequencer.go; chainlink-evm pkg/client/errors.go).
#[test]
fn hardhat_and_arbitrum() {
    expect_all(&[
        (-32000, "Nonce too low. Expected nonce to be 8 but got 7.", NonceTooLow),
        (
            -32000,
            "Nonce too high. Expected nonce to be 7 but got 9. Note that transactions can't be queued when automining.",
            NonceTooHigh,
        ),
        (-32000, "Known transaction: 0x0101", AlreadyKnown),
        (
            -32000,
            "Sender doesn't have enough funds to send tx. The max upfront cost is: 2 and the sender's balance is: 1.",
            InsufficientFunds,
        ),
        (
            -32000,
            "Transaction maxFeePerGas (1) is too low for the next block, which has a baseFeePerGas of 7",
            FeeBelowBaseFee,
        ),
        (
            -32000,
            "Transaction gas limit is 31000000 and exceeds block gas limit of 30000000",
            Rejected(GasLimitTooHigh),
        ),
        (-32000, "Transaction requires at least 21000 gas but got 20000", Rejected(GasLimitTooLow)),
        (-32000, "queue full", PoolFull),
        (-32000, "sequencer pending tx pool full, please try again", PoolFull),
        (-32000, "nonce too high: address 0x01, tx: 9 state: 7", NonceTooHigh),
        (-32000, "invalid transaction nonce", NonceTooLow),
        (-32000, "gas price too low", Underpriced),
        (-32000, "not enough funds for gas", InsufficientFunds),
        (-32000, "execution reverted: paused", Reverted),
        (3, "execution reverted", Reverted),
        // The reason is a contract's own text.
        (3, "execution reverted: rate limit exceeded, request timed out, already known", Reverted),
    ]);
}

#[test]
fn what_speaks_of_the_node_leaves_us_in_doubt() {
    for (code, message, expected) in [
        (-32002, "request timed out", UnknownKind::Timeout),
        (-32000, "context deadline exceeded", UnknownKind::Timeout),
        (-32000, "transaction indexing is in progress", UnknownKind::NodeNotReady),
        (-32010, "node is syncing", UnknownKind::NodeNotReady),
        (-32008, "Initial sync is still in progress", UnknownKind::NodeNotReady),
        (-32000, "header not found", UnknownKind::NodeNotReady),
        (-32603, "Internal error", UnknownKind::Unmatched),
        (-32005, "limit exceeded", UnknownKind::Unmatched),
        (-32000, "", UnknownKind::Unmatched),
        // Both said: the doubt wins.
        (-32000, "insufficient funds for gas: upstream request timed out", UnknownKind::Timeout),
        // Hardhat mines such a transaction when automining is on.
        (
            -32603,
            "VM Exception while processing transaction: reverted with reason string 'paused'",
            UnknownKind::Unmatched,
        ),
        // Words inside words, and short words inside sentences.
        (-32000, "no underpriced transactions here", UnknownKind::Unmatched),
        (-32000, "the disinsufficient funds for", UnknownKind::Unmatched),
    ] {
        let outcome = of_message(code, message);
        assert!(
            matches!(outcome, SendOutcome::Unknown { kind, .. } if kind == expected),
            "{message}: {outcome:?}"
        );
        assert!(outcome.maybe_live(), "{message}");
    }
    assert_eq!(
        of_message(-32005, "daily request count exceeded, request rate limited"),
        RateLimited
    );
}

#[test]
fn no_transport_failure_is_a_proof() {
    let unknown = |kind| Some(kind);
    for (failure, kind, class) in [
        (RpcFailure::Timeout, unknown(UnknownKind::Timeout), ErrorClass::Timeout),
        (RpcFailure::RateLimited { retry_after_ms: Some(5) }, None, ErrorClass::Network),
        (
            RpcFailure::Http { status: 503, body: String::new() },
            unknown(UnknownKind::Network),
            ErrorClass::Network,
        ),
        (
            RpcFailure::Transport("connection reset by peer".to_owned()),
            unknown(UnknownKind::Network),
            ErrorClass::Network,
        ),
        (RpcFailure::Missing, unknown(UnknownKind::Unanswered), ErrorClass::Network),
        (
            // Not even a text of the short list proves anything when it answers a whole batch.
            RpcFailure::BatchRefused { code: -32000, message: "insufficient funds".to_owned() },
            unknown(UnknownKind::Unanswered),
            ErrorClass::Network,
        ),
        (
            RpcFailure::Malformed("<html>".to_owned()),
            unknown(UnknownKind::WrongAnswer),
            ErrorClass::Unknown,
        ),
        (
            RpcFailure::WrongChain { expected: 137, actual: 1 },
            unknown(UnknownKind::Network),
            ErrorClass::Network,
        ),
    ] {
        let outcome = classify_send(OURS, &Err(failure.clone()));
        let found = match &outcome {
            SendOutcome::Unknown { kind, .. } => Some(*kind),
            _ => None,
        };
        assert_eq!(found, kind, "{failure}");
        assert_eq!(outcome.error_class(), Some(class), "{failure}");
        assert_eq!(outcome.remedy(), Remedy::Resend, "{failure}");
        assert!(outcome.maybe_live(), "{failure}");
    }
}

#[test]
fn only_our_own_hash_is_an_acceptance() {
    assert_eq!(classify_send(OURS, &Ok(OURS)), SendOutcome::Accepted);
    let other = classify_send(OURS, &Ok(B256::ZERO));
    assert!(matches!(other, SendOutcome::Unknown { kind: UnknownKind::WrongAnswer, .. }));
    assert_eq!(other.error_class(), Some(ErrorClass::Unknown));
}

fn every_outcome() -> Vec<(SendOutcome, bool, Option<ErrorClass>, Remedy)> {
    let unknown = SendOutcome::Unknown { kind: UnknownKind::Timeout, message: String::new() };
    vec![
        (SendOutcome::Accepted, true, None, Remedy::Watch),
        (AlreadyKnown, true, None, Remedy::Watch),
        (NonceTooLow, true, Some(ErrorClass::NonceTooLow), Remedy::CheckReceipts),
        (NonceTooHigh, false, Some(ErrorClass::NonceTooHigh), Remedy::SendPredecessors),
        (ReplacementUnderpriced, true, Some(ErrorClass::ReplacementUnderpriced), Remedy::Bump),
        (Underpriced, true, Some(ErrorClass::GasPriceTooLow), Remedy::Bump),
        (FeeBelowBaseFee, true, Some(ErrorClass::GasPriceTooLow), Remedy::Bump),
        (InsufficientFunds, false, Some(ErrorClass::InsufficientFunds), Remedy::TopUp),
        (Rejected(GasLimitTooHigh), false, Some(ErrorClass::OutOfGas), Remedy::Correct),
        (Rejected(GasLimitTooLow), false, Some(ErrorClass::OutOfGas), Remedy::Correct),
        (Rejected(WrongChain), false, Some(ErrorClass::InvalidTransaction), Remedy::Correct),
        (FeeCapExceeded, true, Some(ErrorClass::InvalidTransaction), Remedy::Resend),
        (PoolFull, true, Some(ErrorClass::Network), Remedy::Wait),
        (DelegatedLimit, true, Some(ErrorClass::NonceTooHigh), Remedy::Wait),
        (RateLimited, true, Some(ErrorClass::Network), Remedy::Resend),
        (Reverted, false, Some(ErrorClass::ExecutionReverted), Remedy::DecideOnEvidence),
        (unknown, true, Some(ErrorClass::Timeout), Remedy::Resend),
    ]
}

#[test]
fn each_outcome_has_its_consequences() {
    for (outcome, maybe_live, class, remedy) in every_outcome() {
        assert_eq!(outcome.maybe_live(), maybe_live, "{outcome}");
        assert_eq!(outcome.error_class(), class, "{outcome}");
        assert_eq!(outcome.remedy(), remedy, "{outcome}");
    }
    for class in ErrorClass::ALL {
        assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
    }
}

#[test]
fn a_merge_never_hides_that_bytes_may_be_live() {
    for (one, one_live, ..) in every_outcome() {
        for (other, other_live, ..) in every_outcome() {
            let merged = one.clone().merge(other.clone());
            assert_eq!(merged.maybe_live(), one_live || other_live, "{one} and {other}");
        }
    }
    let accepted = InsufficientFunds.merge(SendOutcome::Accepted);
    assert_eq!(accepted, SendOutcome::Accepted);
}

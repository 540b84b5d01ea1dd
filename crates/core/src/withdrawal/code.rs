//! States without their data, and reasons: what store and API write as text.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a withdrawal is held: neither paid nor refunded until somebody decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Less arrived than was promised (a fee on transfer).
    Underpaid,
    /// Screening could not clear it.
    Compliance,
    /// The chain or the journal knows more than the database.
    Restore,
    /// A row does not match its seal.
    Tamper,
    /// No sender has the money.
    Funds,
    /// It failed on every ride that it was given.
    Failing,
    /// It rode the vault and is not to be paid any more: its number is voided on chain before the money goes back.
    Voiding,
}

/// Why a withdrawal failed. Each is final evidence that nothing was paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Its transaction is final and reverted.
    Reverted,
    /// The node refuses to execute it, and no byte was ever signed.
    Preflight,
    /// The vault did not pay it on any ride, and its number is voided for good.
    Voided,
}

macro_rules! text_form {
    ($name:ident, $what:literal, [$($variant:ident = $text:literal),+ $(,)?]) => {
        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable text of the API and the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// From the stable text.
            ///
            /// # Errors
            /// [`UnknownState`] for any other text.
            pub fn parse(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownState { what: $what, text: text.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

/// Text that names no state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is no {what}")]
pub struct UnknownState {
    what: &'static str,
    text: String,
}

/// A state without its data: the column of the store and the `status` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "each is documented at the variant of `State` of the same name")]
pub enum StateCode {
    Pending,
    Validating,
    AwaitingApproval,
    Queued,
    Signing,
    Signed,
    Broadcasting,
    Broadcasted,
    Confirming,
    Confirmed,
    Held,
    Rejected,
    Canceled,
    Failed,
}

text_form!(
    StateCode,
    "state",
    [
        Pending = "PENDING",
        Validating = "VALIDATING",
        AwaitingApproval = "AWAITING_APPROVAL",
        Queued = "QUEUED",
        Signing = "SIGNING",
        Signed = "SIGNED",
        Broadcasting = "BROADCASTING",
        Broadcasted = "BROADCASTED",
        Confirming = "CONFIRMING",
        Confirmed = "CONFIRMED",
        Held = "HELD",
        Rejected = "REJECTED",
        Canceled = "CANCELED",
        Failed = "FAILED",
    ]
);

text_form!(
    HoldReason,
    "reason to hold",
    [
        Underpaid = "underpaid",
        Compliance = "compliance",
        Restore = "restore",
        Tamper = "tamper",
        Funds = "funds",
        Failing = "failing",
        Voiding = "voiding",
    ]
);

text_form!(
    FailureReason,
    "reason of a failure",
    [Reverted = "reverted", Preflight = "preflight", Voided = "voided",]
);

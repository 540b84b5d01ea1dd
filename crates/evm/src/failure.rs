//! What goes wrong between us and a node, typed. The words of a node are kept, shortened, and never trusted.

use alloy_json_rpc::ErrorPayload;
use thiserror::Error;

/// The longest text of a node that is kept in an error or a log line.
const TEXT_MAX: usize = 300;

/// Why one call, or one item of a batch, has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RpcFailure {
    /// No answer in time. The request may have been executed.
    #[error("gave no answer in time")]
    Timeout,
    /// HTTP 429, or a JSON-RPC error inside HTTP 200 that says the same.
    #[error("limits our request rate: slow down, or use another provider")]
    RateLimited {
        /// How long the provider asks us to wait.
        retry_after_ms: Option<u64>,
    },
    /// Another HTTP status than 2xx and 429.
    #[error("answered HTTP {status}: {body}")]
    Http {
        /// The status.
        status: u16,
        /// The start of the body, without secrets.
        body: String,
    },
    /// The connection failed: refused, reset, TLS, DNS. The request may have been executed.
    #[error("could not be reached: {0}")]
    Transport(String),
    /// A JSON-RPC error for this item.
    #[error("answered with JSON-RPC error {code}: {message}")]
    Rpc {
        /// The code. Different clients use the same code for different things: never decide by it.
        code: i64,
        /// The message.
        message: String,
        /// Revert data, where the node sent any.
        data: Option<alloy_primitives::Bytes>,
    },
    /// One JSON-RPC error for a batch of several requests: it says nothing about a single one.
    #[error("refused the whole batch with JSON-RPC error {code}: {message}")]
    BatchRefused {
        /// The code.
        code: i64,
        /// The message.
        message: String,
    },
    /// The batch was answered, this item of it was not.
    #[error("left this item of a batch unanswered")]
    Missing,
    /// The answer is not what the method returns, or contradicts the question.
    #[error("gave a malformed answer: {0}")]
    Malformed(String),
    /// The node is fine; the contract that was called is not what it was taken for.
    #[error("shows a contract that does not fit: {0}")]
    Contract(String),
    /// The node is on another chain. It is not used.
    #[error("is on chain {actual}, not on chain {expected}: correct its URL")]
    WrongChain {
        /// The configured chain.
        expected: u64,
        /// What the node says.
        actual: u64,
    },
    /// The chain changed between two reads that belong together. Reading again helps.
    #[error("changed its chain between two reads: {0}")]
    Moved(String),
    /// It was not asked: it failed several times in a row, and is left alone for a while. It reads like the last
    /// failure, so that a log that tells changes is silent while it lasts.
    #[error("{cause}")]
    CircuitOpen {
        /// The last failure.
        cause: String,
        /// How long that still lasts.
        retry_after_ms: u64,
    },
    /// It was not asked: our own limit for it, or the pause that it asked for, leaves no room in time.
    #[error("has no room under its request limit: raise requests_per_second, or add a provider")]
    Throttled {
        /// When there would be room.
        retry_after_ms: u64,
    },
    /// The pool has no provider that may be used.
    #[error("no provider of this chain can be used: see the earlier errors of each")]
    NoProvider,
}

impl RpcFailure {
    /// A short stable name, for metrics and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::RateLimited { .. } => "rate_limited",
            Self::Http { .. } => "http",
            Self::Transport(_) => "transport",
            Self::Rpc { .. } => "rpc",
            Self::BatchRefused { .. } => "batch_refused",
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::Contract(_) => "contract",
            Self::WrongChain { .. } => "wrong_chain",
            Self::Moved(_) => "moved",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Throttled { .. } => "throttled",
            Self::NoProvider => "no_provider",
        }
    }

    /// Whether it speaks against the provider. A JSON-RPC error is an answer, and says more about the question.
    #[must_use]
    pub const fn blames_provider(&self) -> bool {
        !matches!(
            self,
            Self::Rpc { .. }
                | Self::Contract(_)
                | Self::Moved(_)
                | Self::CircuitOpen { .. }
                | Self::Throttled { .. }
                | Self::NoProvider
        )
    }

    /// Whether the connection itself is in question, so that another node may answer next time.
    #[must_use]
    pub(crate) const fn breaks_connection(&self) -> bool {
        matches!(self, Self::Timeout | Self::Http { .. } | Self::Transport(_))
    }

    /// From a node's error object.
    pub(crate) fn from_payload(payload: &ErrorPayload) -> Self {
        let message = shorten(&payload.message);
        if payload.code == 429 || says_rate_limit(&payload.message) {
            return Self::RateLimited { retry_after_ms: None };
        }
        Self::Rpc { code: payload.code, message, data: crate::read_account::revert_data(payload) }
    }

    /// The same for an answer to a whole batch.
    pub(crate) fn of_whole_batch(payload: &ErrorPayload) -> Self {
        match Self::from_payload(payload) {
            Self::Rpc { code, message, .. } => Self::BatchRefused { code, message },
            other => other,
        }
    }
}

/// A read that failed: at which provider, in which method, and how.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("provider {provider:?} {failure} (in {method})")]
pub struct ReadError {
    /// The provider's name in the configuration; empty when none could be asked.
    pub provider: String,
    /// The JSON-RPC method.
    pub method: &'static str,
    /// What happened.
    pub failure: RpcFailure,
}

/// Whether a node's message says that we ask too much. The phrases are those of Alchemy, Infura, `QuickNode` and
/// public endpoints, as collected in alloy-json-rpc `response/error.rs` (`is_retry_err`) and viem issue 4453.
pub(crate) fn says_rate_limit(message: &str) -> bool {
    const PHRASES: &[&str] = &[
        "rate limit",
        "rate exceeded",
        "too many requests",
        "credits limited",
        "request limit",
        "requests limited",
        "compute units per second",
        "maximum number of concurrent requests",
    ];
    let message = message.to_ascii_lowercase();
    // A contract chose the rest: some tokens revert because of a rate limit of their own.
    if message.starts_with("execution reverted") {
        return false;
    }
    PHRASES.iter().any(|phrase| message.contains(phrase))
}

/// The start of a text that a node wrote, on one line.
pub(crate) fn shorten(text: &str) -> String {
    let one_line = |character: char| if character.is_control() { ' ' } else { character };
    let mut short: String = text.trim().chars().take(TEXT_MAX).map(one_line).collect();
    if text.trim().chars().nth(TEXT_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_are_known_by_their_words() {
        for message in [
            "daily request count exceeded, request rate limited",
            "Too Many Requests",
            "100/second request limit reached - reduce calls per second",
            "credits limited to 6000/sec",
            "Your app has exceeded its compute units per second capacity.",
        ] {
            assert!(says_rate_limit(message), "{message}");
        }
        assert!(!says_rate_limit("Transaction gas limit exceeds block gas limit"));
        assert!(!says_rate_limit("execution reverted: rate limit exceeded"));
    }

    #[test]
    fn a_nodes_text_stays_short_and_on_one_line() {
        assert_eq!(shorten(" a\nb\u{1b}[31m "), "a b [31m");
        let long = "x".repeat(TEXT_MAX * 2);
        assert_eq!(shorten(&long).chars().count(), TEXT_MAX + 1);
    }
}

//! The crate's metrics, by name and label, in one place.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

const REQUESTS: &str = "portcullis_rpc_requests_total";
const ERRORS: &str = "portcullis_rpc_errors_total";
const DURATION: &str = "portcullis_rpc_duration_seconds";
const HEAD: &str = "portcullis_chain_head_block";
const UP: &str = "portcullis_rpc_provider_up";
const SENDS: &str = "portcullis_rpc_send_outcomes_total";

/// Registers the texts that the metrics endpoint shows. Called once by the binary.
pub fn describe_metrics() {
    describe_counter!(REQUESTS, "JSON-RPC requests by network, provider and method");
    describe_counter!(ERRORS, "JSON-RPC failures by network, provider, method and kind");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Round trip of one HTTP exchange, a batch counted once"
    );
    describe_gauge!(HEAD, "Height of the newest block that a provider showed");
    describe_gauge!(UP, "1 while a provider answers and is on the right chain");
    describe_counter!(SENDS, "Answers to eth_sendRawTransaction by network, provider and outcome");
}

/// Whose numbers these are.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    pub(crate) network: &'static str,
    pub(crate) provider: String,
}

impl Labels {
    pub(crate) fn requests(&self, method: &'static str, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        counter!(REQUESTS, "network" => self.network, "provider" => self.provider.clone(), "method" => method)
            .increment(count);
    }

    pub(crate) fn error(&self, method: &'static str, kind: &'static str) {
        counter!(ERRORS, "network" => self.network, "provider" => self.provider.clone(),
            "method" => method, "kind" => kind)
        .increment(1);
    }

    pub(crate) fn duration(&self, method: &'static str, elapsed: Duration) {
        histogram!(DURATION, "network" => self.network, "provider" => self.provider.clone(), "method" => method)
            .record(elapsed.as_secs_f64());
    }

    pub(crate) fn send_outcome(&self, outcome: &'static str) {
        counter!(SENDS, "network" => self.network, "provider" => self.provider.clone(), "outcome" => outcome)
            .increment(1);
    }

    #[expect(clippy::cast_precision_loss, reason = "a block height is far below 2^53")]
    pub(crate) fn head(&self, number: u64) {
        gauge!(HEAD, "network" => self.network, "provider" => self.provider.clone())
            .set(number as f64);
    }

    pub(crate) fn up(&self, is_up: bool) {
        gauge!(UP, "network" => self.network, "provider" => self.provider.clone()).set(if is_up {
            1.0
        } else {
            0.0
        });
    }
}

//! The crate's metrics, by name and label, in one place.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::breaker::BreakerState;

const REQUESTS: &str = "portcullis_rpc_requests_total";
const ERRORS: &str = "portcullis_rpc_errors_total";
const DURATION: &str = "portcullis_rpc_duration_seconds";
const HEAD: &str = "portcullis_chain_head_block";
const UP: &str = "portcullis_rpc_provider_up";
const SENDS: &str = "portcullis_rpc_send_outcomes_total";
const FAULTS: &str = "portcullis_provider_faults_total";
const FAULT_LASTS: &str = "portcullis_provider_fault_active";
const BREAKER: &str = "portcullis_provider_breaker_state";
const DISPUTES: &str = "portcullis_quorum_disputes_total";

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
    describe_counter!(FAULTS, "Faults of a provider by name; a lasting one counts when it begins");
    describe_gauge!(FAULT_LASTS, "1 while a provider's fault lasts");
    describe_gauge!(BREAKER, "A provider's circuit breaker: 0 closed, 1 half-open, 2 open");
    describe_counter!(
        DISPUTES,
        "Reads in which providers contradict each other and none was believed"
    );
}

/// Providers contradict each other, and none was believed.
pub(crate) fn count_dispute(network: &'static str, read: String) {
    counter!(DISPUTES, "network" => network, "read" => read).increment(1);
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

    pub(crate) fn fault(&self, fault: &'static str) {
        counter!(FAULTS, "network" => self.network, "provider" => self.provider.clone(), "fault" => fault)
            .increment(1);
    }

    pub(crate) fn fault_lasts(&self, fault: &'static str, lasts: bool) {
        gauge!(FAULT_LASTS, "network" => self.network, "provider" => self.provider.clone(), "fault" => fault)
            .set(if lasts { 1.0 } else { 0.0 });
    }

    pub(crate) fn breaker(&self, state: BreakerState) {
        let value = match state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        };
        gauge!(BREAKER, "network" => self.network, "provider" => self.provider.clone()).set(value);
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

//! What each block of a run brought.

use std::time::Duration;

use serde_json::{Value, json};

use super::machine::rounded;
use crate::chain::BlockOutline;
use crate::latency::Latencies;

/// One block of a run.
#[derive(Clone, Debug)]
pub(super) struct BlockPoint {
    /// After the first request.
    pub(super) at: Duration,
    /// Its size.
    pub(super) outline: BlockOutline,
    /// How many it paid.
    pub(super) payments: usize,
    /// For each of these, from its request to this block.
    pub(super) latencies: Vec<Duration>,
}

impl BlockPoint {
    /// As a report shows it.
    pub(super) fn json(&self) -> Value {
        let latencies = Latencies::new(self.latencies.clone());
        json!({
            "t_s": rounded(self.at.as_secs_f64(), 3),
            "number": self.outline.number,
            "gas_used": self.outline.gas_used,
            "transactions": self.outline.transactions,
            "payments": self.payments,
            "p50_ms": latencies.percentile_ms(50),
            "p95_ms": latencies.percentile_ms(95),
        })
    }
}

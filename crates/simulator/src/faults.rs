//! What goes wrong between an engine and its node, drawn from the seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_testkit::{Fault, FaultPlan, SeededEntropy};
use serde_json::Value;

/// Faults of a bad network and a bad node. Switched off, everything works.
pub(crate) struct Weather {
    entropy: SeededEntropy,
    is_bad: Arc<AtomicBool>,
}

impl Weather {
    pub(crate) const fn new(entropy: SeededEntropy, is_bad: Arc<AtomicBool>) -> Self {
        Self { entropy, is_bad }
    }

    fn is_bad(&self) -> bool {
        self.is_bad.load(Ordering::Relaxed)
    }
}

impl FaultPlan for Weather {
    fn decide(&mut self, method: &str, _params: &Value) -> Fault {
        if !self.is_bad() || !self.entropy.chance(1, 12) {
            return Fault::None;
        }
        let blocks = self.entropy.below(3).saturating_add(1);
        let draw = self.entropy.below(6);
        match (method, draw) {
            ("eth_sendRawTransaction", 0) => Fault::Drop,
            ("eth_sendRawTransaction", 1) => Fault::LoseAnswer,
            ("eth_sendRawTransaction", 2) => Fault::RateLimited,
            ("eth_sendRawTransaction", 3) => Fault::AcceptLater { blocks },
            ("eth_sendRawTransaction", 4) => Fault::ForgetAfterAccept,
            ("eth_sendRawTransaction", _) => Fault::Duplicate,
            ("eth_getTransactionReceipt", 0..=2) => Fault::NullRead,
            (_, 0) => Fault::Drop,
            (_, 1) => Fault::LoseAnswer,
            (_, 2) => Fault::RateLimited,
            (_, _) => Fault::StaleRead { blocks },
        }
    }

    fn decide_batch(&mut self, _methods: &[&str]) -> Fault {
        if !self.is_bad() || !self.entropy.chance(1, 40) {
            return Fault::None;
        }
        match self.entropy.below(3) {
            0 => Fault::Drop,
            1 => Fault::LoseAnswer,
            _ => Fault::RateLimited,
        }
    }
}

//! What goes wrong between an engine and one of its providers, drawn from the seed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::Bytes;
use portcullis_testkit::{Fault, FaultPlan, SeededEntropy};
use serde_json::Value;

use crate::chaos::{Chaos, ChaosSet};

const SEND: &str = "eth_sendRawTransaction";

/// The raw bytes that were ever sent to a provider.
pub(crate) type Heard = Arc<Mutex<BTreeSet<Bytes>>>;

/// What the scheduler decides about a provider's weather.
#[derive(Debug, Default)]
pub(crate) struct Sky {
    /// Whether anything goes wrong at all.
    pub(crate) is_bad: AtomicBool,
    /// How many blocks the provider is behind for now.
    pub(crate) lag_blocks: AtomicU64,
    /// Reads that it answered from behind because of that.
    pub(crate) lagging_reads: AtomicU64,
}

/// Faults of a bad network and a bad node. Switched off, everything works.
pub(crate) struct Weather {
    entropy: SeededEntropy,
    chaos: ChaosSet,
    sky: Arc<Sky>,
    heard: Heard,
}

impl Weather {
    pub(crate) const fn new(
        entropy: SeededEntropy,
        chaos: ChaosSet,
        sky: Arc<Sky>,
        heard: Heard,
    ) -> Self {
        Self { entropy, chaos, sky, heard }
    }

    fn is_bad(&self) -> bool {
        self.sky.is_bad.load(Ordering::Relaxed)
    }

    fn if_on(&self, kind: Chaos, fault: Fault) -> Fault {
        if self.chaos.has(kind) { fault } else { Fault::None }
    }

    fn hear(&self, params: &Value) {
        let raw = params.get(0).and_then(|raw| serde_json::from_value::<Bytes>(raw.clone()).ok());
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend(raw);
    }

    /// The fault of one send.
    fn of_send(&mut self) -> Fault {
        let blocks = self.entropy.below(3).saturating_add(1);
        match self.entropy.below(7) {
            0 => self.if_on(Chaos::Dropped, Fault::Drop),
            1 => self.if_on(Chaos::LostAnswers, Fault::LoseAnswer),
            2 => self.if_on(Chaos::RateLimited, Fault::RateLimited),
            3 => self.if_on(Chaos::RpcErrors, Fault::RpcError),
            4 => self.if_on(Chaos::AcceptedLate, Fault::AcceptLater { blocks }),
            5 => self.if_on(Chaos::Forgotten, Fault::ForgetAfterAccept),
            _ => self.if_on(Chaos::Duplicated, Fault::Duplicate),
        }
    }

    /// The fault of one read.
    fn of_read(&mut self, method: &str) -> Fault {
        let blocks = self.entropy.below(3).saturating_add(1);
        let is_receipt = method == "eth_getTransactionReceipt";
        match self.entropy.below(8) {
            0 => self.if_on(Chaos::Dropped, Fault::Drop),
            1 => self.if_on(Chaos::LostAnswers, Fault::LoseAnswer),
            2 => self.if_on(Chaos::RateLimited, Fault::RateLimited),
            3 => self.if_on(Chaos::RpcErrors, Fault::RpcError),
            4 => self.if_on(Chaos::NullReads, Fault::NullRead),
            5 if is_receipt => self.if_on(Chaos::NullReads, Fault::NullRead),
            _ => self.if_on(Chaos::StaleReads, Fault::StaleRead { blocks }),
        }
    }
}

impl FaultPlan for Weather {
    fn decide(&mut self, method: &str, params: &Value) -> Fault {
        if method == SEND {
            self.hear(params);
        }
        if !self.is_bad() {
            return Fault::None;
        }
        let fault = if !self.entropy.chance(1, 14) {
            Fault::None
        } else if method == SEND {
            self.of_send()
        } else {
            self.of_read(method)
        };
        let blocks = self.sky.lag_blocks.load(Ordering::Relaxed);
        if fault == Fault::None && blocks > 0 && method != SEND {
            self.sky.lagging_reads.fetch_add(1, Ordering::Relaxed);
            return Fault::StaleRead { blocks };
        }
        fault
    }

    fn decide_batch(&mut self, _methods: &[&str]) -> Fault {
        if !self.is_bad() || !self.entropy.chance(1, 40) {
            return Fault::None;
        }
        match self.entropy.below(3) {
            0 => self.if_on(Chaos::Dropped, Fault::Drop),
            1 => self.if_on(Chaos::LostAnswers, Fault::LoseAnswer),
            _ => self.if_on(Chaos::RateLimited, Fault::RateLimited),
        }
    }
}

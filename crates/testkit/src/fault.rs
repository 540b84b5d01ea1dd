//! What can go wrong between a client and a node, decided per request and counted where it happened.

use std::collections::VecDeque;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One fault. A fault that makes no sense for the method (a null answer to a send) does nothing and is
/// not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is served.
    None,
    /// The request never arrives. Alone: a transport error. In a batch: that item has no answer.
    Drop,
    /// The request is served and its answer is lost. Alone: a transport error. In a batch: no answer.
    LoseAnswer,
    /// Refused unread. Alone or a whole batch: HTTP 429. An item: a JSON-RPC error 429 inside HTTP 200.
    RateLimited,
    /// The node is not reached, and says so by a JSON-RPC error inside HTTP 200.
    RpcError,
    /// Reads of a block, a transaction or a receipt answer `null`, whatever the chain holds.
    NullRead,
    /// Reads answer as a node would that is this many blocks behind.
    StaleRead {
        /// How far behind.
        blocks: u64,
    },
    /// A raw transaction is held back, and offered to the pool when this many further blocks are made,
    /// before the last of them takes its transactions. The answer is a transport error.
    AcceptLater {
        /// How many blocks later, at least 1.
        blocks: u64,
    },
    /// A raw transaction is accepted and answered with its hash, and dropped from the pool at once.
    ForgetAfterAccept,
    /// The request arrives twice; the answer is that of the second arrival.
    Duplicate,
}

/// How often each kind of fault really happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounters {
    /// [`Fault::Drop`], requests or packets.
    pub dropped: u64,
    /// [`Fault::LoseAnswer`], requests or packets.
    pub lost_answers: u64,
    /// [`Fault::RateLimited`], requests or packets.
    pub rate_limited: u64,
    /// [`Fault::RpcError`], requests.
    pub rpc_errors: u64,
    /// Requests that a node on a branch of its own answered ([`crate::SimTransport::set_view`]).
    pub forked_views: u64,
    /// [`Fault::NullRead`], requests.
    pub null_reads: u64,
    /// [`Fault::StaleRead`], requests.
    pub stale_reads: u64,
    /// [`Fault::AcceptLater`], requests.
    pub accepted_late: u64,
    /// [`Fault::ForgetAfterAccept`], only where the pool had accepted.
    pub forgotten: u64,
    /// [`Fault::Duplicate`], requests.
    pub duplicated: u64,
}

impl FaultCounters {
    /// All faults together.
    #[must_use]
    pub fn total(&self) -> u64 {
        [
            self.dropped,
            self.lost_answers,
            self.rate_limited,
            self.rpc_errors,
            self.forked_views,
            self.null_reads,
            self.stale_reads,
            self.accepted_late,
            self.forgotten,
            self.duplicated,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

impl AddAssign for FaultCounters {
    fn add_assign(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.lost_answers += other.lost_answers;
        self.rate_limited += other.rate_limited;
        self.rpc_errors += other.rpc_errors;
        self.forked_views += other.forked_views;
        self.null_reads += other.null_reads;
        self.stale_reads += other.stale_reads;
        self.accepted_late += other.accepted_late;
        self.forgotten += other.forgotten;
        self.duplicated += other.duplicated;
    }
}

/// Decides the faults of one provider. Implemented by closures `FnMut(&str, &Value) -> Fault`.
pub trait FaultPlan: Send {
    /// The fault of one request: alone, or as an item of a batch. `params` is the JSON-RPC array.
    fn decide(&mut self, method: &str, params: &Value) -> Fault;

    /// The fault of a whole batch, asked before its items. Only `Drop`, `LoseAnswer` and `RateLimited`
    /// have a meaning for a whole packet; everything else lets the items decide.
    fn decide_batch(&mut self, _methods: &[&str]) -> Fault {
        Fault::None
    }
}

impl<F: FnMut(&str, &Value) -> Fault + Send> FaultPlan for F {
    fn decide(&mut self, method: &str, params: &Value) -> Fault {
        self(method, params)
    }
}

/// A network without faults.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl FaultPlan for NoFaults {
    fn decide(&mut self, _method: &str, _params: &Value) -> Fault {
        Fault::None
    }
}

/// Faults in the order a test wrote them down: each waits for the next request of its method.
#[derive(Clone, Debug, Default)]
pub struct FaultScript {
    requests: VecDeque<(&'static str, Fault)>,
    batches: VecDeque<Fault>,
}

impl FaultScript {
    /// No faults yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault for the next request of `method` that has no earlier one waiting.
    #[must_use]
    pub fn once(mut self, method: &'static str, fault: Fault) -> Self {
        self.requests.push_back((method, fault));
        self
    }

    /// Adds a fault for the next whole batch.
    #[must_use]
    pub fn once_for_a_batch(mut self, fault: Fault) -> Self {
        self.batches.push_back(fault);
        self
    }
}

impl FaultPlan for FaultScript {
    fn decide(&mut self, method: &str, _params: &Value) -> Fault {
        let waiting = self.requests.iter().position(|(of, _)| *of == method);
        waiting
            .and_then(|position| self.requests.remove(position))
            .map_or(Fault::None, |(_, fault)| fault)
    }

    fn decide_batch(&mut self, _methods: &[&str]) -> Fault {
        self.batches.pop_front().unwrap_or(Fault::None)
    }
}

//! The providers: three ways to one chain, each with its own faults, and sometimes with its own view of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use alloy_primitives::Bytes;
use portcullis_core::time::Timestamp;
use portcullis_testkit::{Dropped, FaultCounters, SeededEntropy, SimNode, SimTransport};

use crate::chaos::{Chaos, ChaosSet, Counts};
use crate::client::index_below;
use crate::faults::{Heard, Sky, Weather};
use crate::gate::ControlGate;

const PROVIDERS: usize = 3;

/// The providers of the chain. They outlive every engine.
pub(crate) struct Providers {
    members: Vec<Member>,
    fork: Option<Fork>,
    heard: Heard,
}

struct Member {
    name: String,
    operator: &'static str,
    transport: SimTransport,
    sky: Arc<Sky>,
    lags_until: u64,
}

/// A provider on a minority branch.
struct Fork {
    member: usize,
    node: SimNode,
    until_block: u64,
}

impl Providers {
    pub(crate) fn new(
        node: &SimNode,
        gate: &ControlGate,
        chaos: ChaosSet,
        entropy: &mut SeededEntropy,
    ) -> Self {
        // Two operators have to agree; sometimes two of the three providers are one operator's.
        let operators =
            if entropy.chance(1, 3) { ["one", "one", "two"] } else { ["one", "two", "three"] };
        let heard = Heard::default();
        let members = (0..PROVIDERS).map(|index| {
            let name = format!("node-{}", index.saturating_add(1));
            let sky = Arc::new(Sky::default());
            let weather =
                Weather::new(entropy.split(), chaos, Arc::clone(&sky), Arc::clone(&heard));
            let transport = SimTransport::new(node.clone())
                .named(&name)
                .with_faults(weather)
                .with_gate(Arc::new(gate.clone()));
            Member { name, operator: operators[index], transport, sky, lags_until: 0 }
        });
        Self { members: members.collect(), fork: None, heard }
    }

    /// Name, operator and transport of each.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &'static str, &SimTransport)> {
        self.members.iter().map(|it| (it.name.as_str(), it.operator, &it.transport))
    }

    /// Lets things go wrong, or not.
    pub(crate) fn set_bad(&self, is_bad: bool) {
        for member in &self.members {
            member.sky.is_bad.store(is_bad, Ordering::Relaxed);
        }
    }

    /// Some provider falls behind for a while.
    pub(crate) fn begin_lag(&mut self, head: u64, entropy: &mut SeededEntropy) {
        let index = index_below(entropy, self.members.len());
        let member = &mut self.members[index];
        member.lags_until = head.saturating_add(4).saturating_add(entropy.below(16));
        member.sky.lag_blocks.store(entropy.below(9).saturating_add(2), Ordering::Relaxed);
    }

    /// Some provider follows a branch of its own for a while: it misses the last blocks and sees others.
    pub(crate) fn begin_fork(
        &mut self,
        node: &SimNode,
        depth: u64,
        entropy: &mut SeededEntropy,
    ) -> bool {
        if self.fork.is_some() {
            return false;
        }
        let member = index_below(entropy, self.members.len());
        let fork = node.fork();
        let dropped = if entropy.chance(1, 2) { Dropped::Reinject } else { Dropped::Forget };
        fork.reorg(depth, dropped);
        self.members[member].transport.set_view(Some(fork.clone()));
        let until_block = node.head().number.saturating_add(4).saturating_add(entropy.below(12));
        self.fork = Some(Fork { member, node: fork, until_block });
        true
    }

    /// A block was made on the main chain: those who were away come back when their time is over.
    pub(crate) fn follow(
        &mut self,
        head: u64,
        now: Timestamp,
        base_fee_wei: u64,
        entropy: &mut SeededEntropy,
    ) {
        for member in self.members.iter_mut().filter(|member| member.lags_until <= head) {
            member.sky.lag_blocks.store(0, Ordering::Relaxed);
        }
        if self.fork.as_ref().is_some_and(|fork| fork.until_block <= head) {
            self.end_fork();
        } else if let Some(fork) = self.fork.as_ref().filter(|_| entropy.chance(4, 5)) {
            fork.node.set_base_fee(base_fee_wei);
            fork.node.mine(now);
        }
    }

    /// Everybody sees the main chain, as it is.
    pub(crate) fn reunite(&mut self) {
        self.end_fork();
        for member in &mut self.members {
            member.lags_until = 0;
            member.sky.lag_blocks.store(0, Ordering::Relaxed);
        }
    }

    fn end_fork(&mut self) {
        if let Some(fork) = self.fork.take() {
            self.members[fork.member].transport.set_view(None);
        }
    }

    /// Adds the faults that happened so far.
    pub(crate) fn count_into(&self, counts: &mut Counts) {
        let (mut faults, mut lagging) = (FaultCounters::default(), 0_u64);
        for member in &self.members {
            faults += member.transport.counters();
            let reads = member.sky.lagging_reads.load(Ordering::Relaxed);
            lagging = lagging.saturating_add(reads);
        }
        for (kind, times) in [
            (Chaos::Dropped, faults.dropped),
            (Chaos::LostAnswers, faults.lost_answers),
            (Chaos::RateLimited, faults.rate_limited),
            (Chaos::RpcErrors, faults.rpc_errors),
            (Chaos::NullReads, faults.null_reads),
            (Chaos::StaleReads, faults.stale_reads.saturating_sub(lagging)),
            (Chaos::LaggingReads, lagging),
            (Chaos::ForkedViews, faults.forked_views),
            (Chaos::AcceptedLate, faults.accepted_late),
            (Chaos::Forgotten, faults.forgotten),
            (Chaos::Duplicated, faults.duplicated),
        ] {
            counts.add(kind, times);
        }
    }

    /// Every raw transaction that any of them was ever sent.
    pub(crate) fn heard(&self) -> Vec<Bytes> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().cloned().collect()
    }
}

//! What breaks between two moves.

use portcullis_core::slot::SlotStage;
use portcullis_core::time::Clock;
use portcullis_store::command::CommandKind;
use portcullis_testkit::Dropped;

use crate::activity::Actor;
use crate::chaos::Chaos;
use crate::client::index_below;
use crate::oracle::all_withdrawals;
use crate::scheduler::{Run, SimulationError};
use crate::world::World;

impl Run {
    /// Mostly nothing.
    pub(crate) async fn break_something(&mut self) -> Result<(), SimulationError> {
        match self.entropy.below(1_000) {
            0..=7 if self.has(Chaos::Crashes) => self.end_one(),
            8..=9 if self.has(Chaos::PowerCuts) => self.cut_power().await?,
            10..=12 if self.has(Chaos::Reorgs) => self.roll_back(),
            13..=15 if self.has(Chaos::Cancels) => self.ask_for_cancel().await?,
            16..=18 if self.has(Chaos::Sleeps) => self.put_to_sleep(),
            19 if self.has(Chaos::PoolRestarts) => self.restart_pool(),
            20..=21 if self.has(Chaos::LaggingReads) => {
                self.trace("a provider falls behind");
                let head = self.world.node.head().number;
                self.world.providers.begin_lag(head, &mut self.entropy);
            }
            22..=24 if self.has(Chaos::ForkedViews) => self.fork_view(),
            25..=34 => self.follow_scenario().await?,
            _ => {}
        }
        Ok(())
    }

    /// Somebody who stands at a gate.
    fn standing(&mut self) -> Option<Actor> {
        let standing: Vec<Actor> = self.activities.keys().copied().collect();
        let index = index_below(&mut self.entropy, standing.len());
        standing.get(index).copied()
    }

    /// Ends whoever stands at a gate: before its effect, or after it without the answer.
    fn end_one(&mut self) {
        let Some(actor) = self.standing() else { return };
        self.trace(&format!("{actor} is ended"));
        self.drop_activity(actor);
        if let Some(machine) = &mut self.engines[actor.engine].machine {
            machine.restart_role(actor.part);
        }
        self.outcome.counts.count(Chaos::Crashes);
    }

    async fn cut_power(&mut self) -> Result<(), SimulationError> {
        let running: Vec<usize> = (0..self.engines.len())
            .filter(|engine| self.engines[*engine].machine.is_some())
            .collect();
        let engine = running[index_below(&mut self.entropy, running.len())];
        self.trace(&format!("the power of engine {engine} is cut"));
        self.outcome.counts.count(Chaos::PowerCuts);
        self.restart_engine(engine).await
    }

    fn put_to_sleep(&mut self) {
        let Some(actor) = self.standing() else { return };
        let sleep_ms = i64::try_from(self.entropy.below(9_000)).unwrap_or(0).saturating_add(5_000);
        self.trace(&format!("{actor} sleeps for {sleep_ms} ms"));
        self.asleep.insert(actor, self.world.clock.now().plus_millis(sleep_ms));
        self.outcome.counts.count(Chaos::Sleeps);
    }

    fn restart_pool(&mut self) {
        self.trace("the pool forgets everything");
        self.world.node.clear_pool();
        self.outcome.counts.count(Chaos::PoolRestarts);
    }

    /// How many blocks may go: however reorgs follow each other, they stay above what the chain calls final.
    fn droppable(&mut self, most: u64) -> u64 {
        let head = self.world.node.head().number;
        self.highest_block = self.highest_block.max(head);
        let conservative = World::chain().conservative.blocks;
        let floor = self.highest_block.saturating_sub(conservative.saturating_sub(2));
        let depth = self.entropy.below(most).saturating_add(1);
        depth.min(head.saturating_sub(floor))
    }

    fn roll_back(&mut self) {
        let depth = self.droppable(6);
        let dropped = if self.entropy.chance(1, 2) { Dropped::Reinject } else { Dropped::Forget };
        let reorg = self.world.node.reorg(depth, dropped);
        self.trace(&format!("a reorg of {} blocks, {dropped:?}", reorg.dropped_blocks.len()));
        if !reorg.dropped_blocks.is_empty() {
            self.outcome.counts.count(Chaos::Reorgs);
        }
    }

    fn fork_view(&mut self) {
        let depth = self.droppable(4);
        if self.world.providers.begin_fork(&self.world.node, depth, &mut self.entropy) {
            self.trace(&format!("a provider sees another branch since {depth} blocks"));
        }
    }

    /// An operator cancels the slot of some payment that is under way.
    async fn ask_for_cancel(&mut self) -> Result<(), SimulationError> {
        self.world.gate.set_closed(false);
        let store = self.machine().store.clone();
        let records = all_withdrawals(&store).await?;
        let bound: Vec<_> = records.iter().filter(|record| record.state.slot().is_some()).collect();
        if !bound.is_empty() {
            let record = bound[index_below(&mut self.entropy, bound.len())];
            let rides = store.rides(&[record.id]).await?;
            if let Some(ride) =
                rides.iter().find(|ride| ride.live && ride.stage < SlotStage::Included)
            {
                let asked =
                    store.request_command(CommandKind::Cancel, ride.slot, "operator", "simulated");
                if asked.await? {
                    self.trace(&format!("an operator cancels nonce {}", ride.slot.nonce));
                    self.outcome.counts.count(Chaos::Cancels);
                }
            }
        }
        self.world.gate.set_closed(true);
        Ok(())
    }
}

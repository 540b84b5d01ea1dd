//! The scheduler: draws from the seed who goes on, when a block is mined, and what breaks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use portcullis_core::slot::SlotStage;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_store::command::CommandKind;
use portcullis_testkit::{Dropped, SeededEntropy};
use thiserror::Error;

use crate::activity::{Activity, Actor, Finished};
use crate::client::{Asked, Wish, index_below, make_wishes, read_answer, reopen, request};
use crate::machine::Machine;
use crate::oracle::{all_withdrawals, judge, unfinished};
use crate::report::Outcome;
use crate::world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct SimulationOptions {
    /// Withdrawals that clients ask for.
    pub withdrawals: usize,
    /// Crashes that a run has at least, before the faults stop.
    pub crashes_min: u64,
    /// Whether every move is printed.
    pub trace: bool,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self { withdrawals: 60, crashes_min: 6, trace: false }
    }
}

/// A run that could not be made. What a run found is no error.
#[derive(Debug, Error)]
pub enum SimulationError {
    /// The world could not be set up.
    #[error("the simulated world cannot be set up: {0}")]
    Setup(String),
    /// The database failed for real.
    #[error(transparent)]
    Store(#[from] portcullis_store::StoreError),
}

/// Simulated time between two blocks.
const BLOCK_MS: i64 = 1_000;

/// Simulated time that an idle role waits.
const POLL_MS: i64 = 500;

/// Moves after which the faults stop whatever happened, and after which a run is stuck.
const MOVES_WITH_FAULTS_MAX: u64 = 15_000;
const MOVES_MAX: u64 = 40_000;

/// Runs one seed.
///
/// # Errors
/// [`SimulationError`] when the run itself could not be made.
pub async fn run_seed(seed: u64, options: SimulationOptions) -> Result<Outcome, SimulationError> {
    let mut entropy = SeededEntropy::new(seed);
    let world = World::new(&mut entropy).await?;
    let wishes = make_wishes(&world, options.withdrawals, &mut entropy);
    world.gate.set_closed(false);
    let machine = Machine::start(&world, &mut entropy).await?;
    world.gate.set_closed(true);
    world.is_weather_bad.store(true, Ordering::Relaxed);
    let now = world.clock.now();
    let mut run = Run {
        outcome: Outcome { seed, withdrawals: options.withdrawals, ..Outcome::default() },
        options,
        entropy,
        machine: Some(machine),
        wishes,
        activities: BTreeMap::new(),
        ready_at: Actor::ALL.into_iter().map(|actor| (actor, now)).collect(),
        next_block_at: now.plus_millis(BLOCK_MS),
        next_activity: 0,
        highest_block: 0,
        moves: 0,
        world,
    };
    run.go().await?;
    Ok(run.outcome)
}

struct Run {
    outcome: Outcome,
    options: SimulationOptions,
    entropy: SeededEntropy,
    /// Gone only for the moment of a power cut.
    machine: Option<Machine>,
    wishes: Vec<Wish>,
    activities: BTreeMap<Actor, Activity>,
    ready_at: BTreeMap<Actor, Timestamp>,
    next_block_at: Timestamp,
    next_activity: u64,
    /// The highest block that there ever was.
    highest_block: u64,
    moves: u64,
    world: World,
}

impl Run {
    async fn go(&mut self) -> Result<(), SimulationError> {
        while self.faults_go_on() {
            self.make_move().await?;
            self.break_something().await?;
        }
        self.trace("the faults stop");
        self.world.is_weather_bad.store(false, Ordering::Relaxed);
        let mut looked_at = self.moves;
        while self.moves < MOVES_MAX {
            self.make_move().await?;
            if self.moves.saturating_sub(looked_at) >= 200 {
                looked_at = self.moves;
                if self.is_settled().await? {
                    break;
                }
            }
        }
        self.activities.clear();
        self.world.gate.set_closed(false);
        self.outcome.faults += self.machine().transport.counters();
        let store = self.machine().store.clone();
        judge(&self.world, &store, &self.wishes, &mut self.outcome).await?;
        Ok(())
    }

    fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("a power cut starts the next machine before it ends")
    }

    fn faults_go_on(&self) -> bool {
        let asked = self.wishes.iter().all(|wish| wish.asked == Asked::Accepted);
        let enough =
            asked && self.outcome.crashes >= self.options.crashes_min && self.moves >= 1_500;
        !enough && self.moves < MOVES_WITH_FAULTS_MAX
    }

    async fn is_settled(&mut self) -> Result<bool, SimulationError> {
        if self.wishes.iter().any(|wish| wish.asked != Asked::Accepted) {
            return Ok(false);
        }
        let records = all_withdrawals(&self.machine().store).await?;
        Ok(unfinished(&records) == 0)
    }

    /// Lets somebody go on, or time pass.
    async fn make_move(&mut self) -> Result<(), SimulationError> {
        self.moves = self.moves.saturating_add(1);
        let now = self.world.clock.now();
        if now >= self.next_block_at {
            let block = self.world.node.mine(now);
            self.next_block_at = now.plus_millis(BLOCK_MS);
            self.trace(&format!(
                "block {} with {} transactions",
                block.number,
                block.transactions.len()
            ));
            return Ok(());
        }
        let mut able: Vec<Actor> = self.activities.keys().copied().collect();
        for (actor, ready_at) in &self.ready_at {
            let can_begin = *actor != Actor::Client || self.has_wish();
            if *ready_at <= now && !self.activities.contains_key(actor) && can_begin {
                able.push(*actor);
            }
        }
        if able.is_empty() {
            let next = self.ready_at.values().filter(|at| **at > now).min();
            let next = next.copied().unwrap_or(self.next_block_at).min(self.next_block_at);
            self.world.clock.set(next.max(now.plus_millis(1)));
            return Ok(());
        }
        let jump = i64::try_from(self.entropy.below(12)).unwrap_or(0);
        self.world.clock.advance(jump);
        let actor = able[index_below(&mut self.entropy, able.len())];
        self.advance(actor).await;
        Ok(())
    }

    fn has_wish(&self) -> bool {
        self.wishes.iter().any(|wish| wish.asked == Asked::Open)
    }

    async fn advance(&mut self, actor: Actor) {
        if !self.activities.contains_key(&actor) {
            let future = match actor {
                Actor::Client => self.ask(),
                role => self.machine().step(role),
            };
            let id = self.next_activity;
            self.next_activity = id.wrapping_add(1);
            self.activities.insert(actor, Activity::new(id, self.world.gate.clone(), future));
        }
        let Some(activity) = self.activities.get_mut(&actor) else { return };
        if let Some(finished) = activity.advance().await {
            self.activities.remove(&actor);
            self.finish(actor, finished);
        }
    }

    fn ask(&mut self) -> futures::future::BoxFuture<'static, Finished> {
        let open: Vec<usize> = (0..self.wishes.len())
            .filter(|index| self.wishes[*index].asked == Asked::Open)
            .collect();
        let most = if self.entropy.chance(1, 2) { 1 } else { 8.min(open.len()) };
        let first = index_below(&mut self.entropy, open.len());
        let chosen: Vec<usize> = open.into_iter().skip(first).take(most).collect();
        for index in &chosen {
            self.wishes[*index].asked = Asked::UnderWay;
        }
        request(self.machine().router.clone(), &self.wishes, chosen)
    }

    fn finish(&mut self, actor: Actor, finished: Finished) {
        let now = self.world.clock.now();
        match finished {
            Finished::Step(result) => {
                self.trace(&format!("{actor:?}: {result:?}"));
                let worked = result == Ok(true);
                let pause = if worked { 0 } else { POLL_MS };
                self.ready_at.insert(actor, now.plus_millis(pause));
                if worked {
                    self.ring(now);
                }
            }
            Finished::Request { promises, answer } => {
                let loses =
                    self.world.is_weather_bad.load(Ordering::Relaxed) && self.entropy.chance(1, 6);
                let answer = if loses { None } else { answer };
                if loses {
                    self.outcome.lost_requests = self.outcome.lost_requests.saturating_add(1);
                }
                if let Err(problem) = read_answer(&mut self.wishes, &promises, answer) {
                    reopen(&mut self.wishes, &promises);
                    if self.outcome.problems.len() < 20 {
                        self.outcome.problems.push(problem);
                    }
                }
                self.ready_at.insert(actor, now.plus_millis(60));
                self.ring(now);
            }
        }
    }

    /// Doorbells: most of them ring.
    fn ring(&mut self, now: Timestamp) {
        if self.entropy.chance(1, 8) {
            self.outcome.lost_doorbells = self.outcome.lost_doorbells.saturating_add(1);
            return;
        }
        for (actor, ready_at) in &mut self.ready_at {
            if *actor != Actor::Client {
                *ready_at = now.min(*ready_at);
            }
        }
    }

    async fn break_something(&mut self) -> Result<(), SimulationError> {
        match self.entropy.below(1_000) {
            0..=7 => self.end_one(),
            8..=9 => self.cut_power().await?,
            10..=12 => self.roll_back(),
            13..=14 => self.ask_for_cancel().await?,
            _ => {}
        }
        Ok(())
    }

    /// Ends whoever stands at a gate: before its effect, or after it without the answer.
    fn end_one(&mut self) {
        let standing: Vec<Actor> = self.activities.keys().copied().collect();
        if standing.is_empty() {
            return;
        }
        let actor = standing[index_below(&mut self.entropy, standing.len())];
        self.trace(&format!("{actor:?} is ended"));
        self.activities.remove(&actor);
        if let Some(machine) = &mut self.machine {
            machine.restart_role(actor);
        }
        self.outcome.crashes = self.outcome.crashes.saturating_add(1);
        self.reopen_wishes(actor == Actor::Client);
    }

    async fn cut_power(&mut self) -> Result<(), SimulationError> {
        self.trace("the power is cut");
        self.activities.clear();
        self.reopen_wishes(true);
        self.outcome.faults += self.machine().transport.counters();
        self.world.gate.set_closed(false);
        // The dead machine goes first: it locks the journal.
        drop(self.machine.take());
        self.machine = Some(Machine::start(&self.world, &mut self.entropy).await?);
        self.world.gate.set_closed(true);
        self.outcome.crashes = self.outcome.crashes.saturating_add(1);
        self.outcome.power_cuts = self.outcome.power_cuts.saturating_add(1);
        Ok(())
    }

    /// A client whose request was cut off does not know what became of it.
    fn reopen_wishes(&mut self, is_cut_off: bool) {
        if is_cut_off {
            for wish in self.wishes.iter_mut().filter(|wish| wish.asked == Asked::UnderWay) {
                wish.asked = Asked::Open;
            }
        }
    }

    fn roll_back(&mut self) {
        // However they follow each other, reorgs stay above what the chain calls final.
        let head = self.world.node.head().number;
        self.highest_block = self.highest_block.max(head);
        let floor = self.highest_block.saturating_sub(World::chain().conservative.blocks - 2);
        let depth = self.entropy.below(6).saturating_add(1).min(head.saturating_sub(floor));
        let dropped = if self.entropy.chance(1, 2) { Dropped::Reinject } else { Dropped::Forget };
        let reorg = self.world.node.reorg(depth, dropped);
        self.trace(&format!("a reorg of {} blocks, {dropped:?}", reorg.dropped_blocks.len()));
        if !reorg.dropped_blocks.is_empty() {
            self.outcome.reorgs = self.outcome.reorgs.saturating_add(1);
        }
    }

    /// An operator cancels the slot of some payment that is under way.
    async fn ask_for_cancel(&mut self) -> Result<(), SimulationError> {
        self.world.gate.set_closed(false);
        let records = all_withdrawals(&self.machine().store).await?;
        let bound: Vec<_> = records.iter().filter(|record| record.state.slot().is_some()).collect();
        if !bound.is_empty() {
            let record = bound[index_below(&mut self.entropy, bound.len())];
            let rides = self.machine().store.rides(&[record.id]).await?;
            if let Some(ride) =
                rides.iter().find(|ride| ride.live && ride.stage < SlotStage::Included)
            {
                let store = self.machine().store.clone();
                let asked =
                    store.request_command(CommandKind::Cancel, ride.slot, "operator", "simulated");
                if asked.await? {
                    self.outcome.cancels = self.outcome.cancels.saturating_add(1);
                }
            }
        }
        self.world.gate.set_closed(true);
        Ok(())
    }

    fn trace(&self, what: &str) {
        if self.options.trace {
            let at = self.world.clock.now().as_millis() % 1_000_000;
            eprintln!("{:>6} {at:>6} {what}", self.moves);
        }
    }
}

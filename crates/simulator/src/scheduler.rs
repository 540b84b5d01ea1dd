//! The scheduler: draws from the seed who goes on, and when a block is mined.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::time::{Clock, Timestamp};
use portcullis_testkit::SeededEntropy;
use thiserror::Error;

use crate::activity::{Activity, Actor, Finished, Part};
use crate::chaos::{Chaos, ChaosSet};
use crate::client::{
    Asked, Wish, cancel_request, index_below, make_wishes, read_answer, reopen, request,
};
use crate::copies::OldCopy;
use crate::fees::FeeWalk;
use crate::machine::{Machine, Seat};
use crate::oracle::{all_withdrawals, judge, unfinished};
use crate::report::Outcome;
use crate::scenario::Scenario;
use crate::world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct SimulationOptions {
    /// Withdrawals that clients ask for.
    pub withdrawals: usize,
    /// Crashes that a run has at least, before the faults stop.
    pub crashes_min: u64,
    /// What may go wrong.
    pub chaos: ChaosSet,
    /// Whether every move is printed.
    pub trace: bool,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self { withdrawals: 110, crashes_min: 6, chaos: ChaosSet::ALL, trace: false }
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
    /// A copy of the database could not be taken or put back.
    #[error("a copy of the simulated database failed: {0}")]
    Copy(String),
}

/// Simulated time between two blocks.
const BLOCK_MS: i64 = 1_000;

/// Simulated time that an idle role waits.
const POLL_MS: i64 = 500;

/// Simulated time between two looks of the operator.
const OPERATOR_MS: i64 = 4_000;

/// Moves that a run has with faults at least and at most, and after which it is stuck.
const MOVES_WITH_FAULTS_MIN: u64 = 1_500;
const MOVES_WITH_FAULTS_MAX: u64 = 15_000;
const MOVES_MAX: u64 = 60_000;

/// Runs one seed.
///
/// # Errors
/// [`SimulationError`] when the run itself could not be made.
pub async fn run_seed(seed: u64, options: SimulationOptions) -> Result<Outcome, SimulationError> {
    let mut entropy = SeededEntropy::new(seed);
    let scenario = Scenario::draw(seed, options.chaos, &mut entropy);
    let world = World::new(scenario.rail, options.chaos, &mut entropy).await?;
    let wishes = make_wishes(&world, options.withdrawals, &mut entropy);
    let now = world.clock.now();
    let mut run = Run {
        outcome: Outcome {
            seed,
            rail: scenario.rail,
            withdrawals: options.withdrawals,
            ..Outcome::default()
        },
        options,
        scenario,
        entropy,
        engines: Vec::new(),
        main: 0,
        wishes,
        activities: BTreeMap::new(),
        under_way: BTreeMap::new(),
        ready_at: BTreeMap::new(),
        asleep: BTreeMap::new(),
        rings_due: BTreeSet::new(),
        copies: Vec::new(),
        fees: FeeWalk::new(),
        is_bad: true,
        next_block_at: now.plus_millis(BLOCK_MS),
        next_activity: 0,
        highest_block: 0,
        moves: 0,
        world,
    };
    let seat = Seat {
        instance: "machine",
        database: run.world.database(),
        keystore: Some(run.world.keystore()),
        serves: true,
        is_operated: true,
    };
    run.start_engine(seat).await?;
    run.go().await?;
    Ok(run.outcome)
}

/// One engine of a run.
pub(crate) struct Engine {
    pub(crate) seat: Seat,
    /// `None` when it is shut down.
    pub(crate) machine: Option<Machine>,
}

pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) options: SimulationOptions,
    pub(crate) scenario: Scenario,
    pub(crate) entropy: SeededEntropy,
    pub(crate) engines: Vec<Engine>,
    /// The engine whose database counts in the end.
    pub(crate) main: usize,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) activities: BTreeMap<Actor, Activity>,
    /// What each client under way asks for.
    under_way: BTreeMap<Actor, Vec<usize>>,
    ready_at: BTreeMap<Actor, Timestamp>,
    pub(crate) asleep: BTreeMap<Actor, Timestamp>,
    rings_due: BTreeSet<Timestamp>,
    pub(crate) copies: Vec<OldCopy>,
    fees: FeeWalk,
    /// Whether things go wrong still.
    is_bad: bool,
    next_block_at: Timestamp,
    next_activity: u64,
    /// The highest block that there ever was.
    pub(crate) highest_block: u64,
    pub(crate) moves: u64,
    pub(crate) world: World,
}

impl Run {
    async fn go(&mut self) -> Result<(), SimulationError> {
        self.world.providers.set_bad(true);
        while self.faults_go_on() {
            self.make_move().await?;
            self.break_something().await?;
        }
        self.end_faults();
        let mut looked_at = self.moves;
        while self.moves < MOVES_MAX {
            self.make_move().await?;
            if self.moves.saturating_sub(looked_at) >= 200 {
                looked_at = self.moves;
                self.ask_anew().await?;
                if self.is_settled().await? {
                    break;
                }
            }
        }
        self.activities.clear();
        self.world.gate.set_closed(false);
        self.world.providers.count_into(&mut self.outcome.counts);
        let evictions = self.world.node.stranded_evictions();
        self.outcome.counts.add(Chaos::Stranded, evictions);
        self.outcome.moves = self.moves;
        self.outcome.blocks = self.world.node.head().number;
        let Some(machine) = &self.engines[self.main].machine else { return Ok(()) };
        judge(&self.world, &machine.store, &self.wishes, &mut self.outcome).await?;
        self.replay_everything().await
    }

    pub(crate) fn has(&self, kind: Chaos) -> bool {
        self.options.chaos.has(kind)
    }

    pub(crate) fn machine(&self) -> &Machine {
        let machine = self.engines[self.main].machine.as_ref();
        machine.expect("the main engine is started anew before a move ends")
    }

    fn faults_go_on(&self) -> bool {
        let asked = self.wishes.iter().all(|wish| wish.asked == Asked::Accepted);
        let counts = &self.outcome.counts;
        let crashed =
            !self.has(Chaos::Crashes) || counts.of(Chaos::Crashes) >= self.options.crashes_min;
        let enough =
            asked && crashed && self.scenario.is_over() && self.moves >= MOVES_WITH_FAULTS_MIN;
        !enough && self.moves < MOVES_WITH_FAULTS_MAX
    }

    fn end_faults(&mut self) {
        self.trace("the faults stop");
        self.is_bad = false;
        self.asleep.clear();
        self.world.providers.set_bad(false);
        self.world.providers.reunite();
        for engine in 0..self.engines.len() {
            if engine != self.main {
                self.shut_down(engine);
            }
        }
    }

    async fn is_settled(&mut self) -> Result<bool, SimulationError> {
        if self.wishes.iter().any(|wish| wish.asked != Asked::Accepted) {
            return Ok(false);
        }
        let store = &self.machine().store;
        if !store.halts().await?.is_empty() {
            return Ok(false);
        }
        Ok(unfinished(&all_withdrawals(store).await?) == 0)
    }

    /// Lets somebody go on, or time pass.
    async fn make_move(&mut self) -> Result<(), SimulationError> {
        self.moves = self.moves.saturating_add(1);
        let now = self.world.clock.now();
        if now >= self.next_block_at {
            self.mine(now);
            return Ok(());
        }
        if self.rings_due.first().is_some_and(|due| *due <= now) {
            self.rings_due.pop_first();
            self.wake_all(now);
        }
        let able = self.able(now);
        if able.is_empty() {
            let times = self.ready_at.values().chain(self.asleep.values()).chain(&self.rings_due);
            let next = times.filter(|at| **at > now).min().copied();
            let next = next.unwrap_or(self.next_block_at).min(self.next_block_at);
            self.world.clock.set(next.max(now.plus_millis(1)));
            return Ok(());
        }
        let jump = i64::try_from(self.entropy.below(12)).unwrap_or(0);
        self.world.clock.advance(jump);
        let actor = able[index_below(&mut self.entropy, able.len())];
        self.advance(actor).await;
        Ok(())
    }

    /// Who can go on now.
    fn able(&mut self, now: Timestamp) -> Vec<Actor> {
        self.asleep.retain(|_, until| *until > now);
        let at_journal = self.world.gate.at_journal();
        // Whoever writes to the journal has it for himself: the others wait without a gate.
        let waits_for_journal = |actor: &Actor| {
            let own = self.activities.get(actor).map(Activity::id);
            actor.part == Part::Signer && at_journal.iter().any(|id| Some(*id) != own)
        };
        let has_wish = self.wishes.iter().any(|wish| wish.asked == Asked::Open);
        let begins = self.ready_at.iter().filter(|(actor, ready_at)| {
            let can_begin = actor.part != Part::Client || has_wish;
            **ready_at <= now && can_begin && !self.activities.contains_key(actor)
        });
        let actors = self.activities.keys().chain(begins.map(|(actor, _)| actor));
        let awake = actors.filter(|actor| !self.asleep.contains_key(actor));
        awake.filter(|actor| !waits_for_journal(actor)).copied().collect()
    }

    fn mine(&mut self, now: Timestamp) {
        let cap_wei = World::fee_cap_wei();
        let spikes = self.has(Chaos::FeeSpikes);
        let base_fee_wei = if self.is_bad {
            self.fees.advance(&mut self.entropy, cap_wei, spikes)
        } else {
            self.fees.calm()
        };
        self.world.node.set_base_fee(base_fee_wei);
        let block = self.world.node.mine(now);
        if block.base_fee_wei > cap_wei {
            self.outcome.counts.count(Chaos::FeeSpikes);
        }
        self.world.providers.follow(block.number, now, base_fee_wei, &mut self.entropy);
        self.next_block_at = now.plus_millis(BLOCK_MS);
        self.highest_block = self.highest_block.max(block.number);
        let (number, size) = (block.number, block.transactions.len());
        let gwei = base_fee_wei.div_euclid(1_000_000_000);
        self.trace(&format!("block {number} at {gwei} gwei with {size} transactions"));
    }

    async fn advance(&mut self, actor: Actor) {
        if !self.activities.contains_key(&actor) {
            let Some(future) = self.begin(actor) else { return };
            let id = self.next_activity;
            self.next_activity = id.wrapping_add(1);
            self.activities.insert(actor, Activity::new(id, self.world.gate.clone(), future));
        }
        let Some(activity) = self.activities.get_mut(&actor) else { return };
        if let Some(finished) = activity.advance().await {
            self.activities.remove(&actor);
            self.under_way.remove(&actor);
            self.finish(actor, finished);
        }
    }

    fn begin(&mut self, actor: Actor) -> Option<futures::future::BoxFuture<'static, Finished>> {
        let machine = self.engines[actor.engine].machine.as_ref()?;
        if actor.part != Part::Client {
            return Some(machine.step(actor.part));
        }
        let router = machine.router.clone();
        if self.is_bad && self.has(Chaos::ClientCancels) && self.entropy.chance(1, 20) {
            let index = index_below(&mut self.entropy, self.wishes.len());
            let wish = &mut self.wishes[index];
            if let Some(id) = wish.id.clone() {
                wish.is_unwanted = true;
                return Some(cancel_request(router, &id, Chaos::ClientCancels));
            }
        }
        if let Some(id) = self.refused_wish() {
            return Some(cancel_request(router, &id, Chaos::Voids));
        }
        let open: Vec<usize> = (0..self.wishes.len())
            .filter(|index| self.wishes[*index].asked == Asked::Open)
            .collect();
        let most = if self.entropy.chance(1, 2) { 1 } else { 8.min(open.len()) };
        let first = index_below(&mut self.entropy, open.len());
        let chosen: Vec<usize> = open.into_iter().skip(first).take(most).collect();
        for index in &chosen {
            self.wishes[*index].asked = Asked::UnderWay;
        }
        self.under_way.insert(actor, chosen.clone());
        Some(request(router, &self.wishes, chosen))
    }

    /// Now and then a withdrawal that the vault cannot pay, for its client to take back. Every other one is left to the
    /// operator.
    fn refused_wish(&mut self) -> Option<String> {
        let refused = |wish: &&Wish| self.world.refused.has(wish.token, wish.to);
        let wishes = self.wishes.iter().filter(refused).step_by(2);
        let ids: Vec<String> = wishes.filter_map(|wish| wish.id.clone()).collect();
        if !self.is_bad || ids.is_empty() || !self.entropy.chance(1, 60) {
            return None;
        }
        let index = index_below(&mut self.entropy, ids.len());
        ids.get(index).cloned()
    }

    fn finish(&mut self, actor: Actor, finished: Finished) {
        let now = self.world.clock.now();
        match finished {
            Finished::Step(result) => {
                self.trace(&format!("{actor}: {result:?}"));
                let worked = result == Ok(true);
                let pause = match actor.part {
                    Part::Operator => OPERATOR_MS,
                    _ if worked => 0,
                    _ => POLL_MS,
                };
                self.ready_at.insert(actor, now.plus_millis(pause));
                if worked {
                    self.ring(now);
                }
            }
            Finished::Cancel { status, kind } => {
                self.trace(&format!("{actor} took one back: {status}"));
                if matches!(status, 200 | 202) && kind == Chaos::ClientCancels {
                    self.outcome.counts.count(Chaos::ClientCancels);
                }
                self.ready_at.insert(actor, now.plus_millis(60));
            }
            Finished::Request { promises, answer } => {
                let loses =
                    self.is_bad && self.has(Chaos::LostRequests) && self.entropy.chance(1, 6);
                let status = answer.as_ref().map(|(status, _)| *status);
                self.trace(&format!("{actor} asked for {promises:?}: {status:?}, lost: {loses}"));
                let answer = if loses { None } else { answer };
                if loses {
                    self.outcome.counts.count(Chaos::LostRequests);
                }
                if let Err(problem) = read_answer(&mut self.wishes, &promises, answer) {
                    self.trace(&format!("{actor}: {problem}"));
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

    /// Doorbells: most of them ring, some ring twice.
    fn ring(&mut self, now: Timestamp) {
        if self.is_bad && self.has(Chaos::LostDoorbells) && self.entropy.chance(1, 8) {
            self.outcome.counts.count(Chaos::LostDoorbells);
            return;
        }
        if self.is_bad && self.has(Chaos::RepeatedDoorbells) && self.entropy.chance(1, 12) {
            self.outcome.counts.count(Chaos::RepeatedDoorbells);
            let later = i64::try_from(self.entropy.below(400)).unwrap_or(0);
            self.rings_due.insert(now.plus_millis(later.saturating_add(1)));
        }
        self.wake_all(now);
    }

    fn wake_all(&mut self, now: Timestamp) {
        for (actor, ready_at) in &mut self.ready_at {
            if !matches!(actor.part, Part::Client | Part::Operator) {
                *ready_at = now.min(*ready_at);
            }
        }
    }

    /// Puts an engine to work; its number stays the same over its restarts.
    pub(crate) async fn start_engine(&mut self, seat: Seat) -> Result<usize, SimulationError> {
        let engine = self.engines.len();
        self.engines.push(Engine { seat, machine: None });
        self.restart_engine(engine).await?;
        Ok(engine)
    }

    /// Starts an engine anew where it sat.
    pub(crate) async fn restart_engine(&mut self, engine: usize) -> Result<(), SimulationError> {
        self.shut_down(engine);
        self.world.gate.set_closed(false);
        let seat = self.engines[engine].seat.clone();
        let machine = Machine::start(&self.world, &seat, &mut self.entropy).await?;
        self.engines[engine].machine = Some(machine);
        self.world.gate.set_closed(true);
        let now = self.world.clock.now();
        for part in Part::ALL {
            let takes_part = match part {
                Part::Client => seat.serves,
                Part::Operator => seat.is_operated,
                Part::Signer => seat.keystore.is_some(),
                _ => true,
            };
            if takes_part {
                self.ready_at.insert(Actor { engine, part }, now);
            }
        }
        Ok(())
    }

    /// Ends an engine where it stands. Its files stay.
    pub(crate) fn shut_down(&mut self, engine: usize) {
        let its_own = |actor: &Actor| actor.engine == engine;
        let actors: Vec<Actor> = self.activities.keys().copied().filter(its_own).collect();
        for actor in actors {
            self.drop_activity(actor);
        }
        self.ready_at.retain(|actor, _| !its_own(actor));
        self.asleep.retain(|actor, _| !its_own(actor));
        self.engines[engine].machine = None;
    }

    /// Ends somebody where he stands. A client whose request was cut off does not know what became of it.
    pub(crate) fn drop_activity(&mut self, actor: Actor) {
        self.activities.remove(&actor);
        self.asleep.remove(&actor);
        let promises = self.under_way.remove(&actor).unwrap_or_default();
        reopen(&mut self.wishes, &promises);
    }

    pub(crate) fn trace(&self, what: &str) {
        if self.options.trace {
            let at = self.world.clock.now().as_millis() % 10_000_000;
            eprintln!("{:>6} {at:>8} {what}", self.moves);
        }
    }
}

//! A random walk of the roles over one database: each step reads what there is, decides, and writes
//! once. Steps may be cut off anywhere; the next one starts from what the database says.

use portcullis_core::slot::{AttemptKind, ItemOutcome, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::StoreError;
use portcullis_store::chain::{ChainAdvance, Inclusion};
use portcullis_store::command::CommandKind;
use portcullis_store::intake::Submission;
use portcullis_store::lease::Lease;
use portcullis_store::send::SendResult;
use portcullis_store::slot::{NewAttempt, OpenSlot};
use portcullis_testkit::SeededEntropy;

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS, pass};
use crate::polls::drop_after;
use crate::rail::{LEASE_MS, block_at, bound, header, inclusion, sender, signed, slot_at};

/// Whether steps run to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    Whole,
    CutOff,
}

pub(crate) struct Walk {
    pub(crate) fixture: Fixture,
    /// Steps that were cut off.
    pub(crate) cut: u32,
    entropy: SeededEntropy,
    steps: Steps,
    requests: u32,
    fork: u8,
}

/// Runs a write of the store, or a part of it; `None` when it was cut off.
macro_rules! write {
    ($walk:expr, $future:expr) => {{
        let (polls, lingering) = $walk.cut_off();
        let outcome = drop_after($future, polls, lingering).await;
        if outcome.is_none() {
            $walk.cut += 1;
            $walk.fixture.quiesce_server().await;
        }
        outcome
    }};
}

impl Walk {
    pub(crate) async fn open(seed: u64, steps: Steps) -> Self {
        let fixture = Fixture::open().await;
        fixture.register(2).await;
        fixture.fund("alice", 10_000).await;
        fixture.advance(crate::rail::blocks(100, 100)).await.expect("begins");
        let entropy = SeededEntropy::new(seed);
        Self { fixture, cut: 0, entropy, steps, requests: 0, fork: 0 }
    }

    /// How many polls the next write gets: mostly too few.
    fn cut_off(&mut self) -> (u64, u64) {
        match self.steps {
            Steps::Whole => (u64::MAX, 0),
            Steps::CutOff if self.entropy.chance(1, 4) => (u64::MAX, 0),
            Steps::CutOff => (1 + self.entropy.below(8), self.entropy.below(4)),
        }
    }

    pub(crate) async fn step(&mut self) {
        self.fixture.clock.advance(1 + i64::try_from(self.entropy.below(400)).expect("few"));
        match self.entropy.below(14) {
            0..=2 => self.submit().await,
            3 => self.validate().await,
            4 => self.bind().await,
            5 => self.sign().await,
            6 => self.send().await,
            7 => self.advance().await,
            8 => self.include().await,
            9 => self.confirm().await,
            10 => self.finalize().await,
            11 => self.reorg().await,
            12 => self.cancel().await,
            _ => self.replace().await,
        }
    }

    /// Lets everything come to its end, uncut.
    pub(crate) async fn settle(&mut self) {
        self.steps = Steps::Whole;
        for _ in 0..60 {
            self.fixture.clock.advance(61_000);
            self.validate().await;
            self.bind().await;
            self.sign().await;
            self.send().await;
            self.advance().await;
            self.include().await;
            self.confirm().await;
            self.finalize().await;
            if self.fixture.number("SELECT count(*) FROM work WHERE stage <> 'held'").await == 0 {
                return;
            }
        }
        let stuck = self.fixture.pairs("SELECT stage, hex(withdrawal_id) FROM work").await;
        panic!("work that does not end: {stuck:?}");
    }

    pub(crate) async fn paid(&self) -> usize {
        let all = self.fixture.all().await;
        all.iter().filter(|record| record.state.code() == StateCode::Confirmed).count()
    }

    async fn submit(&mut self) {
        let mut requests: Vec<Submission> = Vec::new();
        for _ in 0..=self.entropy.below(4) {
            self.requests += 1;
            let amount = 1 + self.entropy.below(200);
            requests.push(self.fixture.submission(&format!("w{}", self.requests), "alice", amount));
        }
        let intake = self.fixture.intake.clone();
        write!(self, intake.submit_many(requests, PATIENCE_MS)).map(|it| it.expect("answers"));
    }

    async fn validate(&mut self) {
        let store = self.fixture.store.clone();
        write!(self, store.validate(5, &pass)).map(|it| it.expect("validates"));
    }

    async fn leases(&mut self, names: &[String]) -> Option<Vec<Lease>> {
        let store = self.fixture.store.clone();
        write!(self, store.acquire_leases(names, "walk", LEASE_MS)).map(|it| it.expect("acquires"))
    }

    async fn sender_leases(&mut self) -> Option<Vec<Lease>> {
        let names = [0, 1].map(|index| format!("sender:{CHAIN}:{}", sender(index)));
        self.leases(&names).await
    }

    async fn monitor_lease(&mut self) -> Option<Lease> {
        self.leases(&[format!("monitor:{CHAIN}")]).await?.pop()
    }

    async fn bind(&mut self) {
        let Some(leases) = self.sender_leases().await else { return };
        let store = self.fixture.store.clone();
        let queued = store.queued(CHAIN, 4).await.expect("reads");
        let senders = store.senders(CHAIN).await.expect("reads");
        let mut slots = Vec::new();
        for index in 0..2 {
            let known = senders.iter().find(|(address, _)| *address == sender(index));
            let next = known.expect("is registered").1;
            let payments = queued.iter().skip(usize::from(index)).step_by(2);
            for (record, nonce) in payments.zip(next..) {
                slots.push(self.fixture.new_slot(slot_at(index, nonce), &[record.id]));
            }
        }
        write!(self, store.bind(&leases, &slots)).map(|it| it.expect("binds"));
    }

    async fn sign(&mut self) {
        let Some(leases) = self.sender_leases().await else { return };
        let store = self.fixture.store.clone();
        let open = store.unsigned_slots(CHAIN, &[sender(0), sender(1)]).await.expect("reads");
        let attempts: Vec<NewAttempt> = open
            .iter()
            .map(|open| NewAttempt {
                slot_id: open.id,
                signed: signed(open.slot, AttemptKind::Payload, 1),
            })
            .collect();
        write!(self, store.commit_attempts(&leases, &attempts, &[])).map(|it| it.expect("commits"));
    }

    /// A dearer attempt or a cancel of some open slot.
    async fn replace(&mut self) {
        let Some(leases) = self.sender_leases().await else { return };
        let store = self.fixture.store.clone();
        let open = store.waiting_heads(CHAIN, self.fixture.now()).await.expect("reads");
        let Some(open) = open.first() else { return };
        let cancels = self.entropy.chance(1, 3);
        let (kind, command) = if cancels {
            (AttemptKind::Cancel, CommandKind::Cancel)
        } else {
            (AttemptKind::Payload, CommandKind::Bump)
        };
        let asked = write!(self, store.request_command(command, open.slot, "walk", "late"));
        asked.map(|it| it.expect("writes"));
        let commands = store.open_commands(CHAIN, 99).await.expect("reads");
        let done: Vec<_> = commands.iter().map(|it| (it.id, "signed".to_owned())).collect();
        let ordinal = u32::try_from(open.attempts.len()).expect("few") + 1;
        let attempts = [NewAttempt { slot_id: open.id, signed: signed(open.slot, kind, ordinal) }];
        write!(self, store.commit_attempts(&leases, &attempts, &done))
            .map(|it| it.expect("commits"));
    }

    async fn send(&mut self) {
        let store = self.fixture.store.clone();
        let claim = format!("claim-{:x}", self.entropy.next_u64());
        let claimed = write!(self, store.claim_sendable(CHAIN, &claim, 5, 300));
        let Some(claimed) = claimed.map(|it| it.expect("claims")) else { return };
        let results: Vec<SendResult> = claimed
            .iter()
            .map(|sendable| SendResult {
                slot_id: sendable.slot_id,
                hash: sendable.hash,
                outcome: "sent".into(),
                accepted: self.entropy.chance(4, 5),
                due_at: self.fixture.now().plus_millis(1_000),
            })
            .collect();
        write!(self, store.record_sends(&claim, &results)).map(|it| it.expect("records"));
    }

    async fn advance(&mut self) {
        let tip = self.tip().await;
        let next = ChainAdvance {
            headers: vec![header(tip + 1, self.fork, self.fork)],
            ..ChainAdvance::default()
        };
        self.advance_by(next).await;
    }

    async fn tip(&self) -> u64 {
        let headers = self.fixture.store.headers(CHAIN, 1).await.expect("reads");
        headers[0].block.number
    }

    async fn advance_by(&mut self, mut advance: ChainAdvance) {
        let Some(lease) = self.monitor_lease().await else { return };
        // A fork of the walk begins anywhere: its first block follows what is stored there.
        let stored = self.fixture.store.headers(CHAIN, 99).await.expect("reads");
        if let Some(first) = advance.headers.first_mut() {
            let parent = stored.iter().find(|it| it.block.number + 1 == first.block.number);
            first.parent_hash = parent.expect("the chain has no gaps").block.hash;
        }
        let store = self.fixture.store.clone();
        let outcome = write!(self, store.advance_chain(&lease, CHAIN, &advance));
        match outcome {
            None | Some(Ok(()) | Err(StoreError::Halted { .. })) => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }

    async fn reorg(&mut self) {
        let tip = self.tip().await;
        let ancestor = tip.saturating_sub(1 + self.entropy.below(2)).max(100);
        self.fork = self.fork.wrapping_add(1);
        let fork = self.fork;
        let advance = ChainAdvance {
            common_ancestor: Some(ancestor),
            headers: (ancestor + 1..=tip).map(|number| header(number, fork, fork)).collect(),
            forget_below: 0,
        };
        self.advance_by(advance).await;
    }

    /// Some of the slots that have bytes are in the newest block, lowest nonces first.
    async fn include(&mut self) {
        let Some(lease) = self.monitor_lease().await else { return };
        let store = self.fixture.store.clone();
        let far = [(sender(0), u64::from(u32::MAX)), (sender(1), u64::from(u32::MAX))];
        let open = store.consumed_slots(CHAIN, &far, 99).await.expect("reads");
        let tip = store.headers(CHAIN, 1).await.expect("reads")[0].block;
        let mut seen = Vec::new();
        for open in open.iter().filter(|open| open.stage != SlotStage::Bound).take(3) {
            seen.push(Inclusion { block: tip, ..self.consumption(open) });
        }
        write!(self, store.include(&lease, &seen)).map(|it| it.expect("includes"));
    }

    fn consumption(&mut self, open: &OpenSlot) -> Inclusion {
        let index = self.entropy.below(open.attempts.len() as u64);
        let attempt = &open.attempts[usize::try_from(index).expect("few")];
        let ordinal = u32::try_from(index).expect("few") + 1;
        let bytes = signed(open.slot, attempt.kind, ordinal);
        let mut inclusion = inclusion(&bound(open), &bytes, crate::rail::block(0, 0));
        inclusion.hash = attempt.hash;
        if inclusion.outcome == SlotOutcome::Paid && self.entropy.chance(1, 6) {
            inclusion.outcome = SlotOutcome::Reverted;
        }
        if self.entropy.chance(1, 20) {
            for (_, item) in &mut inclusion.items {
                *item = ItemOutcome::Short;
            }
        }
        inclusion
    }

    async fn confirm(&mut self) {
        let Some(lease) = self.monitor_lease().await else { return };
        let block = self.tip().await;
        let store = self.fixture.store.clone();
        write!(self, store.confirm(&lease, (CHAIN, block), 99, 2)).map(|it| it.expect("confirms"));
    }

    async fn finalize(&mut self) {
        let Some(lease) = self.monitor_lease().await else { return };
        // Deeper than any reorg of this walk.
        let block = self.tip().await.saturating_sub(2);
        let store = self.fixture.store.clone();
        let at = (CHAIN, block, block_at(block));
        write!(self, store.end_paid(&lease, at, 99, 2)).map(|it| it.expect("ends"));
        let deep = self.fixture.deep(block).await;
        write!(self, store.finalize(&lease, &deep)).map(|it| it.expect("finalizes"));
    }

    async fn cancel(&mut self) {
        let all = self.fixture.all().await;
        let free = |state: &State| matches!(state, State::Pending | State::Queued);
        let Some(record) = all.iter().find(|record| free(&record.state)) else { return };
        let store = self.fixture.store.clone();
        let tenant = self.fixture.tenant;
        write!(self, store.cancel(tenant, record.id, "walk")).map(|it| it.expect("cancels"));
    }
}

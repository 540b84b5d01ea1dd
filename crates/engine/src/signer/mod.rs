//! The signer's role: binds queued payments to slots, signs, journals, and commits the bytes.
//!
//! The order never changes: bind and commit; sign; journal; commit the bytes. Only then may anybody
//! send them. A signer that ends anywhere in between leaves a bound slot, and the next one signs it
//! for the same payments.

mod batch;
mod call;
mod commands;
mod direct;
mod means;
mod pay;
mod plan;
mod prepare;
mod release;
mod resume;
mod standstill;
mod transfer_gas;
mod uncommitted;
mod void;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::Address;
use portcullis_core::chain::ChainSpec;
use portcullis_core::fee::{AboveFeeCap, FeeMarket, Fees, first_fees};
use portcullis_core::intent::SigningIntent;
use portcullis_core::slot::{Rail, Slot};
use portcullis_core::time::Timestamp;
use portcullis_evm::{GasOracle, HeadBlock, ProviderPool};
use portcullis_keys::{Signer, SigningRefusal};
use portcullis_store::Store;
use portcullis_store::lease::Lease;
use portcullis_store::slot::NewAttempt;
use portcullis_store::transition::Stage;

use self::batch::Learned;
use self::standstill::Standstill;
use self::uncommitted::Uncommitted;
use crate::concerns::{Component, Concerns};
use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::lease::LeaseHolder;
use crate::poison::{Narrowing, RETRY_MS, fail_request, is_of_the_work, letter_error};
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts, Surroundings};

/// The signer's role.
pub struct SignerRole {
    store: Store,
    signer: Arc<Signer>,
    chains: Vec<SignerChain>,
    /// When journal and database were compared last.
    compared_at: Mutex<Option<Timestamp>>,
    leases: LeaseHolder,
    settings: EngineSettings,
    around: Surroundings,
    doorbells: Doorbells,
    concerns: Concerns,
    standstill: Standstill,
    uncommitted: Uncommitted,
}

/// Who reads the journal, for the concerns.
const READING: &str = "the signer reads it";

/// One chain of the signer.
struct SignerChain {
    pool: Arc<ProviderPool>,
    oracle: GasOracle,
    /// The vault that its payments go through; `None` where they are plain transfers.
    vault: Option<Address>,
    /// Senders that passed the checks of the start. Empty until then.
    ready: Mutex<BTreeSet<Address>>,
    /// What earlier calls of the vault have taught.
    learned: Mutex<Learned>,
    /// How large the next set of payments may be.
    narrowing: Narrowing,
}

impl SignerChain {
    fn spec(&self) -> &'static ChainSpec {
        self.pool.chain()
    }

    const fn rail(&self) -> Rail {
        if self.vault.is_some() { Rail::Vault } else { Rail::Direct }
    }

    fn lacks_funds(&self) -> bool {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).lacks_funds
    }

    fn ready(&self) -> BTreeSet<Address> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SignerRole {
    /// A signer's role around `signer`.
    #[must_use]
    pub fn new(parts: RoleParts, signer: Arc<Signer>) -> Self {
        let RoleParts { store, pools, vaults, settings, around, doorbells, concerns } = parts;
        let chains = pools
            .into_iter()
            .map(|pool| SignerChain {
                oracle: GasOracle::new(pool.as_ref().clone(), store.clock()),
                vault: vaults.get(&pool.chain().chain_id).copied(),
                ready: Mutex::default(),
                learned: Mutex::default(),
                narrowing: Narrowing::default(),
                pool,
            })
            .collect();
        let leases = LeaseHolder::new(store.clone(), around.clone(), settings.lease_ms);
        let compared_at = Mutex::default();
        let standstill = Standstill::new(concerns.clone());
        Self {
            store,
            signer,
            chains,
            compared_at,
            leases,
            settings,
            around,
            doorbells,
            concerns,
            standstill,
            uncommitted: Uncommitted::default(),
        }
    }

    /// One set of work for each chain. A halted engine signs nothing. A node that does not answer
    /// stops its own chain only.
    ///
    /// # Errors
    /// When the database, the journal or a node does not answer.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        contained(&self.store, self.try_step().await).await
    }

    async fn try_step(&self) -> Result<Progress, EngineError> {
        if !self.store.halts().await?.is_empty() {
            return Ok(Progress::Idle);
        }
        self.read_journal().await?;
        if !self.still_agrees().await? {
            return Ok(Progress::Idle);
        }
        let mut progress = Progress::Idle;
        let mut failed = None;
        for chain in &self.chains {
            match self.step_chain(chain).await {
                Ok(done) => progress = progress.or(done),
                Err(error) => {
                    if error.is_lost_race() {
                        self.leases.forget();
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(progress), Err)
    }

    /// Reads what other signers have written, where they share the journal; mends a file.
    async fn read_journal(&self) -> Result<(), EngineError> {
        if let Err(error) = self.signer.catch_up().await {
            let now = self.store.now();
            self.concerns.failing(Component::Journal, READING, now, &error);
            return Err(error.into());
        }
        if self.concerns.well(Component::Journal, READING) {
            self.standstill.journal_goes_on();
        }
        Ok(())
    }

    /// Gives the leases back, so that another signer need not wait for them to run out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn release(&self) -> Result<(), EngineError> {
        Ok(self.leases.release().await?)
    }

    async fn step_chain(&self, chain: &SignerChain) -> Result<Progress, EngineError> {
        let ready = self.prepared(chain).await?;
        if ready.is_empty() {
            return Ok(Progress::Idle);
        }
        let chain_id = chain.spec().chain_id;
        let names: Vec<String> =
            ready.iter().map(|address| format!("sender:{chain_id}:{address}")).collect();
        let leases = self.leases.hold(&names).await?;
        let mut held: Vec<Held> = ready
            .into_iter()
            .zip(&names)
            .filter_map(|(address, name)| {
                let lease = leases.iter().find(|lease| lease.name == *name)?;
                Some(Held { address, lease: lease.clone() })
            })
            .collect();
        if held.is_empty() {
            return Ok(Progress::Idle);
        }
        let now = self.store.now();
        let rest_ms = |held: &Held| self.standstill.rest_ms(chain_id, held.address, now);
        let rests_ms = held.iter().filter_map(rest_ms).min();
        held.retain(|held| rest_ms(held).is_none());
        if held.is_empty() {
            return Ok(rests_ms.map_or(Progress::Idle, Progress::IdleFor));
        }
        let resumed = self.resume(chain, &held).await?;
        // One that gave nothing just now is not asked twice in a step.
        held.retain(|held| rest_ms(held).is_none());
        let commanded = self.obey(chain, &held).await?;
        // A wallet whose key gave nothing has one slot that waits for it, and gets no more.
        held.retain(|held| !self.standstill.is_on_trial(chain_id, held.address));
        let opened = self.open_slots(chain, &held).await?;
        let progress = resumed.or(commanded).or(opened);
        if progress == Progress::Worked {
            self.doorbells.ring(Bell::Broadcast);
        }
        Ok(progress)
    }

    /// Voids and payments, in slots of their own.
    async fn open_slots(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        if held.is_empty() {
            return Ok(Progress::Idle);
        }
        // One call at most, and before the payments: they would take every free slot for as long as there are any.
        let voided = self.void(chain, held).await;
        // The largest part of a step by far.
        let paid = match Box::pin(self.pay(chain, held)).await {
            Ok(paid) => paid,
            Err(error) => return Err(self.blame(chain, error).await?),
        };
        if paid == Progress::Worked {
            chain.narrowing.widen();
        }
        Ok(paid.or(voided?))
    }

    /// A set that cannot be paid is halved; one that fails alone has failed a receive. Returns the error.
    async fn blame(
        &self,
        chain: &SignerChain,
        error: EngineError,
    ) -> Result<EngineError, EngineError> {
        let chain_id = Some(chain.spec().chain_id);
        if is_of_the_work(&error)
            && chain.narrowing.narrow(self.payments_max(chain))
            && let Some(id) = self.store.first_due(Stage::Sign, chain_id).await?
        {
            fail_request(&self.store, &self.around, id, letter_error(&error), RETRY_MS).await?;
        }
        Ok(error)
    }

    /// The first price of this chain now; `None` while it is above the cap.
    async fn first_price(&self, chain: &SignerChain) -> Result<Option<Fees>, EngineError> {
        let head = chain.pool.head().await?;
        Ok(self.first_price_at(chain, &head).await)
    }

    /// The same at a head that was just read.
    async fn first_price_at(&self, chain: &SignerChain, head: &HeadBlock) -> Option<Fees> {
        let market = chain.oracle.market_at(head).await;
        priced(chain, first_fees(market, chain.spec().fee_bounds), market)
    }

    /// Signs, journals and commits. What is refused comes back with its reason, and no command counts as done then; a
    /// journal that knows more than the database halts the engine.
    async fn sign_and_commit(
        &self,
        leases: &[Lease],
        asked: Vec<(portcullis_core::id::SlotId, SigningIntent)>,
        commands: &[(i64, String)],
    ) -> Result<Vec<(portcullis_core::id::SlotId, SigningRefusal)>, EngineError> {
        let (ids, intents): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let slots: Vec<Slot> = intents.iter().map(|intent: &SigningIntent| intent.slot).collect();
        let outcomes = self.signer.sign(intents).await;
        let mut attempts = Vec::with_capacity(outcomes.len());
        let (mut refused, mut refused_slots) = (Vec::new(), Vec::new());
        for ((slot_id, slot), outcome) in ids.into_iter().zip(slots).zip(outcomes) {
            match outcome {
                Ok(signed) => {
                    self.standstill.signed(slot);
                    attempts.push(NewAttempt { slot_id, signed });
                }
                Err(refusal) => {
                    refused_slots.push(slot);
                    refused.push((slot_id, refusal));
                }
            }
        }
        // After those that were given: what is throttled gives some and not others.
        let now = self.store.now();
        for (slot, (_, refusal)) in refused_slots.into_iter().zip(&refused) {
            metrics::counter!("portcullis_signing_refusals_total").increment(1);
            if !self.standstill.refused(slot, refusal, now) {
                self.report(refusal).await?;
            }
        }
        let commands = if refused.is_empty() { commands } else { &[] };
        self.commit(leases, attempts, commands).await?;
        Ok(refused)
    }

    /// Commits what was signed; what could not be is kept for the next step.
    async fn commit(
        &self,
        leases: &[Lease],
        attempts: Vec<NewAttempt>,
        commands: &[(i64, String)],
    ) -> Result<(), EngineError> {
        if attempts.is_empty() && commands.is_empty() {
            return Ok(());
        }
        let committed = self.store.commit_attempts(leases, &attempts, commands).await;
        if committed.is_err() {
            self.uncommitted.keep(attempts);
        }
        Ok(committed?)
    }

    async fn report(&self, refusal: &SigningRefusal) -> Result<(), EngineError> {
        tracing::error!(%refusal, "the signer refused");
        if refusal.journal_knows_more() {
            self.store.raise_halt("journal", &refusal.to_string()).await?;
        }
        Ok(())
    }
}

/// A sender that this process may write for.
struct Held {
    address: Address,
    lease: Lease,
}

/// The fees, or an alarm and nothing while the chain asks for more than the cap.
fn priced(chain: &SignerChain, fees: Result<Fees, AboveFeeCap>, market: FeeMarket) -> Option<Fees> {
    match fees {
        Ok(fees) => Some(fees),
        Err(above) => {
            let network = chain.spec().network;
            tracing::warn!(network, base_fee_wei = market.base_fee_wei, "{above}");
            metrics::counter!("portcullis_fee_cap_waits_total", "network" => network).increment(1);
            None
        }
    }
}

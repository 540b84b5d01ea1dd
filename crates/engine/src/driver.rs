//! The driver: steps roles until they are idle, then waits for a doorbell or the poll interval.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::seal::SealingKeys;
use portcullis_evm::ProviderPool;
use portcullis_keys::Signer;
use portcullis_store::Store;
use tokio::sync::watch;

use crate::broadcaster::Broadcaster;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::monitor::Monitor;
use crate::processor::Processor;
use crate::recovery::Recovery;
use crate::role::Role;
use crate::settings::EngineSettings;
use crate::signer::SignerRole;
use crate::{Progress, Surroundings};

/// How long a role rests after an error, so that a dead node or database is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(500);

/// Everything that roles are made of.
pub struct EngineParts {
    /// The store.
    pub store: Store,
    /// One pool of providers for each chain.
    pub pools: Vec<Arc<ProviderPool>>,
    /// The signer, where this process signs.
    pub signer: Option<Arc<Signer>>,
    /// The keys that seal rows.
    pub sealing_keys: Arc<SealingKeys>,
    /// How the roles work.
    pub settings: EngineSettings,
    /// Time, randomness and the name of this process.
    pub around: Surroundings,
    /// The doorbells of this process.
    pub doorbells: Doorbells,
}

/// The roles of one process.
pub struct Engine {
    parts: EngineParts,
}

impl Engine {
    /// An engine of these parts.
    #[must_use]
    pub const fn new(parts: EngineParts) -> Self {
        Self { parts }
    }

    /// Runs roles until `stop` becomes true; each finishes the step in hand. The api role is not
    /// the engine's.
    ///
    /// # Errors
    /// [`EngineError::Incomplete`] at once, when a role lacks a part.
    pub async fn run(
        &self,
        roles: &[Role],
        stop: watch::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let signer = match (roles.contains(&Role::Signer), &self.parts.signer) {
            (false, _) => None,
            (true, Some(signer)) => Some(Arc::clone(signer)),
            (true, None) => {
                let missing = "a keystore is needed; configure [signer]".to_owned();
                return Err(EngineError::Incomplete { role: "signer", missing });
            }
        };
        let has = |role| roles.contains(&role);
        tokio::join!(
            self.run_processor(has(Role::Processor), stop.clone()),
            self.run_signer(signer, stop.clone()),
            self.run_broadcaster(has(Role::Broadcaster), stop.clone()),
            self.run_monitor(has(Role::Monitor), stop.clone()),
            self.run_recovery(has(Role::Recovery), stop),
        );
        Ok(())
    }

    async fn run_processor(&self, served: bool, stop: watch::Receiver<bool>) {
        let parts = &self.parts;
        let chain_ids = parts.pools.iter().map(|pool| pool.chain().chain_id).collect();
        let keys = Arc::clone(&parts.sealing_keys);
        let doorbells = parts.doorbells.clone();
        let role = Processor::new(parts.store.clone(), keys, chain_ids, parts.settings, doorbells);
        if served {
            self.drive("processor", Bell::Validate, self.poll(), stop, || role.step()).await;
        }
    }

    async fn run_signer(&self, signer: Option<Arc<Signer>>, stop: watch::Receiver<bool>) {
        let Some(signer) = signer else { return };
        let parts = &self.parts;
        let role = SignerRole::new(
            parts.store.clone(),
            signer,
            &parts.pools,
            parts.settings,
            parts.around.clone(),
            parts.doorbells.clone(),
        );
        self.drive("signer", Bell::Sign, self.poll(), stop, || role.step()).await;
        given_back("signer", role.release().await);
    }

    async fn run_broadcaster(&self, served: bool, stop: watch::Receiver<bool>) {
        let parts = &self.parts;
        let role = Broadcaster::new(
            parts.store.clone(),
            parts.pools.clone(),
            parts.settings,
            parts.around.clone(),
            parts.doorbells.clone(),
        );
        if served {
            self.drive("broadcaster", Bell::Broadcast, self.poll(), stop, || role.step()).await;
        }
    }

    async fn run_monitor(&self, served: bool, stop: watch::Receiver<bool>) {
        let parts = &self.parts;
        let role = Monitor::new(
            parts.store.clone(),
            parts.pools.clone(),
            parts.settings,
            parts.around.clone(),
            parts.doorbells.clone(),
        );
        if served {
            self.drive("monitor", Bell::Monitor, self.poll(), stop, || role.step()).await;
            given_back("monitor", role.release().await);
        }
    }

    async fn run_recovery(&self, served: bool, stop: watch::Receiver<bool>) {
        let parts = &self.parts;
        let role = Recovery::new(
            parts.store.clone(),
            parts.pools.clone(),
            parts.settings,
            parts.around.clone(),
            parts.doorbells.clone(),
        );
        if served {
            let poll = self.poll().saturating_mul(4);
            self.drive("recovery", Bell::Recover, poll, stop, || role.step()).await;
        }
    }

    const fn poll(&self) -> Duration {
        Duration::from_millis(self.parts.settings.poll_interval_ms)
    }

    /// Steps one role until `stop`. Errors end a step, never the role.
    async fn drive<F, S>(
        &self,
        role: &'static str,
        bell: Bell,
        poll: Duration,
        mut stop: watch::Receiver<bool>,
        step: F,
    ) where
        F: Fn() -> S,
        S: Future<Output = Result<Progress, EngineError>>,
    {
        tracing::info!(role, "the role is running");
        while !*stop.borrow_and_update() {
            let pause = match step().await {
                Ok(Progress::Worked) => continue,
                Ok(Progress::Idle) => poll,
                Err(error) if error.is_lost_race() => {
                    tracing::debug!(role, %error, "another writer was first");
                    metrics::counter!("lost_races_total", "role" => role).increment(1);
                    // Long enough that two of a kind do not chase each other.
                    poll / 4
                }
                Err(error) => {
                    tracing::warn!(role, %error, "a step failed; nothing is lost, it runs again");
                    metrics::counter!("step_errors_total", "role" => role).increment(1);
                    ERROR_PAUSE.max(poll)
                }
            };
            tokio::select! {
                () = self.parts.doorbells.wait(bell, pause) => {}
                _ = stop.changed() => {}
            }
        }
        tracing::info!(role, "the role has stopped");
    }
}

fn given_back(role: &'static str, result: Result<(), EngineError>) {
    if let Err(error) = result {
        tracing::warn!(role, %error, "leases were not given back; they run out by themselves");
    }
}

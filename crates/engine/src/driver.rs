//! The driver: steps roles until they are idle, then waits for a doorbell or the poll interval.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::seal::SealingKeys;
use portcullis_keys::Signer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::broadcaster::Broadcaster;
use crate::doorbell::{Bell, Doorbells, Rest};
use crate::error::EngineError;
use crate::monitor::Monitor;
use crate::processor::Processor;
use crate::recovery::Recovery;
use crate::role::Role;
use crate::signer::SignerRole;
use crate::{Progress, RoleParts};

/// How long a role rests after an error, so that a dead node or database is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(500);

/// What the engine of one process is made of.
pub struct EngineParts {
    /// What every role has.
    pub roles: RoleParts,
    /// The signer, where this process signs.
    pub signer: Option<Arc<Signer>>,
    /// The keys that seal rows.
    pub sealing_keys: Arc<SealingKeys>,
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
    /// [`EngineError::Incomplete`] at once, when a role lacks a part; [`EngineError::Panicked`] when a
    /// role ended by a bug: the process should end then, and the next one goes on.
    pub async fn run(
        &self,
        roles: &[Role],
        stop: watch::Receiver<bool>,
    ) -> Result<(), EngineError> {
        let mut running = JoinSet::new();
        for role in roles {
            match role {
                Role::Api => {}
                Role::Processor => drop(running.spawn(self.processor(stop.clone()))),
                Role::Signer => drop(running.spawn(self.signer(stop.clone())?)),
                Role::Broadcaster => drop(running.spawn(self.broadcaster(stop.clone()))),
                Role::Monitor => drop(running.spawn(self.monitor(stop.clone()))),
                Role::Recovery => drop(running.spawn(self.recovery(stop.clone()))),
            }
        }
        while let Some(ended) = running.join_next().await {
            if let Err(error) = ended {
                return Err(EngineError::Panicked { cause: error.to_string() });
            }
        }
        Ok(())
    }

    fn processor(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
        let role = Processor::new(self.roles(), Arc::clone(&self.parts.sealing_keys));
        let turns = self.turns("processor", Bell::Validate, 1, stop);
        async move { turns.drive(|| role.step()).await }
    }

    fn signer(
        &self,
        stop: watch::Receiver<bool>,
    ) -> Result<impl Future<Output = ()> + Send + 'static, EngineError> {
        let Some(signer) = &self.parts.signer else {
            let missing = "a keystore is needed; configure [signer]".to_owned();
            return Err(EngineError::Incomplete { role: "signer", missing });
        };
        let role = SignerRole::new(self.roles(), Arc::clone(signer));
        let turns = self.turns("signer", Bell::Sign, 1, stop);
        Ok(async move {
            turns.drive(|| role.step()).await;
            given_back("signer", role.release().await);
        })
    }

    fn broadcaster(
        &self,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let role = Broadcaster::new(self.roles());
        let turns = self.turns("broadcaster", Bell::Broadcast, 1, stop);
        async move { turns.drive(|| role.step()).await }
    }

    fn monitor(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
        let role = Monitor::new(self.roles());
        let turns = self.turns("monitor", Bell::Monitor, 1, stop);
        async move {
            turns.drive(|| role.step()).await;
            given_back("monitor", role.release().await);
        }
    }

    fn recovery(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
        let role = Recovery::new(self.roles());
        let turns = self.turns("recovery", Bell::Recover, 4, stop);
        async move { turns.drive(|| role.step()).await }
    }

    fn roles(&self) -> RoleParts {
        self.parts.roles.clone()
    }

    fn turns(
        &self,
        role: &'static str,
        bell: Bell,
        polls: u32,
        stop: watch::Receiver<bool>,
    ) -> Turns {
        let poll = Duration::from_millis(self.parts.roles.settings.poll_interval_ms);
        let poll = poll.saturating_mul(polls);
        Turns { role, bell, poll, stop, doorbells: self.parts.roles.doorbells.clone() }
    }
}

/// When one role takes its turns.
struct Turns {
    role: &'static str,
    bell: Bell,
    poll: Duration,
    stop: watch::Receiver<bool>,
    doorbells: Doorbells,
}

impl Turns {
    /// Steps the role until `stop`. Errors end a step, never the role. An error is told when it begins
    /// and when it is over, not at every repetition.
    async fn drive<F, S>(mut self, step: F)
    where
        F: Fn() -> S,
        S: Future<Output = Result<Progress, EngineError>>,
    {
        let role = self.role;
        tracing::info!(role, "the role is running");
        let mut failing: Option<String> = None;
        while !*self.stop.borrow_and_update() {
            let outcome = step().await;
            match &outcome {
                Ok(Progress::Worked) => {}
                Ok(Progress::Idle | Progress::IdleFor(_)) => {
                    self.doorbells.rested(self.bell, Rest::Idle);
                }
                Err(error) if error.is_lost_race() => {}
                Err(_) => self.doorbells.rested(self.bell, Rest::Failed),
            }
            if outcome.is_ok() && failing.take().is_some() {
                tracing::info!(role, "the role goes on: its last steps had failed");
            }
            let pause = match outcome {
                Ok(Progress::Worked) => continue,
                Ok(Progress::Idle) => self.poll,
                Ok(Progress::IdleFor(rest_ms)) => {
                    self.poll.min(Duration::from_millis(rest_ms.max(1)))
                }
                Err(error) if error.is_lost_race() => {
                    tracing::debug!(role, %error, "another writer was first");
                    metrics::counter!("portcullis_lost_races_total", "role" => role).increment(1);
                    // Long enough that two of a kind do not chase each other.
                    self.poll / 4
                }
                Err(error) => {
                    let error = error.to_string();
                    if failing.as_ref() != Some(&error) {
                        tracing::warn!(
                            role,
                            error,
                            "a step failed; nothing is lost, it runs again"
                        );
                    }
                    failing = Some(error);
                    metrics::counter!("portcullis_step_errors_total", "role" => role).increment(1);
                    ERROR_PAUSE.max(self.poll)
                }
            };
            tokio::select! {
                _rang = self.doorbells.wait(self.bell, pause) => {}
                _ = self.stop.changed() => {}
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

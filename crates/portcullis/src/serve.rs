//! `serve`: one process, from its start to its graceful end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use portcullis_core::seal::SealingKeys;
use portcullis_core::time::Clock;
use portcullis_engine::{Concerns, Doorbells, Engine, EngineParts, RoleParts, Surroundings};
use portcullis_keys::Signer;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinError;

use crate::cli::ServeArgs;
use crate::clock::ClockWatch;
use crate::config::{Config, ConfigError};
use crate::connections::{ConnectionLimits, serve_http};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::guard::{self, FileGuard};
use crate::holder::Holder;
use crate::logging::{self, Identity};
use crate::roles::Roles;
use crate::stop::{Signals, stopped};
use crate::watch::watch_database;
use crate::wire::{self, Foundation};
use crate::{random, telemetry};

/// Threads for what blocks: the passphrase, the journal, files, name look-ups.
const BLOCKING_THREADS_MAX: usize = 16;

/// How long a client may take to send a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// How long doorbells may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Serves until a signal ends it.
pub(crate) fn serve(
    arguments: &ServeArgs,
    mut config: Config,
    clock: Arc<dyn Clock>,
) -> Result<(), Failure> {
    let roles = Roles::of(&arguments.role);
    if let Some(address) = arguments.listen {
        if roles.has_api() {
            config.server.listen = address;
        } else {
            config.server.probe_listen = Some(address);
        }
    }
    config.refuse_foreign_credentials(roles.all()).map_err(ConfigError::Invalid)?;
    let instance = format!("run_{:032x}", random::entropy()?);
    let identity = Identity { service: roles.service_name(), instance: instance.clone() };
    logging::install(&config.log, identity, Arc::clone(&clock))
        .map_err(|error| Failure::failed("cannot start logging", &error))?;
    logging::tell_panics();
    let holder = Holder::claim(&config.home(), config.database.is_embedded(), &roles, &instance)?;
    let threads = config.server.worker_threads;
    let (working, answering) = (runtime(threads, "roles")?, runtime(threads, "requests")?);
    let requests = answering.handle().clone();
    let outcome = working.block_on(Process { roles, config, clock, holder, requests }.run());
    // What still blocks, blocks on something that is safe to leave: everything durable is committed.
    working.shutdown_timeout(Duration::from_millis(100));
    answering.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Roles and requests have threads of their own: the system lets a request in while the roles compute.
fn runtime(threads: usize, name: &str) -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("cannot start the runtime", &error))
}

struct Process {
    roles: Roles,
    config: Config,
    clock: Arc<dyn Clock>,
    holder: Holder,
    /// Where requests are answered.
    requests: Handle,
}

impl Process {
    async fn run(self) -> Result<(), Failure> {
        let signals = Signals::listen()?;
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(signals.obey(stop.clone()));
        let metrics = telemetry::install()?;
        tokio::spawn(telemetry::keep_up(metrics.clone()));
        // Before anything is opened: a second process on the same port ends here.
        let listener = self.listen().await?;
        let foundation = Foundation::lay(&self.config, Arc::clone(&self.clock)).await?;
        let fleet = Fleet::join(&self.config, &self.roles, &foundation.clock).await?;
        let concerns = Concerns::default();
        concerns.show_gauges();
        tokio::spawn(watch_database(foundation.store.clone(), concerns.clone()));
        let engine = self.engine(&foundation, &fleet.doorbells, &concerns).await?;
        let files =
            FileGuard::over(&foundation.store, &self.config, Arc::clone(&self.clock)).await?;
        let keeping = files.clone().map(|files| tokio::spawn(files.keep()));
        let router = wire::router(wire::RouterParts {
            foundation: &foundation,
            config: &self.config,
            metrics,
            fleet: &fleet,
            concerns: concerns.clone(),
            stopping: stopping.clone(),
        });
        fleet.gossip(&foundation.chains, &foundation.clock, stopping.clone());
        tokio::spawn(ClockWatch::over(foundation.store.clone(), concerns.clone()).keep());
        let lease_ms = self.config.engine.settings.lease_ms;
        let messenger =
            fleet.messenger(&foundation.store, self.surroundings(), lease_ms, &concerns);
        let carrying = messenger.map(|messenger| tokio::spawn(messenger.run(stopping.clone())));
        let router = if self.roles.has_api() { router } else { router.layer(from_fn(only_probes)) };
        let (close, closing) = watch::channel(false);
        let limits = ConnectionLimits {
            connections_max: self.config.server.connections_max,
            head_wait: HEAD_WAIT,
        };
        let mut serving = self.requests.spawn(serve_http(listener, router, limits, closing));
        let mut working = tokio::spawn(work(engine, self.roles.clone(), stopping));
        let outcome = tokio::select! {
            outcome = &mut working => finished(outcome),
            outcome = &mut serving => {
                // It serves until it is closed: whatever this is, no request comes in any more.
                stop.send_replace(true);
                finished(working.await)?;
                return finished(outcome.map(Ok)).and(Err(Failure::Failed("the listener ended".to_owned())));
            }
        };
        stop.send_replace(true);
        close.send_replace(true);
        let drain = Duration::from_millis(self.config.server.drain_ms);
        if let Ok(ended) = tokio::time::timeout(drain, serving).await {
            finished(ended.map(Ok))?;
        } else {
            tracing::warn!(
                drain_ms = self.config.server.drain_ms,
                "some requests were still open and got no answer; their outcome is in the database"
            );
        }
        if let Some(carrying) = carrying {
            // It gives back what it was told and did not do; who does not hear that waits a little longer.
            let _given_back = tokio::time::timeout(GIVE_BACK, carrying).await;
        }
        if let (Some(files), Some(keeping)) = (files, keeping) {
            keeping.abort();
            // Closing writes into the file too.
            files.look().await;
        }
        foundation.store.close().await;
        tracing::info!("stopped");
        outcome
    }

    async fn listen(&self) -> Result<TcpListener, Failure> {
        let server = &self.config.server;
        let address = if self.roles.has_api() {
            server.listen
        } else {
            server.probe_address(self.roles.port())
        };
        let key = if self.roles.has_api() { "server.listen" } else { "server.probe_listen" };
        let bound = self.requests.spawn(TcpListener::bind(address)).await;
        let listener = finished(bound.map(|bound| {
            bound.map_err(|error| {
                Failure::Unavailable(format!("cannot listen on {address} ({key}): {error}"))
            })
        }))?;
        let roles = self.roles.names();
        // Port 0 takes any free one: the log says which.
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(%address, roles, version = env!("CARGO_PKG_VERSION"), "listening");
        Ok(listener)
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { entropy: random::source(), instance: self.holder.name.clone() }
    }

    /// The engine; `None` in a process that only takes requests in.
    async fn engine(
        &self,
        foundation: &Foundation,
        doorbells: &Doorbells,
        concerns: &Concerns,
    ) -> Result<Option<Engine>, Failure> {
        if self.roles.workers().is_empty() {
            guard::notice_old_copy(&foundation.store, None).await?;
            return Ok(None);
        }
        let signer = if self.roles.has_signer() {
            let sealing = SealingKeys::clone(&foundation.sealing_keys);
            let (deployment, clock) = (foundation.deployment.id, Arc::clone(&foundation.clock));
            let signer = wire::signer(&self.config, sealing, deployment, clock);
            Some(Arc::new(Box::pin(signer).await?))
        } else {
            None
        };
        // Nothing is served yet: an old copy of the database takes no request in.
        let journal = signer.as_deref().map(Signer::journal);
        guard::notice_old_copy(&foundation.store, journal).await?;
        let roles = RoleParts {
            store: foundation.store.clone(),
            pools: foundation.chains.iter().map(|chain| Arc::clone(&chain.pool)).collect(),
            vaults: self.config.vaults(),
            settings: self.config.engine.settings,
            around: self.surroundings(),
            doorbells: doorbells.clone(),
            concerns: concerns.clone(),
        };
        let sealing_keys = Arc::clone(&foundation.sealing_keys);
        Ok(Some(Engine::new(EngineParts { roles, signer, sealing_keys })))
    }
}

/// Runs the roles until a stop was asked for and the work in hand is finished.
async fn work(
    engine: Option<Engine>,
    roles: Roles,
    stopping: watch::Receiver<bool>,
) -> Result<(), Failure> {
    match engine {
        None => {
            stopped(stopping).await;
            Ok(())
        }
        Some(engine) => Box::pin(engine.run(&roles.workers(), stopping))
            .await
            .map_err(|error| Failure::failed("the engine stopped", &error)),
    }
}

/// What a process without the API answers; every other path is unknown to it.
async fn only_probes(request: Request, next: Next) -> Response {
    if ["/livez", "/readyz", "/health", "/metrics"].contains(&request.uri().path()) {
        return next.run(request).await;
    }
    StatusCode::NOT_FOUND.into_response()
}

/// The outcome of a task; one that panicked has failed.
fn finished<T>(outcome: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    outcome.unwrap_or_else(|error| Err(Failure::failed("a task ended unexpectedly", &error)))
}

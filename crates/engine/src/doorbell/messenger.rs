//! Carries rings between processes: out to SQS and Redis, in from both, and keeps the queues at what the database says.

use std::sync::Arc;
use std::time::Duration;

use portcullis_cache::Cache;
use portcullis_core::time::Clock;
use portcullis_store::Store;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::consumer::Consumer;
use super::queue::Queue;
use super::relay::Relay;
use super::sqs::{SqsError, SqsQueues};
use super::{Bell, Doorbells, Way};
use crate::Surroundings;
use crate::concerns::{Component, Concerns};

/// How often the queues are compared with the database.
const RELAY_INTERVAL: Duration = Duration::from_secs(5);
/// How long nothing is sent to an SQS that does not answer.
const SEND_PAUSE: Duration = Duration::from_secs(1);

/// The queue that is asked whether the queues answer.
const LOOKED_AT: Queue = Queue::ALL[0];

/// What carries the rings of one process. Everything that it carries may be lost.
pub struct Messenger {
    /// The bells of this process.
    pub doorbells: Doorbells,
    /// SQS, where one is configured.
    pub queues: Option<Arc<SqsQueues>>,
    /// Redis, where one is configured.
    pub cache: Option<Arc<dyn Cache>>,
    /// What is true.
    pub store: Store,
    /// The name of this process.
    pub around: Surroundings,
    /// How long a lease holds without being prolonged.
    pub lease_ms: i64,
    /// Where an SQS that does not answer is reported.
    pub concerns: Concerns,
}

impl Messenger {
    /// Carries until `stop`. What was received and is not done goes back at once then.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let served: Vec<Bell> =
            Bell::ALL.into_iter().filter(|bell| self.doorbells.is_served(*bell)).collect();
        if let Some(cache) = &self.cache {
            tasks.spawn(until(stop.clone(), hear(Arc::clone(cache), self.doorbells.clone())));
            tasks.spawn(until(
                stop.clone(),
                carry_by_redis(self.doorbells.clone(), Arc::clone(cache)),
            ));
        }
        if let Some(queues) = &self.queues {
            for bell in served {
                let Some(queue) = Queue::of(bell) else { continue };
                let consumer = Consumer::new(
                    Arc::clone(queues),
                    queue,
                    bell,
                    self.doorbells.clone(),
                    self.store.clone(),
                    self.exchanges("receives from"),
                );
                tasks.spawn(consumer.run(stop.clone()));
            }
            let relay = self.relay(queues);
            let looking = self.exchanges("looks at");
            tasks.spawn(until(stop.clone(), keep_up(relay, Arc::clone(queues), looking)));
            let sending = self.exchanges("sends to");
            tasks.spawn(until(
                stop.clone(),
                carry_by_sqs(self.doorbells.clone(), Arc::clone(queues), sending),
            ));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "doorbells are not carried any more: the timers ring");
            }
        }
    }

    fn exchanges(&self, who: &'static str) -> Exchanges {
        Exchanges::new(self.concerns.clone(), &self.store, who)
    }

    fn relay(&self, queues: &Arc<SqsQueues>) -> Relay {
        Relay::new(Arc::clone(queues), self.store.clone(), self.around.clone(), self.lease_ms)
    }
}

/// Runs what never ends until a stop is asked for.
async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stopped(&mut stop) => {}
    }
}

/// Until a stop is asked for, or nobody can ask any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _asked = stop.wait_for(|stopping| *stopping).await;
}

/// Rings of this process, for the others.
async fn carry_by_redis(doorbells: Doorbells, cache: Arc<dyn Cache>) {
    loop {
        for bell in doorbells.rung_for_others(Way::Redis).await {
            cache.ring(bell.as_str()).await;
        }
    }
}

/// The same by SQS, which may take half a minute to be silent.
async fn carry_by_sqs(doorbells: Doorbells, queues: Arc<SqsQueues>, exchanges: Exchanges) {
    loop {
        for bell in doorbells.rung_for_others(Way::Sqs).await {
            let Some(queue) = Queue::of(bell) else { continue };
            let sent = queues.send(&queues.name(queue), &body_of(queue), 1).await;
            if exchanges.note(queue, sent) {
                tokio::time::sleep(SEND_PAUSE).await;
            }
        }
    }
}

/// Rings of others, for this process.
async fn hear(cache: Arc<dyn Cache>, doorbells: Doorbells) {
    let mut rings = cache.listen();
    loop {
        let heard = rings.recv().await;
        for bell in Bell::ALL.into_iter().filter(|bell| doorbells.is_served(*bell)) {
            // Who missed some looks everywhere.
            let is_meant = match &heard {
                Ok(name) => name == bell.as_str(),
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => return,
            };
            if is_meant {
                doorbells.ring_here(bell);
            }
        }
    }
}

/// Keeps the queues at what the database says, and looks whether they answer: in most processes nobody else asks them
/// anything for long.
async fn keep_up(relay: Relay, queues: Arc<SqsQueues>, exchanges: Exchanges) {
    let mut failing = false;
    loop {
        let counted = queues.count(&queues.name(LOOKED_AT)).await;
        if exchanges.note(LOOKED_AT, counted.map(|_| ())) {
            tokio::time::sleep(RELAY_INTERVAL).await;
            continue;
        }
        match relay.step().await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the queues follow the database again");
            }
            Ok(()) => {}
            Err(error) if failing => tracing::debug!(%error, "the queues do not follow yet"),
            Err(error) => {
                failing = true;
                tracing::warn!(
                    %error,
                    "the queues do not follow the database: scalers read old numbers, payments go on"
                );
            }
        }
        tokio::time::sleep(RELAY_INTERVAL).await;
    }
}

/// What a message says, to people: a program that reads it looks into the database.
pub(super) fn body_of(queue: Queue) -> String {
    let stage = queue.stage().map_or("none", portcullis_store::transition::Stage::as_str);
    serde_json::json!({ "queue": queue.as_str(), "stage": stage }).to_string()
}

/// Counts what was asked of SQS, and reports what it did not do.
pub(super) struct Exchanges {
    concerns: Concerns,
    clock: Arc<dyn Clock>,
    /// Who asks: each part of the process misses SQS by itself.
    who: &'static str,
}

impl Exchanges {
    pub(super) fn new(concerns: Concerns, store: &Store, who: &'static str) -> Self {
        Self { concerns, clock: store.clock(), who }
    }

    /// Whether it failed.
    pub(super) fn note(&self, queue: Queue, outcome: Result<(), SqsError>) -> bool {
        let name = queue.as_str();
        let who = format!("{} {name}", self.who);
        match outcome {
            Ok(()) => {
                self.concerns.well(Component::Queues, &who);
                metrics::counter!("portcullis_doorbell_exchanges_total", "queue" => name)
                    .increment(1);
                false
            }
            Err(error) => {
                self.concerns.failing(Component::Queues, &who, self.clock.now(), &error);
                metrics::counter!("portcullis_doorbell_failures_total", "queue" => name)
                    .increment(1);
                true
            }
        }
    }
}

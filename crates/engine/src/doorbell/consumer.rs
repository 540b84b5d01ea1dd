//! Receives the doorbells of one role, and holds them until what they stand for has left its stage.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use portcullis_core::time::Timestamp;
use portcullis_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;

use super::messenger::{Exchanges, stopped};
use super::queue::{Queue, sets_of};
use super::sqs::{LONG_POLL_SECONDS, Received, SqsError, SqsQueues};
use super::{Bell, Doorbells, Rest};

/// Messages that one process holds at most. What is beyond them waits where others see it.
const HELD_MAX: usize = 50;
/// How often the database is asked whether the work of what is held is done.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is received from an SQS that does not answer.
const RECEIVE_PAUSE: Duration = Duration::from_secs(2);
/// How long a message stays out of sight whose role failed: then it is somebody's again, and one receive nearer to the
/// dead letters.
const RETRY_SECONDS: u32 = 10;

/// See the module.
pub(super) struct Consumer {
    queues: Arc<SqsQueues>,
    queue: Queue,
    name: String,
    bell: Bell,
    doorbells: Doorbells,
    store: Store,
    held: Vec<Held>,
    prolonged_at: Instant,
    exchanges: Exchanges,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    handle: String,
    sent_at: Timestamp,
}

/// `None` where SQS was not asked.
type Receiving = BoxFuture<'static, Result<Option<Vec<Received>>, SqsError>>;

impl Consumer {
    pub(super) fn new(
        queues: Arc<SqsQueues>,
        queue: Queue,
        bell: Bell,
        doorbells: Doorbells,
        store: Store,
        exchanges: Exchanges,
    ) -> Self {
        let (name, prolonged_at) = (queues.name(queue), Instant::now());
        let held = Vec::new();
        Self { queues, queue, name, bell, doorbells, store, held, prolonged_at, exchanges }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut rests = self.doorbells.rests(self.bell);
        let mut ticks = tokio::time::interval(SETTLE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Kept over the turns of the loop: a receive that is dropped half-way loses sight of what it was given.
        let mut receiving = self.receive(Duration::ZERO);
        let mut rested = Rest::None;
        loop {
            tokio::select! {
                received = &mut receiving => {
                    let pause = self.take(received);
                    receiving = self.receive(pause);
                }
                changed = rests.changed() => {
                    if changed.is_err() { break }
                    rested = *rests.borrow_and_update();
                }
                _ = ticks.tick(), if !self.held.is_empty() => {
                    self.settle(std::mem::take(&mut rested)).await;
                }
                () = stopped(&mut stop) => break,
            }
        }
        self.give_back(0).await;
    }

    /// The next receive, after a pause. Who holds enough only waits.
    fn receive(&self, pause: Duration) -> Receiving {
        let room = HELD_MAX.saturating_sub(self.held.len());
        let (queues, name) = (Arc::clone(&self.queues), self.name.clone());
        async move {
            tokio::time::sleep(pause).await;
            if room == 0 {
                tokio::time::sleep(SETTLE_INTERVAL).await;
                return Ok(None);
            }
            queues.receive(&name, room, LONG_POLL_SECONDS).await.map(Some)
        }
        .boxed()
    }

    fn take(&mut self, received: Result<Option<Vec<Received>>, SqsError>) -> Duration {
        match received {
            Ok(None) => Duration::ZERO,
            Ok(Some(messages)) => {
                if !messages.is_empty() {
                    self.doorbells.ring_here(self.bell);
                }
                self.held.extend(
                    messages.into_iter().map(|it| Held { handle: it.handle, sent_at: it.sent_at }),
                );
                self.exchanges.note(self.queue, Ok(()));
                Duration::ZERO
            }
            Err(error) => {
                self.exchanges.note(self.queue, Err(error));
                RECEIVE_PAUSE
            }
        }
    }

    /// Deletes what is done, keeps the rest out of sight, and gives back what could not be worked on.
    async fn settle(&mut self, rested: Rest) {
        if rested == Rest::Failed {
            return self.give_back(RETRY_SECONDS).await;
        }
        let Ok(depths) = self.store.queues().await else { return };
        let stage = self.queue.stage().map(portcullis_store::transition::Stage::as_str);
        let Some(depth) = depths.into_iter().find(|depth| Some(depth.stage) == stage) else {
            return;
        };
        // By the clock that the age was told by.
        let now = self.store.now();
        let oldest = depth.oldest_age_ms.map(|age_ms| now.plus_millis(age_ms.saturating_neg()));
        let (kept, done) = divide(std::mem::take(&mut self.held), depth.depth, oldest);
        self.held = kept;
        let handles: Vec<String> = done.into_iter().map(|held| held.handle).collect();
        if !handles.is_empty() {
            let deleted = self.queues.delete(&self.name, &handles).await;
            self.exchanges.note(self.queue, deleted);
        }
        self.prolong(sets_of(depth.depth)).await;
    }

    /// Keeps what is held out of sight for another while, when a third of the last one is over, so that two tries may fail;
    /// and lets go what is too much among all processes.
    async fn prolong(&mut self, wanted: u64) {
        let now = Instant::now();
        let visible = Duration::from_secs(u64::from(self.queue.visibility_seconds()));
        if self.held.is_empty() {
            self.prolonged_at = now;
            return;
        }
        if now.duration_since(self.prolonged_at) < visible / 3 {
            return;
        }
        self.prolonged_at = now;
        if let Ok(count) = self.queues.count(&self.name).await {
            let surplus = usize::try_from(count.total().saturating_sub(wanted)).unwrap_or(0);
            let from = self.held.len().saturating_sub(surplus);
            let handles: Vec<String> = self.held.drain(from..).map(|held| held.handle).collect();
            if !handles.is_empty() {
                let deleted = self.queues.delete(&self.name, &handles).await;
                self.exchanges.note(self.queue, deleted);
            }
        }
        let handles = self.handles();
        match self.queues.keep(&self.name, &handles, self.queue.visibility_seconds()).await {
            Ok(lapsed) => {
                // They are somebody else's now.
                let mut place = 0_usize;
                self.held.retain(|_| {
                    let is_ours = !lapsed.contains(&place);
                    place = place.saturating_add(1);
                    is_ours
                });
            }
            Err(error) => {
                self.exchanges.note(self.queue, Err(error));
            }
        }
    }

    async fn give_back(&mut self, after_seconds: u32) {
        let handles = self.handles();
        self.held.clear();
        if !handles.is_empty() {
            let given = self.queues.keep(&self.name, &handles, after_seconds).await;
            self.exchanges.note(self.queue, given.map(|_| ()));
        }
    }

    fn handles(&self) -> Vec<String> {
        self.held.iter().map(|held| held.handle.clone()).collect()
    }
}

/// What still stands for work, and what does not: a message of before the oldest work that waits is done, and so is every
/// message beyond the number of sets that wait.
fn divide(mut held: Vec<Held>, rows: u64, oldest: Option<Timestamp>) -> (Vec<Held>, Vec<Held>) {
    held.sort_by_key(|held| held.sent_at);
    let is_done = |held: &Held| oldest.is_none_or(|oldest| held.sent_at < oldest);
    let (mut done, mut kept): (Vec<Held>, Vec<Held>) = held.into_iter().partition(is_done);
    let most = usize::try_from(sets_of(rows)).unwrap_or(usize::MAX);
    done.extend(kept.drain(most.min(kept.len())..));
    (kept, done)
}

#[cfg(test)]
mod tests {
    use portcullis_store::StoreOptions;
    use portcullis_testkit::{Moto, TestClock};

    use super::super::sqs::SqsOptions;
    use super::*;
    use crate::concerns::Concerns;

    fn held(sent_at: &[i64]) -> Vec<Held> {
        let held = |at: &i64| Held { handle: at.to_string(), sent_at: Timestamp::from_millis(*at) };
        sent_at.iter().map(held).collect()
    }

    /// A consumer of the processor's queue that has received whatever is there.
    async fn consumer_of(queues: &Arc<SqsQueues>, store: &Store) -> Consumer {
        let queue = Queue::TxRequest;
        let mut consumer = Consumer::new(
            Arc::clone(queues),
            queue,
            Bell::Validate,
            Doorbells::local(),
            store.clone(),
            Exchanges::new(Concerns::default(), store, "receives from"),
        );
        let received = queues.receive(&queues.name(queue), 10, 0).await.map(Some);
        assert_eq!(consumer.take(received), Duration::ZERO);
        consumer
    }

    #[tokio::test]
    async fn what_is_held_stays_out_of_sight_for_as_long_as_it_is_held() {
        let (moto, folder) = (Moto::start(), tempfile::tempdir().expect("a folder"));
        let queues = Arc::new(
            SqsQueues::new(SqsOptions {
                region: "eu-central-1".to_owned(),
                endpoint: Some(moto.endpoint()),
                is_emulated: true,
                prefix: String::new(),
            })
            .await,
        );
        queues.create_all().await.expect("makes them");
        let clock = TestClock::at(Timestamp::from_millis(1_795_190_400_000));
        let url = folder.path().join("portcullis.db").display().to_string();
        let options = StoreOptions { url, ..StoreOptions::default() };
        let store = Store::open(&options, Arc::new(clock)).await.expect("opens");
        let name = queues.name(Queue::TxRequest);
        let third = Duration::from_secs(u64::from(Queue::TxRequest.visibility_seconds())) / 3;
        for (waited, is_kept) in [(third / 2, false), (third, true)] {
            queues.send(&name, "{}", 1).await.expect("sends");
            let mut consumer = consumer_of(&queues, &store).await;
            assert_eq!(consumer.held.len(), 1);
            // As if most of the time were over, by the server's clock, which nobody can set.
            queues.keep(&name, &consumer.handles(), 2).await.expect("shortens");
            consumer.prolonged_at -= waited;
            consumer.prolong(1).await;
            assert_eq!(consumer.held.len(), 1, "it is ours");
            let others = queues.receive(&name, 1, 5).await.expect("waits for it");
            assert_eq!(others.is_empty(), is_kept, "after {waited:?}");
            let seen = if is_kept { consumer.handles() } else { vec![others[0].handle.clone()] };
            queues.delete(&name, &seen).await.expect("deletes");
            consumer.prolonged_at -= third;
            consumer.prolong(1).await;
            assert_eq!(consumer.held, [], "what is gone is not held");
        }
    }

    #[test]
    fn a_message_goes_when_what_it_stood_for_has_left() {
        // messages by the time they were sent, rows that wait, the oldest of them, messages that stay
        for (row, (sent, rows, oldest, stay)) in [
            (&[1, 2, 3][..], 0, None, &[][..]),
            (&[3, 1, 2], 200, Some(1), &[1, 2, 3]),
            (&[3, 1, 2], 200, Some(2), &[2, 3]),
            (&[1, 2, 3], 50, Some(1), &[1]),
            (&[1, 2, 3], 51, Some(1), &[1, 2]),
            (&[1, 2, 3], 1, Some(4), &[]),
        ]
        .into_iter()
        .enumerate()
        {
            let (kept, done) = divide(held(sent), rows, oldest.map(Timestamp::from_millis));
            assert_eq!(kept, held(stay), "row {row}");
            assert_eq!(kept.len() + done.len(), sent.len(), "row {row}");
        }
    }
}

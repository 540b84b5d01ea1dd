//! Intake: many requests share one commit, and one bad one never fails the others.
//!
//! There is no background task. Callers put their requests into a queue; the first of them to get
//! the lock leads, commits everything that waits (at most 500 at a time) and hands out the results.
//! A leader that is dropped in the middle leaves its followers without an answer; they lead next, and
//! the database tells them what is committed already.

mod accept;
mod picture;
mod progress;
mod room;
mod turns;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, AssetId, DeploymentId, ExternalId, TenantId, WithdrawalId};
use portcullis_core::seal::SealingKeys;
use portcullis_core::withdrawal::Priority;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::db::{Store, Transaction, transaction};
use crate::error::StoreError;
use crate::ledger::Purse;
use crate::withdrawal::WithdrawalRecord;
use crate::writer_turns::WriterTurn;

use accept::accept_in;
pub(crate) use accept::withdrawal_row;
use progress::{Claims, Progress};
pub use room::IntakeLimits;
use room::Room;
#[cfg(test)]
pub(crate) use room::waiting_query;

/// Requests that one transaction takes.
const GROUP_MAX: usize = 500;

/// A checked request.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The id that it gets.
    pub id: WithdrawalId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
    /// The hash of the request's meaning.
    pub request_hash: B256,
    /// The account that pays.
    pub account: AccountId,
    /// What is paid.
    pub asset: AssetId,
    /// Where.
    pub chain_id: u64,
    /// In which token; `None` for the native coin.
    pub token: Option<Address>,
    /// How much.
    pub amount: Amount,
    /// To whom.
    pub to: Address,
    /// How soon.
    pub priority: Priority,
    /// The client's own JSON object.
    pub metadata: Option<String>,
    /// Where its trace began.
    pub trace: Option<String>,
}

impl Submission {
    fn purse(&self) -> Purse {
        Purse { tenant: self.tenant, account: self.account.clone(), asset: self.asset }
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// Accepted and committed.
    Accepted(Box<WithdrawalRecord>),
    /// The same request was accepted before.
    Existing(Box<WithdrawalRecord>),
    /// Its external id belongs to a request with another body.
    Conflict {
        /// That one.
        existing: WithdrawalId,
    },
    /// The account has too little.
    InsufficientBalance {
        /// What it has.
        available: Amount,
    },
    /// The account had no deposit yet.
    UnknownAccount,
    /// As many wait to be paid as may. It can be sent again later.
    QueueFull,
}

/// Why a request has no result.
#[derive(Debug, Error)]
pub enum IntakeError {
    /// Nothing was written; the same request can be sent again.
    #[error("the database is unavailable: nothing was written, send the same request again")]
    Unavailable,
    /// Too many requests wait for their commit. Nothing was written; the same request can be sent again.
    #[error("too many requests wait: nothing was written, send the same request again")]
    Busy,
    /// It may be committed. The same request, sent again, tells.
    #[error("the outcome is unknown: send the same request again to learn it")]
    OutcomeUnknown,
    /// The store refused for another reason.
    #[error(transparent)]
    Store(StoreError),
}

/// What its transactions are called.
const NAME: &str = "intake";

type Answer = Result<Submitted, StoreError>;

/// A request of a caller that may stop waiting for it.
#[derive(Clone)]
struct Request {
    submission: Arc<Submission>,
    progress: Arc<Progress>,
}

struct Waiting {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// The requests of one caller that have no answer yet, in its order.
type Pending<'a> = VecDeque<(&'a Request, oneshot::Receiver<Answer>)>;

impl Waiting {
    fn new(request: &Request) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        (Self { request: request.clone(), answer }, receiver)
    }
}

/// The way in. Cheap to clone; the clones share one queue.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    keys: Arc<SealingKeys>,
    queue: Arc<Mutex<VecDeque<Waiting>>>,
    lead: Arc<tokio::sync::Mutex<()>>,
    waiting_max: usize,
    room: Arc<Room>,
    /// It never changes.
    deployment: Arc<tokio::sync::OnceCell<DeploymentId>>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Intake {
    /// An intake into `store` that seals with `keys`.
    #[must_use]
    pub fn new(store: Store, keys: Arc<SealingKeys>) -> Self {
        Self::bounded(store, keys, IntakeLimits::default())
    }

    /// With other bounds.
    #[must_use]
    pub fn bounded(store: Store, keys: Arc<SealingKeys>, limits: IntakeLimits) -> Self {
        let IntakeLimits { queue_max, waiting_max } = limits;
        let room = Arc::new(Room::new(queue_max));
        Self {
            store,
            keys,
            queue: Arc::default(),
            lead: Arc::default(),
            waiting_max,
            room,
            deployment: Arc::default(),
        }
    }

    /// Takes one request; returns after the commit, never before.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn submit(
        &self,
        submission: Submission,
        deadline_ms: u64,
    ) -> Result<Submitted, IntakeError> {
        let mut results = self.submit_many(vec![submission], deadline_ms).await?;
        results.pop().ok_or(IntakeError::OutcomeUnknown)
    }

    /// Takes many requests; the results stand in the order of the requests.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub async fn submit_many(
        &self,
        submissions: Vec<Submission>,
        deadline_ms: u64,
    ) -> Result<Vec<Submitted>, IntakeError> {
        let requests: Vec<Request> = submissions
            .into_iter()
            .map(|submission| Request {
                submission: Arc::new(submission),
                progress: Arc::default(),
            })
            .collect();
        let pending = self.enqueue_all(&requests).ok_or(IntakeError::Busy)?;
        let deadline = Duration::from_millis(deadline_ms);
        let outcome = tokio::time::timeout(deadline, self.submit_all(pending)).await;
        match outcome {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(error)) => Err(intake_error(error, &requests)),
            Err(_) => Err(given_up(&requests)),
        }
    }

    async fn submit_all(&self, mut pending: Pending<'_>) -> Result<Vec<Submitted>, StoreError> {
        let mut results = Vec::with_capacity(pending.len());
        while let Some((request, mut receiver)) = pending.pop_front() {
            let answer = match receiver.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Closed) => None,
                Err(oneshot::error::TryRecvError::Empty) => {
                    tokio::select! {
                        biased;
                        answer = &mut receiver => answer.ok(),
                        guard = self.lead.lock() => {
                            self.lead_one_group().await;
                            drop(guard);
                            receiver.try_recv().ok()
                        }
                    }
                }
            };
            match answer {
                Some(Ok(submitted)) => results.push(submitted),
                Some(Err(error)) => return Err(error),
                // Not yet its turn, or its leader was dropped: queue it (again). A repeated request
                // finds what is committed.
                None if self.waits(request) => pending.push_front((request, receiver)),
                None => pending.push_front((request, self.enqueue(request))),
            }
        }
        Ok(results)
    }

    /// Queues all of them, or none where the queue has no room for them. What waits for nobody any more takes none.
    fn enqueue_all<'a>(&self, requests: &'a [Request]) -> Option<Pending<'a>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |queue: &VecDeque<Waiting>| queue.len() + requests.len() > self.waiting_max;
        if is_full(&queue) {
            queue.retain(|waiting| !waiting.answer.is_closed());
        }
        if is_full(&queue) {
            return None;
        }
        let queued = requests.iter().map(|request| {
            let (waiting, receiver) = Waiting::new(request);
            queue.push_back(waiting);
            (request, receiver)
        });
        Some(queued.collect())
    }

    fn enqueue(&self, request: &Request) -> oneshot::Receiver<Answer> {
        let (waiting, receiver) = Waiting::new(request);
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(waiting);
        receiver
    }

    fn waits(&self, request: &Request) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.iter().any(|waiting| Arc::ptr_eq(&waiting.request.progress, &request.progress))
    }

    /// Commits what waits once the store can be written: what comes until then comes along. A group that the store refuses
    /// for another reason than its own state is halved until what it refuses stands alone.
    async fn lead_one_group(&self) {
        let mut first = Some(self.store.turn(NAME).await);
        let mut groups: Vec<Vec<Waiting>> = vec![self.next_group()];
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let turn = match first.take() {
                Some(turn) => turn,
                None => self.store.turn(NAME).await,
            };
            let committed = match turn {
                Ok(turn) => self.commit(&group, turn).await,
                Err(error) => Err(error),
            };
            match committed {
                Ok(results) => answer_each(group, results.into_iter().map(|result| result.map(Ok))),
                Err(error) if is_of_one(&error) && group.len() > 1 => {
                    let second = group.split_off(group.len() / 2);
                    groups.push(second);
                    groups.push(group);
                }
                Err(error) => answer_each(group, std::iter::repeat(Some(Err(error)))),
            }
        }
    }

    async fn read_deployment(&self) -> Result<DeploymentId, StoreError> {
        let deployment = self.store.deployment().await?.ok_or_else(|| {
            StoreError::corrupt("deployment", "id", &1, &"the deployment is not founded")
        })?;
        Ok(deployment.id)
    }

    /// With the turn at hand, or with another one where that was used up.
    async fn begin(&self, turn: &mut Option<WriterTurn>) -> Result<Transaction, StoreError> {
        let turn = match turn.take() {
            Some(turn) => turn,
            None => self.store.turn(NAME).await?,
        };
        self.store.begin_in(turn, NAME).await
    }

    fn next_group(&self) -> Vec<Waiting> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(GROUP_MAX);
        let group = queue.drain(..count).filter(|waiting| !waiting.answer.is_closed()).collect();
        let rest = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        metrics::gauge!("portcullis_intake_waiting").set(f64::from(rest));
        group
    }

    /// Commits a group; the results stand in its order. A request that was given up before the
    /// transaction had the lock is not written, and has none.
    async fn commit(
        &self,
        group: &[Waiting],
        turn: WriterTurn,
    ) -> Result<Vec<Option<Submitted>>, StoreError> {
        metrics::histogram!("portcullis_intake_group_size")
            .record(u32::try_from(group.len()).unwrap_or(u32::MAX));
        let deployment = *self.deployment.get_or_try_init(|| self.read_deployment()).await?;
        let keys = &self.keys;
        let mut turn = Some(turn);
        transaction!(self.store, "intake", self.begin(&mut turn), |tx| async {
            let claims = Claims::of(group.iter().map(|waiting| &*waiting.request.progress));
            let taken = |index: usize| claims.holds(index);
            let claimed: Vec<&Submission> = (0..group.len())
                .filter(|index| taken(*index))
                .map(|index| &*group[index].request.submission)
                .collect();
            let mut results =
                accept_in(&tx, keys, deployment, &self.room, &claimed).await?.into_iter();
            claims.commit_begins();
            Ok((0..group.len())
                .map(|index| if taken(index) { results.next() } else { None })
                .collect())
        })
    }
}

fn answer_each(group: Vec<Waiting>, answers: impl Iterator<Item = Option<Answer>>) {
    for (waiting, answer) in group.into_iter().zip(answers) {
        if let Some(answer) = answer {
            // A caller that left does not need its answer.
            let _left = waiting.answer.send(answer);
        }
    }
}

/// Whether one request may be to blame, and not the state of the database.
const fn is_of_one(error: &StoreError) -> bool {
    !error.is_unavailable() && !error.is_outcome_unknown()
}

fn intake_error(error: StoreError, requests: &[Request]) -> IntakeError {
    match error {
        StoreError::Unavailable { .. } | StoreError::Full { .. } => given_up(requests),
        StoreError::OutcomeUnknown { .. } => IntakeError::OutcomeUnknown,
        other => IntakeError::Store(other),
    }
}

/// Nobody waits for these requests any more: what may be said of them.
fn given_up(requests: &[Request]) -> IntakeError {
    let unwritten = requests.iter().filter(|request| request.progress.give_up()).count();
    if unwritten == requests.len() { IntakeError::Unavailable } else { IntakeError::OutcomeUnknown }
}

//! Dead letters: work that failed too often. A letter is about a withdrawal or a slot, and never instead of it:
//! the withdrawal stays where it stands, and an open slot is followed and sent as before.

mod end;
mod write;

use portcullis_core::error_class::ErrorClass;
use portcullis_core::id::{SlotId, TenantId, WithdrawalId};
use portcullis_core::time::Timestamp;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::convert::Place;
use crate::db::{Store, transaction};
use crate::entity::dead_letter;
use crate::error::StoreError;

/// The queues that letters end up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterQueue {
    /// A request that the processor or the signer cannot take. Its subject is a withdrawal.
    Request,
    /// Signed bytes that cannot be handed on, or that no node takes. Its subject is a slot.
    SignedTx,
    /// A sent transaction whose fate cannot be recorded. Its subject is a slot.
    BroadcastTx,
}

/// How a letter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetterEnd {
    /// Its work was taken up again. If it fails again, there will be another letter.
    Redriven,
    /// Its work went on by itself.
    Resolved,
    /// An operator removed it.
    Discarded,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterError {
    /// Its class.
    pub class: ErrorClass,
    /// A finer name, where there is one: `underpriced`, `amount_above_cap`.
    pub code: Option<String>,
    /// What happened, in words.
    pub message: String,
    /// More of it.
    pub details: Option<String>,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Where it lies.
    pub queue: DeadLetterQueue,
    /// The withdrawal's or the slot's id, as text.
    pub subject: String,
    /// Whose it is, for a request.
    pub tenant: Option<TenantId>,
    /// What could not be worked on: a JSON object.
    pub original_message: String,
    /// What went wrong last.
    pub error: LetterError,
    /// How often it was tried, counting earlier letters of the same subject.
    pub attempt_count: u32,
    /// How often letters of this subject were redriven.
    pub redrives: u32,
    /// When it failed last.
    pub failed_at: Timestamp,
    /// When it is redriven by itself; `None` waits for an operator.
    pub redrive_at: Option<Timestamp>,
    /// How, when, by whom and why it ended; `None` while it is open.
    pub end: Option<LetterEnding>,
}

/// How a letter ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterEnding {
    /// How.
    pub how: LetterEnd,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A receive that failed, of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRequest {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// What went wrong.
    pub error: LetterError,
    /// When it is tried again, unless it becomes a letter.
    pub retry_at: Timestamp,
    /// A draw, for the time at which a letter is redriven by itself.
    pub chance: u64,
}

/// A receive that failed, of a slot. The slot goes on being sent and followed in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSlot {
    /// Where its letter goes.
    pub queue: DeadLetterQueue,
    /// The slot's id.
    pub slot: SlotId,
    /// What went wrong.
    pub error: LetterError,
    /// A draw, for the time at which a letter is redriven by itself.
    pub chance: u64,
}

/// What became of an operator's wish about a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterOutcome {
    /// It is done.
    Done,
    /// It is done, and the withdrawal is held now until somebody resumes it.
    Held(WithdrawalId),
    /// There is no such letter.
    Unknown,
    /// It ended before.
    Ended,
}

impl DeadLetterQueue {
    /// Every queue.
    pub const ALL: [Self; 3] = [Self::Request, Self::SignedTx, Self::BroadcastTx];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request-dlq",
            Self::SignedTx => "signed-tx-dlq",
            Self::BroadcastTx => "broadcast-tx-dlq",
        }
    }

    /// From the stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == text)
    }
}

impl LetterEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Redriven, Self::Resolved, Self::Discarded];

    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
        }
    }
}

impl Store {
    /// Letters, newest first: the open ones, or all that are kept.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn dead_letters(
        &self,
        queue: Option<DeadLetterQueue>,
        with_ended: bool,
        limit: u64,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut query =
            dead_letter::Entity::find().order_by_desc(dead_letter::Column::Id).limit(limit);
        if let Some(queue) = queue {
            query = query.filter(dead_letter::Column::Queue.eq(queue.as_str()));
        }
        if !with_ended {
            query = query.filter(dead_letter::Column::EndedAt.eq(0));
        }
        let rows = query
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("dead_letters", &error))?;
        rows.iter().map(read_letter).collect()
    }

    /// One letter, open or ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        let row = dead_letter::Entity::find_by_id(id)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("dead_letter", &error))?;
        row.as_ref().map(read_letter).transpose()
    }

    /// How many letters are open in each queue, and how many of them wait for an operator.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_dead_letters(&self) -> Result<Vec<(DeadLetterQueue, u64, u64)>, StoreError> {
        let during = "count_dead_letters";
        let failed = |error| StoreError::of_statement(during, &error);
        let mut counts = Vec::with_capacity(DeadLetterQueue::ALL.len());
        for queue in DeadLetterQueue::ALL {
            let open = dead_letter::Entity::find()
                .filter(dead_letter::Column::EndedAt.eq(0))
                .filter(dead_letter::Column::Queue.eq(queue.as_str()));
            let waiting = open.clone().filter(dead_letter::Column::RedriveAt.is_null());
            let open = open.count(&self.reader).await.map_err(failed)?;
            let waiting =
                if open == 0 { 0 } else { waiting.count(&self.reader).await.map_err(failed)? };
            counts.push((queue, open, waiting));
        }
        Ok(counts)
    }

    /// Counts failed receives of requests on their work rows. What failed for the fifth time becomes a letter,
    /// and is not due until it is redriven. Returns the new letters.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fail_requests(
        &self,
        failed: &[FailedRequest],
    ) -> Result<Vec<WithdrawalId>, StoreError> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        transaction!(self, "fail_requests", |tx| write::fail_requests_in(&tx, failed))
    }

    /// Counts failed receives of slots; what failed for the fifth time gets a letter. Returns the new ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fail_slots(&self, failed: &[FailedSlot]) -> Result<Vec<SlotId>, StoreError> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        transaction!(self, "fail_slots", |tx| write::fail_slots_in(&tx, failed))
    }

    /// Writes letters of slots whose failed receives were counted by [`Store::record_sends`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn write_slot_letters(
        &self,
        failed: &[FailedSlot],
    ) -> Result<Vec<SlotId>, StoreError> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        transaction!(self, "write_slot_letters", |tx| write::slot_letters_in(&tx, failed))
    }

    /// Takes the work of a letter up again, for an operator or for recovery.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn redrive_dead_letter(
        &self,
        id: i64,
        actor: &str,
        reason: &str,
    ) -> Result<LetterOutcome, StoreError> {
        transaction!(self, "redrive_dead_letter", |tx| end::redrive_in(&tx, id, actor, reason))
    }

    /// Removes a letter for an operator. A withdrawal that no slot carries is held then; a slot goes on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn discard_dead_letter(
        &self,
        id: i64,
        actor: &str,
        reason: &str,
    ) -> Result<LetterOutcome, StoreError> {
        transaction!(self, "discard_dead_letter", |tx| end::discard_in(&tx, id, actor, reason))
    }

    /// Ends letters whose work went on by itself, and forgets those that ended before `before`. Returns how
    /// many were resolved.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tidy_dead_letters(&self, before: Timestamp) -> Result<usize, StoreError> {
        let any = dead_letter::Entity::find()
            .limit(1)
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("tidy_dead_letters", &error))?;
        if any.is_none() {
            return Ok(0);
        }
        let resolved = end::find_resolved(&self.reader).await?;
        if resolved.is_empty() && !end::has_ended_before(&self.reader, before).await? {
            return Ok(0);
        }
        transaction!(self, "tidy_dead_letters", |tx| end::tidy_in(&tx, &resolved, before))
    }

    /// Open letters that are due to be redriven by themselves, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_dead_letters(&self, limit: u64) -> Result<Vec<DeadLetter>, StoreError> {
        let rows = dead_letter::Entity::find()
            .filter(dead_letter::Column::EndedAt.eq(0))
            .filter(dead_letter::Column::RedriveAt.lte(self.clock.now().as_millis()))
            .order_by_asc(dead_letter::Column::RedriveAt)
            .limit(limit)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("due_dead_letters", &error))?;
        rows.iter().map(read_letter).collect()
    }
}

fn read_letter(row: &dead_letter::Model) -> Result<DeadLetter, StoreError> {
    let key = row.id.to_be_bytes();
    let place = Place { table: "dead_letters", row: &key };
    let queue = place.known("queue", DeadLetterQueue::parse(&row.queue))?;
    let id = place.id("subject", &row.subject)?;
    let subject = match queue {
        DeadLetterQueue::Request => WithdrawalId::from_bytes(id).to_string(),
        _ => SlotId::from_bytes(id).to_string(),
    };
    let tenant = match &row.tenant_id {
        Some(tenant) => Some(TenantId::from_bytes(place.id("tenant_id", tenant)?)),
        None => None,
    };
    let end = match row.ended_at {
        0 => None,
        at => {
            let how = LetterEnd::ALL
                .into_iter()
                .find(|end| Some(end.as_str()) == row.ended_how.as_deref());
            Some(LetterEnding {
                how: place.known("ended_how", how)?,
                at: Timestamp::from_millis(at),
                by: row.ended_by.clone().unwrap_or_default(),
                reason: row.end_reason.clone().unwrap_or_default(),
            })
        }
    };
    Ok(DeadLetter {
        id: row.id,
        queue,
        subject,
        tenant,
        original_message: row.message.clone(),
        error: LetterError {
            class: place.known("error_type", ErrorClass::parse(&row.error_type))?,
            code: row.error_code.clone(),
            message: row.error_message.clone(),
            details: row.error_details.clone(),
        },
        attempt_count: place.unsigned("attempts", i64::from(row.attempts))?,
        redrives: place.unsigned("redrives", i64::from(row.redrives))?,
        failed_at: Timestamp::from_millis(row.failed_at),
        redrive_at: row.redrive_at.map(Timestamp::from_millis),
        end,
    })
}

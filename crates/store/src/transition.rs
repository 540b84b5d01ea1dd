//! Moves of withdrawals, in sets: `core` decides each, one statement writes all that move alike.

use std::collections::BTreeMap;

use portcullis_core::amount::Amount;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::ledger::PostingKind;
use portcullis_core::withdrawal::{Effect, Event, Refused, State, StateCode, decide};
use sea_orm::sea_query::{Expr, ExprTrait, Func};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QuerySelect, Select};

use crate::convert::bigint;
use crate::db::{Source, Transaction};
use crate::entity::{binding, withdrawal, work};
use crate::error::StoreError;
use crate::ledger::{NewPosting, Purse, ROWS_PER_STATEMENT, load_balances, posting_writes};
use crate::sender::binding_to_withdrawal;
use crate::slot_moves::slot_keys;
use crate::timeline;
use crate::trip::Write;
use crate::withdrawal::WithdrawalRecord;

/// Where a withdrawal's work row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The processor's.
    Validate,
    /// The signer's.
    Sign,
    /// The broadcaster's.
    Broadcast,
    /// The monitor's.
    Monitor,
    /// Nobody's: an operator decides.
    Held,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] =
        [Self::Validate, Self::Sign, Self::Broadcast, Self::Monitor, Self::Held];

    /// The stable text of the store and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Sign => "sign",
            Self::Broadcast => "broadcast",
            Self::Monitor => "monitor",
            Self::Held => "held",
        }
    }

    /// Where the work of a state is done; `None` when there is none.
    fn of(state: &State, effects: &[Effect]) -> Option<Self> {
        if effects.contains(&Effect::Finish) {
            return None;
        }
        if effects.contains(&Effect::Revalidate) {
            return Some(Self::Validate);
        }
        Some(Self::of_code(state.code()))
    }

    /// The same of a state that nothing sends back to policy. From the binding on a slot carries the withdrawal: its row
    /// is in nobody's queue, whether the signer has signed it yet or died before.
    const fn of_code(code: StateCode) -> Self {
        match code {
            StateCode::Pending | StateCode::Validating => Self::Validate,
            StateCode::Queued => Self::Sign,
            StateCode::Signing | StateCode::Signed | StateCode::Broadcasting => Self::Broadcast,
            StateCode::Broadcasted | StateCode::Confirming | StateCode::Confirmed => Self::Monitor,
            StateCode::AwaitingApproval
            | StateCode::Held
            | StateCode::Rejected
            | StateCode::Canceled
            | StateCode::Failed => Self::Held,
        }
    }

    /// Whether the row can stay as it is: what a slot carries is claimed by the slot, and its row only says where it is.
    fn stays(self, from: StateCode) -> bool {
        matches!(self, Self::Broadcast | Self::Monitor) && Self::of_code(from) == self
    }
}

/// Withdrawals that move by the same events, from the same state to the same state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Move {
    from: StateCode,
    to: StateCode,
    events: u64,
    lines: String,
    reason: Option<String>,
    stage: Option<Stage>,
    unbind: bool,
}

/// What stands before the deciding rule in a timeline's detail.
pub(crate) const RULE: &str = "rule ";

/// What an event is called in the timeline.
const fn kind_of(event: Event) -> &'static str {
    match event {
        Event::ValidationStarted => "validating",
        Event::PolicyPassed => "queued",
        Event::PolicyRefused => "rejected",
        Event::ApprovalRequired => "awaiting_approval",
        Event::Approved => "approved",
        Event::ApprovalRefused => "approval_refused",
        Event::CancelRequested => "canceled",
        Event::Bound(_) => "bound",
        Event::BoundToVoid(_) => "voiding",
        Event::AttemptCommitted => "signed",
        Event::SendStarted => "broadcasting",
        Event::SendAccepted => "broadcasted",
        Event::Included(_) | Event::IncludedBy(..) => "included",
        Event::Confirmed => "confirmed",
        Event::Finalized => "finalized",
        Event::Reorged => "reorged",
        Event::Released(_) => "released",
        Event::PreflightReverted => "failed",
        Event::Held(_) => "held",
        Event::Resumed => "resumed",
        Event::GivenUp => "given_up",
    }
}

/// A withdrawal, what happens to it, and the particulars.
pub(crate) type Step<'a> = (&'a WithdrawalRecord, Event, Option<String>);

/// Moves withdrawals by one event each, with everything that the moves cause: states, timelines,
/// ledger, bindings and work rows. All of it or nothing.
///
/// # Errors
/// [`StoreError::Conflict`] when an event does not fit a state, or another writer was first.
pub(crate) async fn apply(tx: &Transaction, moves: &[Step<'_>]) -> Result<(), StoreError> {
    apply_after(tx, None, moves).await
}

/// The same for withdrawals to which `first` happens before, where it fits: both are written at once.
pub(crate) async fn apply_after(
    tx: &Transaction,
    first: Option<Event>,
    moves: &[Step<'_>],
) -> Result<(), StoreError> {
    let mut groups: BTreeMap<Move, Vec<WithdrawalId>> = BTreeMap::new();
    let mut postings = Vec::new();
    for (record, event, detail) in moves {
        let (mut state, mut effects, mut lines) = (record.state, Vec::new(), String::new());
        let mut events = 1;
        if let Some(first) = first
            && let Ok((next, caused)) = decide(state, first)
        {
            (state, effects, events) = (next, caused, 2);
            lines.push_str(&timeline::line(tx.now, kind_of(first), None));
        }
        let (next, caused) = decide(state, *event).map_err(|refused: Refused| {
            tracing::warn!(transaction = tx.name, withdrawal = %record.id, %refused, "a move does not fit");
            StoreError::Conflict { during: tx.name, expected: 1, found: 0 }
        })?;
        effects.extend(caused);
        lines.push_str(&timeline::line(tx.now, kind_of(*event), detail.as_deref()));
        let reason = match next {
            State::Held { reason, .. } => Some(reason.as_str().to_owned()),
            State::Failed { reason } => Some(reason.as_str().to_owned()),
            State::Rejected => detail.as_deref().map(|why| why.trim_start_matches(RULE).to_owned()),
            _ => None,
        };
        for effect in &effects {
            postings.extend(posting_of(record, *effect));
        }
        let group = Move {
            from: record.state.code(),
            to: next.code(),
            events,
            lines,
            reason,
            stage: Stage::of(&next, &effects),
            unbind: effects.contains(&Effect::Unbind),
        };
        groups.entry(group).or_default().push(record.id);
    }
    let mut writes = Vec::new();
    for (group, ids) in &groups {
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            writes.extend(move_writes(tx, group, &keys_of(ids.iter().copied())));
        }
    }
    write_and_post(tx, writes, &postings).await
}

/// Moves what slots carry at the moment and is in this state, by an event that touches no money, together with what else
/// is to be written. Nothing else of the payments is read: of a slot on its way only its bytes matter.
///
/// # Errors
/// [`StoreError::Conflict`] when the event does not fit the state, or would move money.
pub(crate) async fn move_carried(
    tx: &Transaction,
    mut writes: Vec<Write>,
    slots: &[SlotId],
    from: impl Fn(SlotId) -> State,
    (event, detail): (Event, Option<&str>),
) -> Result<(), StoreError> {
    let Some(any) = slots.first() else { return tx.write_together(writes).await };
    let group = move_of_all(tx, from(*any), (event, detail))?;
    for slots in slots.chunks(ROWS_PER_STATEMENT) {
        let keys: Vec<Vec<u8>> = tx
            .inner
            .holding_named(carried_query(slots, group.from))
            .into_tuple()
            .all(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
        writes
            .extend(keys.chunks(ROWS_PER_STATEMENT).flat_map(|keys| move_writes(tx, &group, keys)));
    }
    tx.write_together(writes).await
}

/// What moves these withdrawals, all of them from this state, by an event that touches no money. Nothing of them is read:
/// one that is in another state is missed, and the transaction with it.
///
/// # Errors
/// [`StoreError::Conflict`] when the event does not fit the state, or would move money.
pub(crate) fn alike_writes(
    tx: &Transaction,
    ids: &[WithdrawalId],
    from: State,
    step: (Event, Option<&str>),
) -> Result<Vec<Write>, StoreError> {
    let group = move_of_all(tx, from, step)?;
    let sets = ids.chunks(ROWS_PER_STATEMENT);
    Ok(sets.flat_map(|ids| move_writes(tx, &group, &keys_of(ids.iter().copied()))).collect())
}

/// What a move of money needs to know of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stake {
    pub(crate) id: WithdrawalId,
    pub(crate) purse: Purse,
    pub(crate) amount: Amount,
}

impl Stake {
    pub(crate) fn posting(&self, kind: PostingKind) -> NewPosting {
        NewPosting {
            purse: self.purse.clone(),
            kind,
            amount: self.amount,
            subject: self.id.to_bytes(),
        }
    }
}

/// Settles these withdrawals, all of them from this state: they are paid, and so is their money. What else is to be
/// written goes along.
///
/// # Errors
/// [`StoreError::Conflict`] when one of them is in another state; [`StoreError::Ledger`] where an account does not hold what is settled.
pub(crate) async fn settle_alike(
    tx: &Transaction,
    mut writes: Vec<Write>,
    stakes: &[Stake],
    from: State,
) -> Result<(), StoreError> {
    let group = move_causing(tx, from, (Event::Confirmed, None), &[Effect::Settle])?;
    for stakes in stakes.chunks(ROWS_PER_STATEMENT) {
        let keys = keys_of(stakes.iter().map(|stake| stake.id));
        writes.extend(move_writes(tx, &group, &keys));
    }
    let postings: Vec<NewPosting> =
        stakes.iter().map(|stake| stake.posting(PostingKind::Settle)).collect();
    write_and_post(tx, writes, &postings).await
}

/// Writes, with the postings that belong to it.
async fn write_and_post(
    tx: &Transaction,
    mut writes: Vec<Write>,
    postings: &[NewPosting],
) -> Result<(), StoreError> {
    if !postings.is_empty() {
        let balances = load_balances(tx, postings.iter().map(|posting| &posting.purse)).await?;
        writes.extend(posting_writes(tx, postings, balances)?);
    }
    tx.write_together(writes).await
}

fn keys_of(ids: impl Iterator<Item = WithdrawalId>) -> Vec<Vec<u8>> {
    ids.map(|id| id.to_bytes().to_vec()).collect()
}

/// The one move of withdrawals of which only the state is known.
fn move_of_all(
    tx: &Transaction,
    from: State,
    step: (Event, Option<&str>),
) -> Result<Move, StoreError> {
    move_causing(tx, from, step, &[])
}

/// The one move of withdrawals of which only the state is known; it causes no more than what the caller does.
fn move_causing(
    tx: &Transaction,
    from: State,
    (event, detail): (Event, Option<&str>),
    caused: &[Effect],
) -> Result<Move, StoreError> {
    let conflict = StoreError::Conflict { during: tx.name, expected: 1, found: 0 };
    let Ok((next, effects)) = decide(from, event) else { return Err(conflict) };
    let is_done = |effect: &Effect| *effect == Effect::Finish || caused.contains(effect);
    if !effects.iter().all(is_done) || !caused.iter().all(|effect| effects.contains(effect)) {
        return Err(conflict);
    }
    Ok(Move {
        from: from.code(),
        to: next.code(),
        events: 1,
        lines: timeline::line(tx.now, kind_of(event), detail),
        reason: None,
        stage: Stage::of(&next, &effects),
        unbind: false,
    })
}

fn carried_query(slots: &[SlotId], state: StateCode) -> Select<binding::Entity> {
    carried_by(slots)
        .column(binding::Column::WithdrawalId)
        .filter(withdrawal::Column::State.eq(state.as_str()))
}

/// What these slots carry at the moment; the caller names the columns of bindings and withdrawals that it wants.
pub(crate) fn carried_by(slots: &[SlotId]) -> Select<binding::Entity> {
    binding::Entity::find()
        .select_only()
        .join(JoinType::InnerJoin, binding_to_withdrawal())
        .filter(binding::Column::SlotId.is_in(slot_keys(slots)))
        .filter(binding::Column::ReleasedAt.eq(0))
}

pub(crate) fn posting_of(record: &WithdrawalRecord, effect: Effect) -> Option<NewPosting> {
    PostingKind::of_effect(effect).map(|kind| NewPosting {
        purse: purse_of(record),
        kind,
        amount: record.amount,
        subject: record.id.to_bytes(),
    })
}

pub(crate) fn purse_of(record: &WithdrawalRecord) -> Purse {
    Purse { tenant: record.tenant, account: record.account.clone(), asset: record.asset }
}

fn move_writes(tx: &Transaction, group: &Move, ids: &[Vec<u8>]) -> Vec<Write> {
    let appended = Func::cust("CONCAT")
        .arg(Expr::col(withdrawal::Column::Timeline))
        .arg(Expr::value(group.lines.as_str()));
    let moved = withdrawal::Entity::update_many()
        .col_expr(withdrawal::Column::State, Expr::value(group.to.as_str()))
        .col_expr(withdrawal::Column::Reason, Expr::value(group.reason.as_deref()))
        .col_expr(
            withdrawal::Column::EventSequence,
            Expr::col(withdrawal::Column::EventSequence).add(bigint(group.events)),
        )
        .col_expr(withdrawal::Column::Timeline, appended.into())
        .col_expr(withdrawal::Column::UpdatedAt, Expr::value(tx.now.as_millis()))
        .filter(withdrawal::Column::Id.is_in(ids.iter().cloned()))
        .filter(withdrawal::Column::State.eq(group.from.as_str()));
    let mut writes = vec![Write::new(moved, ids.len())];
    if group.unbind {
        writes.push(unbind_write(tx, ids));
    }
    if !group.stage.is_some_and(|stage| stage.stays(group.from)) {
        writes.push(stage_write(tx, group.stage, ids));
    }
    writes
}

/// The moment of the end tells a payment's old bindings apart: two of them in one millisecond are refused, and the
/// later one is ended at the next step.
fn unbind_write(tx: &Transaction, ids: &[Vec<u8>]) -> Write {
    let released = binding::Entity::update_many()
        .col_expr(binding::Column::ReleasedAt, Expr::value(std::cmp::max(tx.now.as_millis(), 1)))
        .filter(binding::Column::WithdrawalId.is_in(ids.iter().cloned()))
        .filter(binding::Column::ReleasedAt.eq(0));
    Write::new(released, ids.len())
}

/// Moves or removes the work rows. A withdrawal that a reorg reopened after its work row was gone
/// cannot occur here: the row goes at finality, below which nothing is reopened.
fn stage_write(tx: &Transaction, stage: Option<Stage>, ids: &[Vec<u8>]) -> Write {
    let of_these = work::Column::WithdrawalId.is_in(ids.iter().cloned());
    let Some(stage) = stage else {
        return Write::new(work::Entity::delete_many().filter(of_these), ids.len());
    };
    let moved = work::Entity::update_many()
        .col_expr(work::Column::Stage, Expr::value(stage.as_str()))
        .col_expr(work::Column::DueAt, Expr::value(tx.now.as_millis()))
        .col_expr(work::Column::Receives, Expr::value(0))
        .filter(of_these);
    Write::new(moved, ids.len())
}

#[cfg(test)]
mod tests;

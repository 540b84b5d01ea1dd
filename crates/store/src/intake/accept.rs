//! The transaction that accepts: what is known, what is covered, and the rows of what is new.

use std::collections::BTreeMap;

use alloy_primitives::keccak256;
use portcullis_core::amount::Amount;
use portcullis_core::id::{AccountId, DeploymentId, ExternalId, TenantId};
use portcullis_core::ledger::PostingKind;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::{SealedPayment, SealingKeys, payer_of};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::State;
use sea_orm::{ActiveValue, EntityTrait};

use super::picture::Picture;
use super::room::Room;
use super::turns::take_turns;
use super::{Submission, Submitted};
use crate::audit::{AuditEntry, audit_write};
use crate::convert::{bigint, token_bytes};
use crate::db::Transaction;
use crate::deployment::numbers_write;
use crate::entity::{audit, withdrawal, work};
use crate::error::StoreError;
use crate::ledger::{
    BalanceRow, NewPosting, Purse, ROWS_PER_STATEMENT, known_accounts, posting_writes,
};
use crate::reconcile::{claim_in, forgotten_requests, is_unclaimed, revive_in};
use crate::timeline::{self, TimelineEvent};
use crate::transition::Stage;
use crate::trip::Write;
use crate::withdrawal::{WithdrawalRecord, read_withdrawals};

/// What a request comes to, before numbers are given.
enum Decision {
    New(usize),
    Done(Box<Submitted>),
    /// The same external id stands earlier in this group.
    Repeats(usize),
}

pub(super) async fn accept_in(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    room: &Room,
    submissions: &[&Submission],
) -> Result<Vec<Submitted>, StoreError> {
    let mut picture = Picture::look(tx, submissions).await?;
    if picture.has_forgotten && revive_forgotten(tx, keys, deployment, submissions).await? {
        picture = Picture::look(tx, submissions).await?;
    }
    let mut known = read_known(tx, std::mem::take(&mut picture.known), submissions).await?;
    if claim_imported(tx, keys, deployment, submissions, &mut known).await? {
        picture = Picture::look(tx, submissions).await?;
    }
    let accounts = existing_accounts(tx, submissions, &picture.balances).await?;
    let mut balances = picture.balances.clone();
    let has_new = submissions
        .iter()
        .any(|submission| !known.contains_key(&(submission.tenant, &submission.external_id)));
    let left = if has_new { room.left(tx).await? } else { 0 };
    let mut decisions = Vec::with_capacity(submissions.len());
    let mut first: BTreeMap<(TenantId, &ExternalId), usize> = BTreeMap::new();
    let mut accepted = Vec::new();
    for (index, submission) in submissions.iter().copied().enumerate() {
        let key = (submission.tenant, &submission.external_id);
        let decision = if let Some(record) = known.get(&key) {
            Decision::Done(Box::new(repeated(submission, record)))
        } else if let Some(earlier) = first.get(&key) {
            Decision::Repeats(*earlier)
        } else if accepted.len() as u64 >= left {
            Decision::Done(Box::new(Submitted::QueueFull))
        } else {
            let decision = reserve(submission, &mut balances, &accounts);
            if decision.is_none() {
                first.insert(key, index);
                accepted.push(submission);
            }
            match decision {
                None => Decision::New(accepted.len().saturating_sub(1)),
                Some(refused) => Decision::Done(Box::new(refused)),
            }
        };
        decisions.push(decision);
    }
    let records = insert_accepted(tx, keys, deployment, &accepted, picture).await?;
    room.take(accepted.len() as u64);
    let record_of = |index: usize| match &decisions[index] {
        Decision::New(position) => records.get(*position),
        _ => None,
    };
    let results = decisions.iter().zip(submissions).map(|(decision, submission)| match decision {
        Decision::Done(submitted) => Ok(submitted.as_ref().clone()),
        Decision::New(position) => records
            .get(*position)
            .map(|record| Submitted::Accepted(Box::new(record.clone())))
            .ok_or_else(|| lost_position(tx)),
        Decision::Repeats(earlier) => record_of(*earlier)
            .map(|record| repeated(submission, record))
            .ok_or_else(|| lost_position(tx)),
    });
    results.collect()
}

/// Gives rows to what reconcile knows and this database had forgotten, and says whether there was any. They are found as
/// known requests then.
async fn revive_forgotten(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    submissions: &[&Submission],
) -> Result<bool, StoreError> {
    let requests: Vec<(&Submission, PaymentRef)> = submissions
        .iter()
        .map(|submission| (*submission, reference_of(deployment, submission)))
        .collect();
    let mut forgotten = forgotten_requests(tx, &requests).await?;
    let mut has_revived = false;
    for (submission, reference) in requests {
        let Some(index) = forgotten.iter().position(|it| it.reference == reference) else {
            continue;
        };
        let found = forgotten.swap_remove(index);
        let record = record_of(tx, keys, deployment, submission, found.number);
        revive_in(tx, keys, deployment, &found, record).await?;
        has_revived = true;
    }
    Ok(has_revived)
}

/// A retry of what reconcile imported names who pays it. Says whether there was any.
async fn claim_imported<'a>(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    submissions: &[&'a Submission],
    known: &mut BTreeMap<(TenantId, &'a ExternalId), WithdrawalRecord>,
) -> Result<bool, StoreError> {
    let mut has_claimed = false;
    for submission in submissions.iter().copied() {
        let Some(record) = known.get_mut(&(submission.tenant, &submission.external_id)) else {
            continue;
        };
        let is_same = is_unclaimed(record)
            && record.reference == reference_of(deployment, submission)
            && record.chain_id == submission.chain_id
            && !submission.account.is_suspense();
        if is_same {
            claim_in(tx, keys, deployment, record, submission).await?;
            has_claimed = true;
        }
    }
    Ok(has_claimed)
}

fn reference_of(deployment: DeploymentId, submission: &Submission) -> PaymentRef {
    PaymentRef::derive(
        deployment,
        submission.tenant,
        &submission.external_id,
        submission.token,
        submission.to,
        submission.amount,
    )
}

/// Unreachable by construction; an error all the same, since money code does not panic.
fn lost_position(tx: &Transaction) -> StoreError {
    StoreError::Database { during: tx.name, cause: "a decision points at no record".into() }
}

fn repeated(submission: &Submission, record: &WithdrawalRecord) -> Submitted {
    // An imported payment that no account covers is what was asked for all the same.
    if record.request_hash == submission.request_hash || is_same_unclaimed(record, submission) {
        Submitted::Existing(Box::new(record.clone()))
    } else {
        Submitted::Conflict { existing: record.id }
    }
}

/// Whether it is an imported payment that no account covers, and the retry asks for the same of it.
fn is_same_unclaimed(record: &WithdrawalRecord, submission: &Submission) -> bool {
    is_unclaimed(record)
        && record.chain_id == submission.chain_id
        && record.token == submission.token
        && record.amount == submission.amount
        && record.to == submission.to
}

/// Reserves in the loaded picture, so that later requests of the group see it; `None` when it fits.
fn reserve(
    submission: &Submission,
    balances: &mut BTreeMap<Purse, BalanceRow>,
    accounts: &BTreeMap<TenantId, Vec<String>>,
) -> Option<Submitted> {
    if submission.account.is_suspense() {
        return Some(Submitted::UnknownAccount);
    }
    let Some(row) = balances.get_mut(&submission.purse()) else {
        let known = accounts
            .get(&submission.tenant)
            .is_some_and(|known| known.iter().any(|id| id == submission.account.as_str()));
        return Some(if known {
            Submitted::InsufficientBalance { available: Amount::ZERO }
        } else {
            Submitted::UnknownAccount
        });
    };
    if !row.is_sound() {
        tracing::error!(account = %submission.account, "a balance is not what its buckets add up to; nothing is reserved from it");
        return Some(Submitted::InsufficientBalance { available: Amount::ZERO });
    }
    let available = row.balance.available;
    match row.apply(PostingKind::Reserve, submission.amount) {
        Some(()) => None,
        None => Some(Submitted::InsufficientBalance { available }),
    }
}

async fn read_known<'a>(
    tx: &Transaction,
    rows: Vec<withdrawal::Model>,
    submissions: &[&'a Submission],
) -> Result<BTreeMap<(TenantId, &'a ExternalId), WithdrawalRecord>, StoreError> {
    let mut known = BTreeMap::new();
    for record in read_withdrawals(&tx.inner, tx.name, rows).await? {
        let request = submissions.iter().find(|submission| {
            submission.tenant == record.tenant && submission.external_id == record.external_id
        });
        if let Some(request) = request {
            known.insert((request.tenant, &request.external_id), record);
        }
    }
    Ok(known)
}

/// Those of the accounts without a balance of what is asked for that exist.
async fn existing_accounts(
    tx: &Transaction,
    submissions: &[&Submission],
    balances: &BTreeMap<Purse, BalanceRow>,
) -> Result<BTreeMap<TenantId, Vec<String>>, StoreError> {
    let mut by_tenant: BTreeMap<TenantId, Vec<&AccountId>> = BTreeMap::new();
    for submission in submissions {
        if !balances.contains_key(&submission.purse()) {
            by_tenant.entry(submission.tenant).or_default().push(&submission.account);
        }
    }
    let mut existing = BTreeMap::new();
    for (tenant, mut accounts) in by_tenant {
        accounts.sort_unstable();
        accounts.dedup();
        let mut known = Vec::new();
        for accounts in accounts.chunks(ROWS_PER_STATEMENT) {
            known.extend(known_accounts(tx, tenant, accounts).await?);
        }
        existing.insert(tenant, known);
    }
    Ok(existing)
}

async fn insert_accepted(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    accepted: &[&Submission],
    picture: Picture,
) -> Result<Vec<WithdrawalRecord>, StoreError> {
    if accepted.is_empty() {
        return Ok(Vec::new());
    }
    let ((epoch, first), taken) = numbers_write(picture.numbers.as_ref(), accepted.len() as u64)?;
    let numbers = (first..).map(|sequence| PayoutNumber { epoch, sequence });
    let records: Vec<WithdrawalRecord> = accepted
        .iter()
        .zip(numbers)
        .map(|(submission, number)| record_of(tx, keys, deployment, submission, number))
        .collect();
    let (turns, moved) = take_turns(tx, &picture, accepted).await?;
    let mut writes = vec![taken];
    writes.extend(moved);
    let work: Vec<work::ActiveModel> = records
        .iter()
        .zip(accepted)
        .zip(turns)
        .map(|((record, submission), turn)| work_row(record, submission, turn))
        .collect();
    writes.extend(records.chunks(ROWS_PER_STATEMENT).map(|records| {
        let rows = withdrawal::Entity::insert_many(records.iter().map(withdrawal_row));
        Write::new(rows, records.len())
    }));
    writes.extend(
        work.chunks(ROWS_PER_STATEMENT)
            .map(|work| Write::new(work::Entity::insert_many(work.iter().cloned()), work.len())),
    );
    let postings: Vec<NewPosting> = records.iter().map(reservation).collect();
    writes.extend(posting_writes(tx, &postings, picture.balances)?);
    writes.extend(accepted_entry(tx, picture.audited.as_ref(), &records));
    tx.write_together(writes).await?;
    Ok(records)
}

fn reservation(record: &WithdrawalRecord) -> NewPosting {
    NewPosting {
        purse: crate::transition::purse_of(record),
        kind: PostingKind::Reserve,
        amount: record.amount,
        subject: record.id.to_bytes(),
    }
}

/// One entry a commit: which numbers were given, and a hash over the refs in their order. The rows
/// carry seals; this shows a row that is gone.
fn accepted_entry(
    tx: &Transaction,
    last: Option<&audit::Model>,
    records: &[WithdrawalRecord],
) -> Option<Write> {
    let (first, newest) = (records.first()?, records.last()?);
    let refs: Vec<u8> = records.iter().flat_map(|record| record.reference.0).collect();
    let subject = format!("{}..{}", first.number, newest.number);
    let detail = format!("{} withdrawals, refs {}", records.len(), keccak256(refs));
    let entry = AuditEntry {
        tenant: None,
        actor: "api",
        action: "withdrawals.accept",
        subject: &subject,
        detail: &detail,
    };
    Some(audit_write(tx, last, &entry))
}

fn record_of(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    submission: &Submission,
    number: PayoutNumber,
) -> WithdrawalRecord {
    let reference = reference_of(deployment, submission);
    let seal = keys.seal_payment(&SealedPayment {
        deployment,
        payer: payer_of(submission.tenant, &submission.account, submission.asset),
        chain_id: submission.chain_id,
        token: submission.token,
        amount: submission.amount,
        to: submission.to,
        number,
        reference,
    });
    WithdrawalRecord {
        id: submission.id,
        tenant: submission.tenant,
        external_id: submission.external_id.clone(),
        request_hash: submission.request_hash,
        account: submission.account.clone(),
        asset: submission.asset,
        chain_id: submission.chain_id,
        token: submission.token,
        amount: submission.amount,
        to: submission.to,
        priority: submission.priority,
        metadata: submission.metadata.clone(),
        number,
        reference,
        seal,
        state: State::Pending,
        cancel_requested: false,
        reason: None,
        event_sequence: 1,
        timeline: vec![TimelineEvent {
            sequence: 1,
            at: tx.now,
            kind: "accepted".into(),
            detail: None,
        }],
        created_at: tx.now,
        updated_at: tx.now,
    }
}

pub(crate) fn withdrawal_row(record: &WithdrawalRecord) -> withdrawal::ActiveModel {
    withdrawal::ActiveModel {
        id: ActiveValue::Set(record.id.to_bytes().to_vec()),
        tenant_id: ActiveValue::Set(record.tenant.to_bytes().to_vec()),
        external_id: ActiveValue::Set(record.external_id.as_str().to_owned()),
        request_hash: ActiveValue::Set(record.request_hash.to_vec()),
        account_id: ActiveValue::Set(record.account.as_str().to_owned()),
        asset_id: ActiveValue::Set(record.asset.to_bytes().to_vec()),
        chain_id: ActiveValue::Set(bigint(record.chain_id)),
        token: ActiveValue::Set(token_bytes(record.token)),
        amount: ActiveValue::Set(record.amount.to_string()),
        to_address: ActiveValue::Set(record.to.to_vec()),
        priority: ActiveValue::Set(record.priority.rank()),
        metadata: ActiveValue::Set(record.metadata.clone()),
        epoch: ActiveValue::Set(bigint(record.number.epoch)),
        sequence: ActiveValue::Set(bigint(record.number.sequence)),
        reference: ActiveValue::Set(record.reference.0.to_vec()),
        seal_key_id: ActiveValue::Set(i64::from(record.seal.key_id.0)),
        mac: ActiveValue::Set(record.seal.mac.to_vec()),
        state: ActiveValue::Set(record.state.code().as_str().to_owned()),
        reason: ActiveValue::Set(None),
        event_sequence: ActiveValue::Set(1),
        timeline: ActiveValue::Set(timeline::line(record.created_at, "accepted", None)),
        created_at: ActiveValue::Set(record.created_at.as_millis()),
        updated_at: ActiveValue::Set(record.updated_at.as_millis()),
        cancel_requested: ActiveValue::Set(0),
    }
}

fn work_row(
    record: &WithdrawalRecord,
    submission: &Submission,
    turn: Timestamp,
) -> work::ActiveModel {
    work::ActiveModel {
        withdrawal_id: ActiveValue::Set(record.id.to_bytes().to_vec()),
        chain_id: ActiveValue::Set(bigint(record.chain_id)),
        stage: ActiveValue::Set(Stage::Validate.as_str().to_owned()),
        shard: ActiveValue::Set(i32::from(record.id.to_bytes()[15])),
        priority: ActiveValue::Set(record.priority.rank()),
        due_at: ActiveValue::Set(record.created_at.as_millis()),
        receives: ActiveValue::Set(0),
        trace: ActiveValue::Set(submission.trace.clone()),
        entered_at: ActiveValue::Set(record.created_at.as_millis()),
        turn_at: ActiveValue::Set(turn.as_millis()),
    }
}

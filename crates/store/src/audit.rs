//! The audit log: who did what to what, chained by hash so that a changed or missing row shows.

use portcullis_core::id::TenantId;
use sea_orm::{ActiveValue, EntityTrait, QueryOrder, QuerySelect, Select};
use sha2::{Digest, Sha256};

use crate::convert::{Place, bigint};
use crate::db::{Store, Transaction, transaction};
use crate::entity::{audit, deployment};
use crate::error::StoreError;
use crate::trip::Write;

/// One entry to be written.
pub(crate) struct AuditEntry<'a> {
    /// Whose data it concerns.
    pub(crate) tenant: Option<TenantId>,
    /// Who did it: `cli:alice`, `key:key_…`, `engine`.
    pub(crate) actor: &'a str,
    /// What was done: `api-key.add`.
    pub(crate) action: &'a str,
    /// To what.
    pub(crate) subject: &'a str,
    /// The particulars.
    pub(crate) detail: &'a str,
}

/// The newest entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Its number, from 1.
    pub sequence: u64,
    /// Its hash, which covers all before it.
    pub hash: [u8; 32],
}

impl Store {
    /// The newest entry; `None` while there is none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, StoreError> {
        let row = newest()
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("audit_head", &error))?;
        row.map(|row| read_head(&row)).transpose()
    }

    /// The entry of a number, as a head; `None` where the log does not reach it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_entry(&self, sequence: u64) -> Result<Option<AuditHead>, StoreError> {
        let row = audit::Entity::find_by_id(bigint(sequence))
            .one(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("audit_entry", &error))?;
        row.map(|row| read_head(&row)).transpose()
    }

    /// Notes what an operator did outside of the database.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note_operation(
        &self,
        actor: &str,
        action: &str,
        subject: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        let entry = AuditEntry { tenant: None, actor, action, subject, detail };
        transaction!(self, "note_operation", |tx| append_audit(&tx, &entry))
    }

    /// Recomputes the whole chain; returns its head, `None` while it is empty.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] at the first row that was changed, removed or inserted.
    pub async fn verify_audit(&self) -> Result<Option<AuditHead>, StoreError> {
        let mut head: Option<AuditHead> = None;
        loop {
            let after = head.map_or(0, |head| head.sequence);
            let rows = audit::Entity::find()
                .order_by_asc(audit::Column::Sequence)
                .offset(after)
                .limit(1_000)
                .all(&self.reader)
                .await
                .map_err(|error| StoreError::of_statement("verify_audit", &error))?;
            if rows.is_empty() {
                return Ok(head);
            }
            for row in rows {
                head = Some(verify_link(head, &row)?);
            }
        }
    }
}

/// Asks for the newest entry.
pub(crate) fn newest() -> Select<audit::Entity> {
    audit::Entity::find().order_by_desc(audit::Column::Sequence).limit(1)
}

/// Appends one entry in the caller's transaction. Where others append at the same time each waits for the one before: the
/// row of the deployment is what they wait for, since the newest entry is another one when the wait is over.
pub(crate) async fn append_audit(
    tx: &Transaction,
    entry: &AuditEntry<'_>,
) -> Result<(), StoreError> {
    tx.wait_for(deployment::Entity::find_by_id(1)).await?;
    let last = newest().one(&tx.inner).await.map_err(|error| tx.failed(&error))?;
    tx.write_together(vec![audit_write(tx, last.as_ref(), entry)]).await
}

/// What appends one entry to the newest, which was read behind the lock of the deployment's row.
pub(crate) fn audit_write(
    tx: &Transaction,
    last: Option<&audit::Model>,
    entry: &AuditEntry<'_>,
) -> Write {
    let (sequence, previous_hash) =
        last.map_or((1, vec![0; 32]), |row| (row.sequence.saturating_add(1), row.hash.clone()));
    let mut row = audit::Model {
        sequence,
        at: tx.now.as_millis(),
        tenant_id: entry.tenant.map(|tenant| tenant.to_bytes().to_vec()),
        actor: entry.actor.to_owned(),
        action: entry.action.to_owned(),
        subject: entry.subject.to_owned(),
        detail: entry.detail.to_owned(),
        previous_hash,
        hash: Vec::new(),
    };
    row.hash = hash_of(&row).to_vec();
    let row = audit::ActiveModel {
        sequence: ActiveValue::Set(row.sequence),
        at: ActiveValue::Set(row.at),
        tenant_id: ActiveValue::Set(row.tenant_id),
        actor: ActiveValue::Set(row.actor),
        action: ActiveValue::Set(row.action),
        subject: ActiveValue::Set(row.subject),
        detail: ActiveValue::Set(row.detail),
        previous_hash: ActiveValue::Set(row.previous_hash),
        hash: ActiveValue::Set(row.hash),
    };
    Write::new(audit::Entity::insert(row), 1)
}

fn read_head(row: &audit::Model) -> Result<AuditHead, StoreError> {
    let key = row.sequence.to_be_bytes();
    let place = Place { table: "audit", row: &key };
    Ok(AuditHead {
        sequence: place.unsigned("sequence", row.sequence)?,
        hash: place.hash("hash", &row.hash)?.0,
    })
}

fn verify_link(head: Option<AuditHead>, row: &audit::Model) -> Result<AuditHead, StoreError> {
    let damaged = |problem: &str| StoreError::corrupt("audit", "hash", &row.sequence, &problem);
    let expected = head.map_or(1, |head| head.sequence.saturating_add(1));
    let sequence = u64::try_from(row.sequence).map_err(|_| damaged("is out of range"))?;
    if sequence != expected {
        return Err(damaged("stands where another entry is missing"));
    }
    if row.previous_hash.as_slice() != head.map_or([0; 32], |head| head.hash) {
        return Err(damaged("does not follow the entry before it"));
    }
    let hash = hash_of(row);
    if row.hash != hash {
        return Err(damaged("was changed"));
    }
    Ok(AuditHead { sequence, hash })
}

fn hash_of(row: &audit::Model) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for field in [
        b"portcullis/audit/v1".as_slice(),
        &row.previous_hash,
        &row.sequence.to_be_bytes(),
        &row.at.to_be_bytes(),
        row.tenant_id.as_deref().unwrap_or_default(),
        row.actor.as_bytes(),
        row.action.as_bytes(),
        row.subject.as_bytes(),
        row.detail.as_bytes(),
    ] {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hasher.finalize().into()
}

//! Alarms: what is wrong with a sender or a slot now. They are rows, so that every process names them.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::time::Timestamp;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::convert::{Place, bigint};
use crate::db::{Source, Store, Transaction, transaction};
use crate::entity::alarm;
use crate::error::StoreError;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A slot needs a dearer attempt than the hard cap allows. It goes on by itself when the base fee falls.
    FeeCap,
    /// A sender cannot pay for gas. It goes on by itself when its balance suffices.
    GasMoney,
    /// A slot's rows, or those of its payments, cannot be read. It is set aside until they are mended.
    DamagedSlot,
}

/// An alarm that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// On which chain.
    pub chain_id: u64,
    /// With which sender.
    pub sender: Address,
    /// With what exactly: the sender, or one nonce of it.
    pub subject: String,
    /// What is wrong, and what to do.
    pub detail: String,
    /// Since when.
    pub raised_at: Timestamp,
}

/// An alarm as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlarm {
    /// With which sender.
    pub sender: Address,
    /// With what exactly: the sender, or one nonce of it.
    pub subject: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// What changed when alarms were settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmChanges {
    /// New ones.
    pub raised: Vec<NewAlarm>,
    /// Subjects whose alarm is over.
    pub cleared: Vec<String>,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::FeeCap, Self::GasMoney, Self::DamagedSlot];

    /// The stable text of the store, `/readyz` and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FeeCap => "fee_cap",
            Self::GasMoney => "gas_money",
            Self::DamagedSlot => "damaged_slot",
        }
    }

    /// Whether the sender opens no new slots meanwhile.
    #[must_use]
    pub const fn holds_sender(self) -> bool {
        matches!(self, Self::GasMoney | Self::DamagedSlot)
    }
}

impl Store {
    /// The alarms in force, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let rows = alarm::Entity::find()
            .order_by_asc(alarm::Column::RaisedAt)
            .order_by_asc(alarm::Column::Subject)
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("alarms", &error))?;
        rows.iter().map(read_alarm).collect()
    }

    /// Raises an alarm; `false` when it is in force already.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn raise_alarm(
        &self,
        kind: AlarmKind,
        chain_id: u64,
        alarm: &NewAlarm,
    ) -> Result<bool, StoreError> {
        let known = self.alarms_of(kind, chain_id).await?;
        if known.contains_key(&alarm.subject) {
            return Ok(false);
        }
        let one = std::slice::from_ref(alarm);
        transaction!(self, "raise_alarm", |tx| raise_in(&tx, kind, chain_id, one))
    }

    /// Ends an alarm; `false` when it was not in force.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn clear_alarm(
        &self,
        kind: AlarmKind,
        chain_id: u64,
        subject: &str,
    ) -> Result<bool, StoreError> {
        let subjects = [subject.to_owned()];
        transaction!(self, "clear_alarm", |tx| clear_in(&tx, kind, chain_id, &subjects))
    }

    /// Makes the alarms of a kind on a chain those that were found now; writes only what changed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn settle_alarms(
        &self,
        kind: AlarmKind,
        chain_id: u64,
        found: &[NewAlarm],
    ) -> Result<AlarmChanges, StoreError> {
        let known = self.alarms_of(kind, chain_id).await?;
        let raised: Vec<NewAlarm> =
            found.iter().filter(|alarm| !known.contains_key(&alarm.subject)).cloned().collect();
        let cleared: Vec<String> = known
            .into_keys()
            .filter(|subject| !found.iter().any(|alarm| alarm.subject == *subject))
            .collect();
        if !raised.is_empty() || !cleared.is_empty() {
            transaction!(self, "settle_alarms", |tx| settle_in(
                &tx, kind, chain_id, &raised, &cleared
            ))?;
        }
        Ok(AlarmChanges { raised, cleared })
    }

    /// The alarms of one kind on one chain, by subject.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn alarms_of(
        &self,
        kind: AlarmKind,
        chain_id: u64,
    ) -> Result<BTreeMap<String, Alarm>, StoreError> {
        let rows = alarm::Entity::find()
            .filter(alarm::Column::Kind.eq(kind.as_str()))
            .filter(alarm::Column::ChainId.eq(bigint(chain_id)))
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("alarms", &error))?;
        let alarms = rows.iter().map(|row| Ok((row.subject.clone(), read_alarm(row)?)));
        alarms.collect()
    }
}

/// The senders of a chain that open no new slots while an alarm of theirs is in force.
pub(crate) async fn held_senders<C: Source>(
    connection: &C,
    during: &'static str,
    chain_id: u64,
) -> Result<Vec<Address>, StoreError> {
    let kinds = AlarmKind::ALL.into_iter().filter(|kind| kind.holds_sender());
    let rows = alarm::Entity::find()
        .filter(alarm::Column::ChainId.eq(bigint(chain_id)))
        .filter(alarm::Column::Kind.is_in(kinds.map(AlarmKind::as_str)))
        .all(connection)
        .await
        .map_err(|error| StoreError::of_statement(during, &error))?;
    rows.iter().map(|row| read_alarm(row).map(|alarm| alarm.sender)).collect()
}

async fn settle_in(
    tx: &Transaction,
    kind: AlarmKind,
    chain_id: u64,
    raised: &[NewAlarm],
    cleared: &[String],
) -> Result<(), StoreError> {
    clear_in(tx, kind, chain_id, cleared).await?;
    raise_in(tx, kind, chain_id, raised).await?;
    Ok(())
}

async fn raise_in(
    tx: &Transaction,
    kind: AlarmKind,
    chain_id: u64,
    alarms: &[NewAlarm],
) -> Result<bool, StoreError> {
    let mut is_new = false;
    for new in alarms {
        let key = (kind.as_str().to_owned(), bigint(chain_id), new.subject.clone());
        let known = alarm::Entity::find_by_id(key).one(&tx.inner).await;
        if known.map_err(|error| tx.failed(&error))?.is_some() {
            continue;
        }
        is_new = true;
        let row = alarm::ActiveModel {
            kind: ActiveValue::Set(kind.as_str().to_owned()),
            chain_id: ActiveValue::Set(bigint(chain_id)),
            sender: ActiveValue::Set(new.sender.to_vec()),
            subject: ActiveValue::Set(new.subject.clone()),
            detail: ActiveValue::Set(new.detail.clone()),
            raised_at: ActiveValue::Set(tx.now.as_millis()),
        };
        alarm::Entity::insert(row)
            .exec_without_returning(&tx.inner)
            .await
            .map_err(|error| tx.failed(&error))?;
    }
    Ok(is_new)
}

async fn clear_in(
    tx: &Transaction,
    kind: AlarmKind,
    chain_id: u64,
    subjects: &[String],
) -> Result<bool, StoreError> {
    if subjects.is_empty() {
        return Ok(false);
    }
    let cleared = alarm::Entity::delete_many()
        .filter(alarm::Column::Kind.eq(kind.as_str()))
        .filter(alarm::Column::ChainId.eq(bigint(chain_id)))
        .filter(alarm::Column::Subject.is_in(subjects.iter().map(String::as_str)))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    Ok(cleared.rows_affected > 0)
}

fn read_alarm(row: &alarm::Model) -> Result<Alarm, StoreError> {
    let place = Place { table: "alarms", row: row.subject.as_bytes() };
    let kind = AlarmKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
    Ok(Alarm {
        kind: place.known("kind", kind)?,
        chain_id: place.unsigned("chain_id", row.chain_id)?,
        sender: place.address("sender", &row.sender)?,
        subject: row.subject.clone(),
        detail: row.detail.clone(),
        raised_at: Timestamp::from_millis(row.raised_at),
    })
}

//! Slots that cannot be read: set aside one by one, so that a damaged row does not stop the others.
//!
//! A damaged slot keeps its place on the chain. Its bytes, where they can be read, go on being sent; nothing is
//! recorded of it, and its sender opens no new slots, until its rows are mended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::id::SlotId;
use portcullis_core::slot::{Slot, SlotStage};
use sea_orm::EntityTrait;

use crate::db::{Source, Store};
use crate::entity::slot;
use crate::error::StoreError;
use crate::slot::{OpenSlot, read_open_slots};
use crate::withdrawal::read_slot_facts;

/// A slot that cannot be read in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSlot {
    /// Its id.
    pub id: SlotId,
    /// Where on the chain.
    pub slot: Slot,
    /// How far it has come.
    pub stage: SlotStage,
    /// What cannot be read.
    pub problem: String,
}

/// What reading slots came to.
#[derive(Debug, Default)]
pub(crate) struct SlotReading {
    pub(crate) open: Vec<OpenSlot>,
    pub(crate) damaged: Vec<DamagedSlot>,
}

/// Damage that was met and not told yet. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DamageNotes(Arc<Mutex<BTreeMap<SlotId, DamagedSlot>>>);

impl DamageNotes {
    pub(crate) fn note(&self, damaged: &[DamagedSlot]) {
        if damaged.is_empty() {
            return;
        }
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.extend(damaged.iter().map(|damage| (damage.id, damage.clone())));
    }

    fn take(&self) -> Vec<DamagedSlot> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *notes).into_values().collect()
    }
}

impl SlotReading {
    /// The sound ones; the others are noted.
    pub(crate) fn noted(self, notes: &DamageNotes) -> Vec<OpenSlot> {
        notes.note(&self.damaged);
        self.open
    }
}

impl Store {
    /// Damaged slots that this process met since the last call.
    #[must_use]
    pub fn take_damage(&self) -> Vec<DamagedSlot> {
        self.damage.take()
    }

    /// What is damaged of a slot, if it still is.
    ///
    /// # Errors
    /// When the database does not answer, or the slot's own row cannot be read.
    pub async fn damage_of(&self, id: SlotId) -> Result<Option<DamagedSlot>, StoreError> {
        let during = "damage_of";
        let picture = self.snapshot(during).await?;
        let row = slot::Entity::find_by_id(id.to_bytes().to_vec())
            .one(&picture)
            .await
            .map_err(|error| StoreError::of_statement(during, &error))?;
        let reading = read_sound_slots(&picture, during, row.as_slice()).await?;
        Ok(reading.damaged.into_iter().next())
    }
}

/// Completes slot rows, in their order, and sets those aside that cannot be.
///
/// # Errors
/// When the database does not answer; and when a slot's own row does not say where on the chain it is: then
/// nobody knows whose nonces are in question.
pub(crate) async fn read_sound_slots<C: Source>(
    connection: &C,
    during: &'static str,
    rows: &[slot::Model],
) -> Result<SlotReading, StoreError> {
    match read_open_slots(connection, during, rows).await {
        Ok(open) => return Ok(SlotReading { open, damaged: Vec::new() }),
        Err(StoreError::Corrupt { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut reading = SlotReading::default();
    for row in rows {
        let facts = read_slot_facts(row)?;
        match read_open_slots(connection, during, std::slice::from_ref(row)).await {
            Ok(open) => reading.open.extend(open),
            Err(damage @ StoreError::Corrupt { .. }) => reading.damaged.push(DamagedSlot {
                id: facts.id,
                slot: facts.slot,
                stage: facts.stage,
                problem: damage.to_string(),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(reading)
}

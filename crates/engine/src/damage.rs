//! What a role does about rows that Portcullis could not have written.

use portcullis_core::id::WithdrawalId;
use portcullis_store::alarm::{AlarmKind, NewAlarm};
use portcullis_store::{Store, StoreError};

use crate::Progress;
use crate::error::EngineError;

/// Passes a step's outcome on. A damaged withdrawal that no slot carries is held, a damaged slot is set aside with
/// an alarm, and the others go on; any other damage halts the engine: nothing may be concluded from what is left.
pub(crate) async fn contained(
    store: &Store,
    outcome: Result<Progress, EngineError>,
) -> Result<Progress, EngineError> {
    tell_damaged_slots(store).await?;
    let Err(EngineError::Store(damage @ StoreError::Corrupt { .. })) = &outcome else {
        return outcome;
    };
    let problem = damage.to_string();
    if let StoreError::Corrupt { table: "withdrawals", row, .. } = damage
        && let Some(id) = withdrawal_of(row)
        && store.quarantine(id, &problem).await?
    {
        tracing::error!(withdrawal = %id, problem, "a damaged withdrawal is held; the others go on");
        metrics::counter!("portcullis_quarantined_total").increment(1);
        return Ok(Progress::Worked);
    }
    store.raise_halt("tamper", &problem).await?;
    outcome
}

/// Raises an alarm for each damaged slot that was met. It is told once.
async fn tell_damaged_slots(store: &Store) -> Result<(), EngineError> {
    for damaged in store.take_damage() {
        let (sender, nonce) = (damaged.slot.sender, damaged.slot.nonce);
        let detail = format!(
            "nonce {nonce} of {sender} ({}) is set aside, and its wallet opens no new slots: {}. Mend the row from \
             the audit log and the journal; it goes on by itself then",
            damaged.stage.as_str(),
            damaged.problem
        );
        let alarm = NewAlarm { sender, subject: damaged.id.to_string(), detail };
        let kind = AlarmKind::DamagedSlot;
        if store.raise_alarm(kind, damaged.slot.chain_id, &alarm).await? {
            tracing::error!(slot = %damaged.id, "{}", alarm.detail);
            metrics::counter!("portcullis_alarms_total", "kind" => kind.as_str()).increment(1);
        }
    }
    Ok(())
}

/// The row of the error is the withdrawal's id in hexadecimal digits.
fn withdrawal_of(row: &str) -> Option<WithdrawalId> {
    let bytes = alloy_primitives::hex::decode(row).ok()?;
    bytes.try_into().ok().map(WithdrawalId::from_bytes)
}

//! What a role does about rows that Portcullis could not have written.

use portcullis_core::id::WithdrawalId;
use portcullis_store::{Store, StoreError};

use crate::Progress;
use crate::error::EngineError;

/// Passes a step's outcome on. A damaged withdrawal that no slot carries is held, and the others go on
/// at the next step; any other damage halts the engine: nothing may be concluded from what is left.
pub(crate) async fn contained(
    store: &Store,
    outcome: Result<Progress, EngineError>,
) -> Result<Progress, EngineError> {
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

/// The row of the error is the withdrawal's id in hexadecimal digits.
fn withdrawal_of(row: &str) -> Option<WithdrawalId> {
    let bytes = alloy_primitives::hex::decode(row).ok()?;
    bytes.try_into().ok().map(WithdrawalId::from_bytes)
}

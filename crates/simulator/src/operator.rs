//! The simulated operator: looks at the alarms now and then, and does what they say.

use std::sync::Arc;

use portcullis_core::withdrawal::State;
use portcullis_engine::{EngineError, Progress, RoleParts};
use portcullis_keys::Signer;
use portcullis_store::work::ResumeOutcome;

use crate::oracle::all_withdrawals;

/// Follows the alarms of one engine.
pub(crate) async fn follow_alarms(
    parts: RoleParts,
    _signer: Option<Arc<Signer>>,
) -> Result<Progress, EngineError> {
    if !parts.store.halts().await?.is_empty() {
        return Ok(Progress::Idle);
    }
    resume_held(&parts).await
}

/// Lets go on what is held and no slot carries.
async fn resume_held(parts: &RoleParts) -> Result<Progress, EngineError> {
    let mut progress = Progress::Idle;
    for record in all_withdrawals(&parts.store).await? {
        if !matches!(record.state, State::Held { slot: None, .. }) {
            continue;
        }
        let outcome = parts.store.resume(record.id, "operator", "the alarm was followed").await?;
        progress = progress.or(Progress::of(outcome == ResumeOutcome::Resumed));
    }
    Ok(progress)
}

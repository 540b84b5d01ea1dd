//! Whether database and journal still tell the same story: a file that was swapped under a running engine shows here.

use std::sync::PoisonError;

use alloy_primitives::B256;

use super::SignerRole;
use crate::error::EngineError;
use crate::reconcile::what_journal_knows_more;

/// How often they are compared, and the head of the audit log is written into the journal when it has moved.
const COMPARE_MS: i64 = 3_000;

impl SignerRole {
    /// Compares journal and database, now and then; halts the engine where the journal knows more (invariant 12).
    pub(super) async fn still_agrees(&self) -> Result<bool, EngineError> {
        let now = self.store.now();
        let last = *self.compared_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back must not stop the comparing.
        if last.is_some_and(|last| (0..COMPARE_MS).contains(&now.millis_since(last))) {
            return Ok(true);
        }
        let journal = self.signer.journal();
        if let Some(detail) = what_journal_knows_more(&self.store, journal).await? {
            self.store.raise_halt("restore", &detail).await?;
            return Ok(false);
        }
        if let Some(head) = self.store.audit_head().await? {
            let hash = B256::from(head.hash);
            let remembered = journal.audit_head().map(|known| (known.sequence, known.hash));
            if remembered != Some((head.sequence, hash)) {
                self.signer.record_audit_head(head.sequence, hash).await?;
            }
        }
        *self.compared_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(true)
    }
}

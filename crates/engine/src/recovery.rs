//! Recovery: goes after what is stuck. It decides what is to be signed; only the signer signs.

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_evm::ProviderPool;
use portcullis_store::Store;
use portcullis_store::command::CommandKind;

use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts, Surroundings};

/// Recovery's role.
pub struct Recovery {
    store: Store,
    pools: Vec<Arc<ProviderPool>>,
    settings: EngineSettings,
    around: Surroundings,
    doorbells: Doorbells,
}

impl Recovery {
    /// Recovery.
    #[must_use]
    pub fn new(parts: RoleParts) -> Self {
        let RoleParts { store, pools, settings, around, doorbells, .. } = parts;
        Self { store, pools, settings, around, doorbells }
    }

    /// Asks for a dearer attempt of every sender's lowest slot that waits for too long. The slots
    /// behind it wait for it, so a bump of theirs would only cost.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        let before = self.around.clock.now().plus_millis(-self.settings.bump_after_ms);
        let mut progress = Progress::Idle;
        for pool in &self.pools {
            if !pool.chain().replaceable {
                continue;
            }
            let mut last: Option<Address> = None;
            for waiting in self.store.waiting_slots(pool.chain().chain_id, before).await? {
                if last == Some(waiting.slot.sender) {
                    continue;
                }
                last = Some(waiting.slot.sender);
                let reason =
                    format!("not mined {} ms after its last attempt", self.settings.bump_after_ms);
                let asked = self
                    .store
                    .request_command(CommandKind::Bump, waiting.slot, "recovery", &reason)
                    .await?;
                progress = progress.or(Progress::of(asked));
            }
        }
        if progress == Progress::Worked {
            self.doorbells.ring(Bell::Sign);
        }
        Ok(progress)
    }
}

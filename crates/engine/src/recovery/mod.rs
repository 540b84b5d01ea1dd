//! Recovery: goes after what is stuck. It decides what is to be signed; only the signer signs.

mod funds;
mod gaps;
mod heads;
mod letters;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use portcullis_core::recovery::Patience;
use portcullis_core::slot::Slot;
use portcullis_core::time::Timestamp;
use portcullis_evm::{GasOracle, ProviderPool};
use portcullis_store::Store;
use portcullis_store::alarm::{AlarmChanges, AlarmKind};

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts};

/// Recovery's role.
pub struct Recovery {
    store: Store,
    chains: Vec<RecoveryChain>,
    settings: EngineSettings,
    doorbells: Doorbells,
}

/// One chain of recovery.
struct RecoveryChain {
    pool: Arc<ProviderPool>,
    oracle: GasOracle,
    /// Since when each gap is seen, and when they were last looked for. Only a memory of this process: a
    /// restart waits once more.
    gaps: Mutex<GapWatch>,
}

#[derive(Default)]
struct GapWatch {
    looked_at: Option<Timestamp>,
    seen: BTreeMap<Slot, Timestamp>,
}

impl Recovery {
    /// Recovery.
    #[must_use]
    pub fn new(parts: RoleParts) -> Self {
        let RoleParts { store, pools, settings, doorbells, .. } = parts;
        let chains = pools
            .into_iter()
            .map(|pool| RecoveryChain {
                oracle: GasOracle::new(pool.as_ref().clone(), store.clock()),
                gaps: Mutex::default(),
                pool,
            })
            .collect();
        Self { store, chains, settings, doorbells }
    }

    /// One look at what is stuck on each chain, and at the dead letters. A node that does not answer stops its
    /// own chain only.
    ///
    /// # Errors
    /// When the database or a node does not answer.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        contained(&self.store, self.try_step().await).await
    }

    async fn try_step(&self) -> Result<Progress, EngineError> {
        let mut progress = self.tend_letters().await?;
        let mut failed = None;
        for chain in &self.chains {
            match self.step_chain(chain).await {
                Ok(done) => progress = progress.or(done),
                Err(error) => failed = Some(error),
            }
        }
        if progress == Progress::Worked {
            self.doorbells.ring(Bell::Sign);
        }
        failed.map_or(Ok(progress), Err)
    }

    async fn step_chain(&self, chain: &RecoveryChain) -> Result<Progress, EngineError> {
        self.recheck_damage(chain).await?;
        let resumed = self.resume_funded(chain).await?;
        let bumped = self.tend_heads(chain).await?;
        let filled = self.fill_gaps(chain).await?;
        Ok(resumed.or(bumped).or(filled))
    }

    fn patience(&self, chain: &RecoveryChain) -> Patience {
        let block_ms = i64::try_from(chain.pool.chain().block_time_ms).unwrap_or(i64::MAX);
        Patience {
            standard_ms: self.settings.bump_after_ms,
            least_ms: block_ms.saturating_mul(3).min(self.settings.bump_after_ms),
        }
    }
}

/// Tells what changed, once.
fn tell_alarms(kind: AlarmKind, network: &'static str, changes: &AlarmChanges) {
    let kind = kind.as_str();
    for alarm in &changes.raised {
        tracing::error!(kind, network, subject = alarm.subject, "{}", alarm.detail);
        metrics::counter!("portcullis_alarms_total", "kind" => kind, "network" => network)
            .increment(1);
    }
    for subject in &changes.cleared {
        tracing::info!(kind, network, subject, "the alarm is over");
    }
}

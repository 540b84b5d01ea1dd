//! The processor: puts accepted withdrawals before policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::id::AssetId;
use portcullis_core::policy::{Facts, Rule, Verdict, evaluate};
use portcullis_core::seal::SealingKeys;
use portcullis_store::Store;
use portcullis_store::transition::Stage;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts};

/// The processor's role.
pub struct Processor {
    store: Store,
    keys: Arc<SealingKeys>,
    chain_ids: Vec<u64>,
    settings: EngineSettings,
    doorbells: Doorbells,
}

impl Processor {
    /// A processor that checks rows with `keys`.
    #[must_use]
    pub fn new(parts: RoleParts, keys: Arc<SealingKeys>) -> Self {
        let RoleParts { store, pools, settings, doorbells, .. } = parts;
        let chain_ids = pools.iter().map(|pool| pool.chain().chain_id).collect();
        Self { store, keys, chain_ids, settings, doorbells }
    }

    /// Judges what is due, in one transaction.
    ///
    /// # Errors
    /// When the database does not answer. A forged asset halts the engine.
    pub async fn step(&self) -> Result<Progress, EngineError> {
        contained(&self.store, self.try_step().await).await
    }

    async fn try_step(&self) -> Result<Progress, EngineError> {
        if !self.store.has_work(Stage::Validate).await? {
            return Ok(Progress::Idle);
        }
        let facts = self.facts().await?;
        let judge = |record: &WithdrawalRecord, total| facts.judge(record, total);
        let judged = self.store.validate(self.settings.batch_max, &judge).await?;
        if judged > 0 {
            self.doorbells.ring(Bell::Sign);
        }
        Ok(Progress::of(judged > 0))
    }

    async fn facts(&self) -> Result<DeploymentFacts, EngineError> {
        let assets = self.store.assets(&self.keys).await?;
        let mut own = BTreeMap::new();
        for chain_id in &self.chain_ids {
            own.insert(*chain_id, self.store.own_addresses(*chain_id).await?);
        }
        Ok(DeploymentFacts {
            assets: assets.into_iter().map(|asset| (asset.id, asset)).collect(),
            own,
        })
    }
}

struct DeploymentFacts {
    assets: BTreeMap<AssetId, Asset>,
    own: BTreeMap<u64, Vec<Address>>,
}

impl DeploymentFacts {
    fn judge(&self, record: &WithdrawalRecord, day_total: Amount) -> Verdict {
        let Some(asset) = self.assets.get(&record.asset) else {
            return Verdict::Refuse(Rule::AssetEnabled);
        };
        let own = self.own.get(&record.chain_id).map(Vec::as_slice).unwrap_or_default();
        evaluate(&Facts { asset, amount: record.amount, to: record.to, own, day_total })
    }
}

//! The processor: puts accepted withdrawals before policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::id::AssetId;
use portcullis_core::policy::{Facts, Rule, Verdict, evaluate};
use portcullis_core::seal::SealingKeys;
use portcullis_store::transition::Stage;
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::{Store, StoreError};

use crate::damage::contained;
use crate::doorbell::{Bell, Doorbells};
use crate::error::EngineError;
use crate::poison::{Narrowing, RETRY_MS, fail_request, is_of_the_work, letter_error};
use crate::settings::EngineSettings;
use crate::{Progress, RoleParts, Surroundings};

/// The processor's role.
pub struct Processor {
    store: Store,
    keys: Arc<SealingKeys>,
    chain_ids: Vec<u64>,
    settings: EngineSettings,
    around: Surroundings,
    doorbells: Doorbells,
    narrowing: Narrowing,
}

impl Processor {
    /// A processor that checks rows with `keys`.
    #[must_use]
    pub fn new(parts: RoleParts, keys: Arc<SealingKeys>) -> Self {
        let RoleParts { store, pools, settings, around, doorbells, .. } = parts;
        let chain_ids = pools.iter().map(|pool| pool.chain().chain_id).collect();
        let narrowing = Narrowing::default();
        Self { store, keys, chain_ids, settings, around, doorbells, narrowing }
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
        let limit = self.narrowing.limit(self.settings.batch_max);
        let judged = match self.store.validate(limit, &judge).await {
            Ok(judged) => judged,
            Err(error) => return Err(self.blame(error.into()).await?),
        };
        self.narrowing.widen();
        if judged > 0 {
            self.doorbells.ring(Bell::Sign);
        }
        Ok(Progress::of(judged > 0))
    }

    /// A set that fails is halved; one that fails alone has failed a receive. Returns the error.
    async fn blame(&self, error: EngineError) -> Result<EngineError, EngineError> {
        if is_of_the_work(&error)
            && self.narrowing.narrow(self.settings.batch_max)
            && let Some(id) = self.store.first_due(Stage::Validate, None).await?
            && !is_readable_damage(&error)
        {
            fail_request(&self.store, &self.around, id, letter_error(&error), RETRY_MS).await?;
        }
        Ok(error)
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

/// Damage that names its withdrawal: that is held at once.
const fn is_readable_damage(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(StoreError::Corrupt { .. }))
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

//! What is over by itself: senders that can pay for gas again, and slots whose rows were mended.

use alloy_primitives::Address;
use portcullis_core::amount::Amount;
use portcullis_core::id::SlotId;
use portcullis_core::slot::Slot;
use portcullis_evm::BlockTag;
use portcullis_store::alarm::{AlarmChanges, AlarmKind};

use super::{Recovery, RecoveryChain, tell_alarms};
use crate::Progress;
use crate::error::EngineError;

impl Recovery {
    /// Lets senders go on whose balance covers all that their open slots may cost, and sends those again at once.
    pub(super) async fn resume_funded(
        &self,
        chain: &RecoveryChain,
    ) -> Result<Progress, EngineError> {
        let spec = chain.pool.chain();
        let alarms = self.store.alarms_of(AlarmKind::GasMoney, spec.chain_id).await?;
        if alarms.is_empty() {
            return Ok(Progress::Idle);
        }
        let senders: Vec<Address> = alarms.values().map(|alarm| alarm.sender).collect();
        let balances = chain.pool.native_balances(&senders, BlockTag::Latest).await?;
        let loads = self.store.sender_loads(spec.chain_id, u64::MAX).await?;
        let mut changes = AlarmChanges::default();
        for ((subject, alarm), balance) in alarms.into_iter().zip(balances) {
            let load = loads.iter().find(|load| load.address == alarm.sender);
            let needed = load.and_then(|load| {
                let native = load.promised.get(&None).copied().unwrap_or(Amount::ZERO);
                load.gas_promised.checked_add(native)
            });
            if needed.is_none_or(|needed| balance < needed) {
                continue;
            }
            let all = Slot { chain_id: spec.chain_id, sender: alarm.sender, nonce: u64::MAX };
            self.store.send_below(all).await?;
            self.store.clear_alarm(AlarmKind::GasMoney, spec.chain_id, &subject).await?;
            changes.cleared.push(subject);
        }
        tell_alarms(AlarmKind::GasMoney, spec.network, &changes);
        Ok(Progress::of(!changes.cleared.is_empty()))
    }

    /// Ends the alarms of slots that can be read again.
    pub(super) async fn recheck_damage(&self, chain: &RecoveryChain) -> Result<(), EngineError> {
        let spec = chain.pool.chain();
        let alarms = self.store.alarms_of(AlarmKind::DamagedSlot, spec.chain_id).await?;
        let mut changes = AlarmChanges::default();
        for subject in alarms.into_keys() {
            let Ok(id) = subject.parse::<SlotId>() else { continue };
            if self.store.damage_of(id).await?.is_none() {
                self.store.clear_alarm(AlarmKind::DamagedSlot, spec.chain_id, &subject).await?;
                changes.cleared.push(subject);
            }
        }
        tell_alarms(AlarmKind::DamagedSlot, spec.network, &changes);
        Ok(())
    }
}

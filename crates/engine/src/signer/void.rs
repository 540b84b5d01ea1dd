//! Voids: numbers of payments that are not to be made any more are used up in the vault, so that the money can go back.

use alloy_primitives::Address;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{Purpose, Rail};
use portcullis_core::vault::vault_void;
use portcullis_evm::CallRequest;

use super::direct::with_headroom;
use super::pay::Ride;
use super::{Held, SignerChain, SignerRole};
use crate::Progress;
use crate::error::EngineError;

/// Numbers that one call voids.
const VOIDS_MAX: u64 = 100;

impl SignerRole {
    /// Voids what is held for it and whose rides are all over for good, in one call.
    pub(super) async fn void(
        &self,
        chain: &SignerChain,
        held: &[Held],
    ) -> Result<Progress, EngineError> {
        let chain_id = chain.spec().chain_id;
        let Some(vault) = chain.vault else { return Ok(Progress::Idle) };
        let records = self.store.voidable(chain_id, VOIDS_MAX).await?;
        if records.is_empty() {
            return Ok(Progress::Idle);
        }
        let loads = self.loads(chain_id, held).await?;
        let most = self.settings.in_flight_max.min(chain.spec().in_flight_max);
        let Some(sender) = freest(&loads, most) else { return Ok(Progress::Idle) };
        let Some(fees) = self.first_price(chain).await? else { return Ok(Progress::Idle) };
        let numbers: Vec<PayoutNumber> = records.iter().map(|record| record.number).collect();
        let payload = vault_void(vault, &numbers);
        let call = CallRequest::of_payload(sender, &payload);
        let gas_limit = match chain.pool.estimate_gas(&[call]).await.pop() {
            Some(Ok(gas)) => with_headroom(gas),
            Some(Err(error)) => {
                tracing::warn!(%vault, %error, "no node would execute a void; waiting");
                return Ok(Progress::Idle);
            }
            None => return Ok(Progress::Idle),
        };
        let (purpose, rail) = (Purpose::Void, Rail::Vault);
        let ride = Ride { sender, purpose, rail, records, payload, gas_limit };
        self.bind_and_sign(chain_id, held, &loads, vec![ride], fees).await?;
        Ok(Progress::Worked)
    }
}

fn freest(loads: &[portcullis_store::sender::SenderLoad], in_flight_max: u64) -> Option<Address> {
    let free = |load: &&portcullis_store::sender::SenderLoad| load.in_flight < in_flight_max;
    let freest = loads.iter().filter(free).min_by_key(|load| (load.in_flight, load.address))?;
    Some(freest.address)
}

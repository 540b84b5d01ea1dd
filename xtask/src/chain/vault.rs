//! What a `PayoutVault` says of its items.

use alloy_primitives::{Address, B256, U64, U256};
use alloy_sol_types::{SolEvent, sol};
use anyhow::{Context, Result};
use serde_json::json;

use super::read::{LOG_RANGE, WireLog, ranges};
use super::rpc::Rpc;

sol! {
    event Paid(uint256 indexed number, bytes32 indexed ref, address token, address to, uint256 amount);
    event Failed(uint256 indexed number, bytes32 indexed ref, bytes32 reason);
    event Skipped(uint256 indexed number, bytes32 indexed ref);
    event Voided(uint256 indexed number);
}

/// One event of a vault, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultLog {
    /// Number of the block.
    pub block: u64,
    /// Hash of the transaction.
    pub tx: B256,
    /// The payout number.
    pub number: U256,
    /// What became of it.
    pub event: VaultEvent,
}

/// What became of a payout number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultEvent {
    /// It was paid.
    Paid {
        /// The token; `None` for the native coin.
        token: Option<Address>,
        /// To whom.
        to: Address,
        /// How much, in atomic units.
        amount: U256,
    },
    /// It could not be paid.
    Failed,
    /// It had been used before, and nothing was done.
    Skipped,
    /// It was used up without a payment.
    Voided,
}

impl Rpc {
    /// What a vault said of its items in blocks `from_block..=to_block`, in chain order.
    ///
    /// # Errors
    /// The node fails, or the contract is no vault.
    pub async fn vault_logs(
        &self,
        vault: Address,
        from_block: u64,
        to_block: u64,
    ) -> Result<Vec<VaultLog>> {
        let events = [
            Paid::SIGNATURE_HASH,
            Failed::SIGNATURE_HASH,
            Skipped::SIGNATURE_HASH,
            Voided::SIGNATURE_HASH,
        ];
        let mut logs = Vec::new();
        for (first, last) in ranges(from_block, to_block, LOG_RANGE) {
            let filter = json!([{
                "address": vault,
                "topics": [events],
                "fromBlock": U64::from(first),
                "toBlock": U64::from(last),
            }]);
            let mut found: Vec<WireLog> = self.call("eth_getLogs", filter).await?;
            found.sort_by_key(|log| (log.block_number, log.log_index));
            for log in &found {
                logs.push(decode(log)?);
            }
        }
        Ok(logs)
    }
}

fn decode(log: &WireLog) -> Result<VaultLog> {
    let (number, event) = read_event(&log.topics, &log.data)
        .with_context(|| format!("a log of {} is not that of a vault", log.transaction_hash))?;
    Ok(VaultLog { block: log.block_number.to(), tx: log.transaction_hash, number, event })
}

fn read_event(topics: &[B256], data: &[u8]) -> Result<(U256, VaultEvent)> {
    let words = || topics.iter().copied();
    let kind = topics.first().context("it has no topic")?;
    Ok(if *kind == Paid::SIGNATURE_HASH {
        let paid = Paid::decode_raw_log_validate(words(), data)?;
        let token = Some(paid.token).filter(|token| !token.is_zero());
        (paid.number, VaultEvent::Paid { token, to: paid.to, amount: paid.amount })
    } else if *kind == Failed::SIGNATURE_HASH {
        (Failed::decode_raw_log_validate(words(), data)?.number, VaultEvent::Failed)
    } else if *kind == Skipped::SIGNATURE_HASH {
        (Skipped::decode_raw_log_validate(words(), data)?.number, VaultEvent::Skipped)
    } else {
        (Voided::decode_raw_log_validate(words(), data)?.number, VaultEvent::Voided)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &alloy_primitives::LogData) -> Result<(U256, VaultEvent)> {
        read_event(log.topics(), &log.data)
    }

    #[test]
    fn each_event_is_told_apart() {
        let (number, reference) = (U256::from(7), B256::repeat_byte(1));
        let (to, amount) = (Address::repeat_byte(2), U256::from(9));
        let coin = Paid { number, r#ref: reference, token: Address::ZERO, to, amount };
        let paid = VaultEvent::Paid { token: None, to, amount };
        assert_eq!(read(&coin.encode_log_data()).unwrap(), (number, paid));
        let token = Address::repeat_byte(3);
        let tokens = Paid { number, r#ref: reference, token, to, amount };
        let paid = VaultEvent::Paid { token: Some(token), to, amount };
        assert_eq!(read(&tokens.encode_log_data()).unwrap(), (number, paid));
        let failed = Failed { number, r#ref: reference, reason: B256::ZERO };
        assert_eq!(read(&failed.encode_log_data()).unwrap(), (number, VaultEvent::Failed));
        let skipped = Skipped { number, r#ref: reference };
        assert_eq!(read(&skipped.encode_log_data()).unwrap(), (number, VaultEvent::Skipped));
        let voided = Voided { number };
        assert_eq!(read(&voided.encode_log_data()).unwrap(), (number, VaultEvent::Voided));
        assert!(read_event(&[], &[]).is_err());
        assert!(read_event(&[Voided::SIGNATURE_HASH], &[]).is_err());
    }
}

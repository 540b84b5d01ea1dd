//! How a [`super::SimNode`] behaves.

use alloy_primitives::U256;
use portcullis_core::time::Timestamp;

/// The chain and its node. The defaults are Polygon's as of 2026, with a constant base fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Gas that a block holds.
    pub block_gas_limit: u64,
    /// Base fee of the first block, in wei per gas.
    pub base_fee_wei: u64,
    /// How the base fee moves from block to block.
    pub base_fee_rule: BaseFeeRule,
    /// When block 0 was made.
    pub genesis_at: Timestamp,
    /// What `eth_maxPriorityFeePerGas` answers, in wei per gas.
    pub suggested_tip_wei: u128,
    /// How many blocks behind the head `finalized` is; `None` answers as a node that knows no milestone.
    pub finality_depth_blocks: Option<u64>,
    /// What the pool accepts.
    pub pool: PoolRules,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            chain_id: 137,
            block_gas_limit: 60_000_000,
            base_fee_wei: 30_000_000_000,
            base_fee_rule: BaseFeeRule::Constant,
            genesis_at: Timestamp::from_millis(1_795_132_800_000),
            suggested_tip_wei: 30_000_000_000,
            finality_depth_blocks: Some(4),
            pool: PoolRules::default(),
        }
    }
}

/// How the base fee follows demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFeeRule {
    /// It stays until [`super::SimNode::set_base_fee`] changes it.
    Constant,
    /// EIP-1559 with the parameters of the chain: Ethereum 8 and 50 %, bor 64 and 65 % (PIP-79).
    Eip1559 {
        /// The most that one block moves it is one part in so many (for an empty or a twice-full block).
        denominator: u64,
        /// The share of the block gas limit at which it stands still, 1 to 100.
        target_percent: u64,
    },
}

impl BaseFeeRule {
    /// The base fee behind a block, in wei per gas.
    pub(crate) fn next(self, base_fee_wei: u64, gas_used: u64, gas_limit: u64) -> u64 {
        let Self::Eip1559 { denominator, target_percent } = self else { return base_fee_wei };
        let target = u128::from(gas_limit) * u128::from(target_percent) / 100;
        let (fee, used) = (u128::from(base_fee_wei), u128::from(gas_used));
        let step = |distance: u128| {
            fee.saturating_mul(distance) / target.max(1) / u128::from(denominator.max(1))
        };
        let next = if used > target {
            // EIP-1559: above the target it always moves, by 1 wei at least.
            fee.saturating_add(step(used - target).max(1))
        } else {
            fee.saturating_sub(step(target - used))
        };
        u64::try_from(next).unwrap_or(u64::MAX)
    }
}

/// What bor's pool accepts (`core/txpool/validation.go`, `core/txpool/legacypool`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// The lowest tip cap, in wei per gas (PIP-35: 25 gwei on Polygon).
    pub min_tip_wei: u128,
    /// Gas limit of one transaction (EIP-7825; bor `MaxTxGas` is 2^25).
    pub tx_gas_cap: u64,
    /// The most that `max fee × gas limit` may be, in wei; `None` is no cap (bor `jsonrpc.txfeecap`).
    pub rpc_fee_cap_wei: Option<U256>,
    /// By how much a replacement raises both fee caps (`PriceBump`).
    pub price_bump_percent: u128,
    /// Executable transactions of one account (`AccountSlots`).
    pub account_slots: usize,
    /// Gapped transactions of one account (`AccountQueue`).
    pub account_queue: usize,
    /// How long the first transaction of an account may bid less than the base fee before the account's
    /// whole executable chain is dropped, in milliseconds of block time (bor 2.10.3 `txpool.strandedlifetime`).
    /// `None` is no such rule, as in geth, and the default, because bor's own length is not known here.
    pub stranded_lifetime_ms: Option<i64>,
    /// What happens to those above the two limits.
    pub overflow: PoolOverflow,
    /// The deepest reorg whose transactions come back by themselves (`legacypool.reset`).
    pub reinject_depth_blocks: u64,
}

impl Default for PoolRules {
    fn default() -> Self {
        Self {
            min_tip_wei: 25_000_000_000,
            tx_gas_cap: 1 << 25,
            rpc_fee_cap_wei: Some(U256::from(1_000_000_000_000_000_000_u128)),
            price_bump_percent: 10,
            account_slots: 16,
            account_queue: 64,
            stranded_lifetime_ms: None,
            overflow: PoolOverflow::Refuse,
            reinject_depth_blocks: 64,
        }
    }
}

/// A pool with room takes more than its limits; a full one cuts back to them. This is a full one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOverflow {
    /// The sender is told: `txpool is full`, `account limit exceeded`.
    Refuse,
    /// The answer is the hash, and the transaction is gone (`truncatePending`, `truncateQueue`).
    Forget,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_fee_follows_eip_1559() {
        let ethereum = BaseFeeRule::Eip1559 { denominator: 8, target_percent: 50 };
        let limit = 30_000_000;
        assert_eq!(ethereum.next(1_000_000_000, 15_000_000, limit), 1_000_000_000);
        assert_eq!(ethereum.next(1_000_000_000, 30_000_000, limit), 1_125_000_000);
        assert_eq!(ethereum.next(1_000_000_000, 0, limit), 875_000_000);
        assert_eq!(ethereum.next(1, 30_000_000, limit), 2);
        assert_eq!(BaseFeeRule::Constant.next(7, 30_000_000, limit), 7);
    }
}

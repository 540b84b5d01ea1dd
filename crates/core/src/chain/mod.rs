//! Chains as data: what the engine must know of each, so that no code asks "is this Polygon?".

mod catalog;

use crate::fee::FeeBounds;

/// The native coin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeCoin {
    /// What people call it: `POL`.
    pub symbol: &'static str,
    /// Its decimal places: 18 on every known chain.
    pub decimals: u8,
}

/// How deep a fact must lie before "not paid" may be concluded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConservativeDepth {
    /// Blocks on top of it.
    pub blocks: u64,
    /// And this old.
    pub age_ms: i64,
}

/// How the chain prices gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeModel {
    /// EIP-1559: base fee and tip.
    Eip1559,
    /// EIP-1559 with a base fee of zero and a least gas price (BSC).
    ZeroBaseFee,
    /// A sequencer's base fee; tips are ignored, and the cost of L1 data is part of the gas used (Arbitrum).
    L1DataInGas,
    /// EIP-1559, and an L1 data fee on top that `eth_estimateGas` leaves out (OP stack).
    L1DataOnTop,
}

/// What the chain's nodes say of finality, and whether that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalitySource {
    /// Depth and age alone. Polygon's `finalized` was violated on mainnet more than once.
    Depth,
    /// The `finalized` tag, and depth and age as well.
    FinalizedTag,
}

/// One chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// EIP-155 id.
    pub chain_id: u64,
    /// The `network` of the API: `polygon`.
    pub network: &'static str,
    /// What people read: `Polygon PoS`.
    pub name: &'static str,
    /// The coin that pays for gas.
    pub native: NativeCoin,
    /// Where a transaction is shown, without a trailing slash.
    pub explorer: Option<&'static str>,
    /// Whether its coins are worthless.
    pub is_testnet: bool,
    /// Usual time between two blocks.
    pub block_time_ms: u64,
    /// Blocks, the including one counted, after which a payment is called paid.
    pub confirmations: u64,
    /// What "not paid", and `final`, need.
    pub conservative: ConservativeDepth,
    /// Whether the `finalized` tag counts.
    pub finality: FinalitySource,
    /// How gas is priced.
    pub fee_model: FeeModel,
    /// The least tip and the default hard cap.
    pub fee_bounds: FeeBounds,
    /// The most gas that one transaction may ask for.
    pub transaction_gas_max: u64,
    /// The most bytes of calldata that its nodes take, with room for the rest of a transaction.
    pub calldata_bytes_max: usize,
    /// What reading a storage slot for the first time costs in a transaction.
    pub cold_slot_gas: u64,
    /// Not yet mined transactions that a sender may have.
    pub in_flight_max: u64,
    /// Whether a sent transaction can be replaced by a dearer one (not on a sequencer without a mempool).
    pub replaceable: bool,
    /// Independent providers that must agree before a binding is released by itself. Only the local
    /// development chain is content with one.
    pub release_quorum_min: usize,
}

impl ChainSpec {
    /// Every known chain.
    pub const ALL: &'static [Self] = catalog::CHAINS;

    /// By EIP-155 id.
    #[must_use]
    pub fn by_id(chain_id: u64) -> Option<&'static Self> {
        Self::ALL.iter().find(|chain| chain.chain_id == chain_id)
    }

    /// By the API's name.
    #[must_use]
    pub fn by_network(network: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|chain| chain.network == network)
    }

    /// Where a transaction can be looked at.
    #[must_use]
    pub fn transaction_url(&self, hash: alloy_primitives::B256) -> Option<String> {
        self.explorer.map(|explorer| format!("{explorer}/tx/{hash}"))
    }

    /// Confirmations of something in block `included`, seen from block `head`; the including block counts.
    #[must_use]
    pub const fn depth(included: u64, head: u64) -> u64 {
        match head.checked_sub(included) {
            None => 0,
            Some(above) => above.saturating_add(1),
        }
    }

    /// Whether something that deep and that old is final by the conservative rule.
    #[must_use]
    pub const fn is_final(&self, depth: u64, age_ms: i64) -> bool {
        depth >= self.conservative.blocks && age_ms >= self.conservative.age_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polygon_is_final_by_depth_and_age_together() {
        let polygon = ChainSpec::by_network("polygon").expect("in the catalogue");
        assert_eq!(polygon.confirmations, 12);
        assert!(polygon.is_final(500, 1_800_000));
        assert!(!polygon.is_final(499, 1_800_000));
        assert!(!polygon.is_final(500, 1_799_999));
    }

    #[test]
    fn the_including_block_is_the_first_confirmation() {
        assert_eq!(ChainSpec::depth(100, 99), 0);
        assert_eq!(ChainSpec::depth(100, 100), 1);
        assert_eq!(ChainSpec::depth(100, 111), 12);
    }
}

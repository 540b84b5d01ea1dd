//! The known chains. Facts of autumn 2026, each with the place where it is fixed; gas limits and
//! block times move without a fork, so nothing that must be exact is taken from here when a node can tell.

use super::{ChainSpec, ConservativeDepth, FeeModel, FinalitySource, NativeCoin};
use crate::fee::FeeBounds;

const GWEI: u128 = 1_000_000_000;
const MINUTE_MS: i64 = 60_000;

const ETHER: NativeCoin = NativeCoin { symbol: "ETH", decimals: 18 };
const POL: NativeCoin = NativeCoin { symbol: "POL", decimals: 18 };
const BNB: NativeCoin = NativeCoin { symbol: "BNB", decimals: 18 };

/// EIP-7825: 2^24 on Ethereum since Fusaka.
const TRANSACTION_GAS_MAX: u64 = 1 << 24;

/// bor `params/protocol_params.go`: `MaxTxGas = 1 << 25`.
const TRANSACTION_GAS_MAX_BOR: u64 = 1 << 25;

/// geth and bor `core/txpool/legacypool`: a transaction has at most 128 KiB.
const CALLDATA_BYTES_MAX: usize = 120_000;

/// EIP-2929: `COLD_SLOAD_COST`.
const COLD_SLOT_GAS: u64 = 2_100;

/// PIP-88, since Chicago: bor `core/vm/operations_acl.go`.
const COLD_SLOT_GAS_BOR: u64 = 5_460;

/// bor, geth and reth keep 16 executable transactions an account; half of it leaves room for replacements.
const IN_FLIGHT_MAX: u64 = 8;

const POLYGON: ChainSpec = ChainSpec {
    chain_id: 137,
    network: "polygon",
    name: "Polygon PoS",
    native: POL,
    explorer: Some("https://polygonscan.com"),
    is_testnet: false,
    block_time_ms: 1_500,
    confirmations: 12,
    conservative: ConservativeDepth { blocks: 500, age_ms: 30 * MINUTE_MS },
    // Chainlink ships Polygon with FinalityTagEnabled=false and FinalityDepth=500.
    finality: FinalitySource::Depth,
    fee_model: FeeModel::Eip1559,
    // PIP-35: bor's pool refuses a tip below 25 gwei.
    fee_bounds: FeeBounds { tip_wei_min: 25 * GWEI, max_fee_per_gas_wei_cap: 5_000 * GWEI },
    transaction_gas_max: TRANSACTION_GAS_MAX_BOR,
    calldata_bytes_max: CALLDATA_BYTES_MAX,
    cold_slot_gas: COLD_SLOT_GAS_BOR,
    in_flight_max: IN_FLIGHT_MAX,
    replaceable: true,
    release_quorum_min: 2,
};

const ETHEREUM: ChainSpec = ChainSpec {
    chain_id: 1,
    network: "ethereum",
    name: "Ethereum",
    native: ETHER,
    explorer: Some("https://etherscan.io"),
    is_testnet: false,
    block_time_ms: 12_000,
    confirmations: 12,
    // Two epochs and a margin; the `finalized` tag comes after 13 to 15 minutes.
    conservative: ConservativeDepth { blocks: 96, age_ms: 20 * MINUTE_MS },
    finality: FinalitySource::FinalizedTag,
    fee_model: FeeModel::Eip1559,
    fee_bounds: FeeBounds { tip_wei_min: 1, max_fee_per_gas_wei_cap: 500 * GWEI },
    transaction_gas_max: TRANSACTION_GAS_MAX,
    calldata_bytes_max: CALLDATA_BYTES_MAX,
    cold_slot_gas: COLD_SLOT_GAS,
    in_flight_max: IN_FLIGHT_MAX,
    replaceable: true,
    release_quorum_min: 2,
};

const BSC: ChainSpec = ChainSpec {
    chain_id: 56,
    network: "bsc",
    name: "BNB Smart Chain",
    native: BNB,
    explorer: Some("https://bscscan.com"),
    is_testnet: false,
    // Fermi, January 2026.
    block_time_ms: 450,
    confirmations: 15,
    conservative: ConservativeDepth { blocks: 2_000, age_ms: 15 * MINUTE_MS },
    finality: FinalitySource::FinalizedTag,
    fee_model: FeeModel::ZeroBaseFee,
    fee_bounds: FeeBounds { tip_wei_min: GWEI / 20, max_fee_per_gas_wei_cap: 20 * GWEI },
    // BEP-652.
    transaction_gas_max: TRANSACTION_GAS_MAX,
    calldata_bytes_max: CALLDATA_BYTES_MAX,
    cold_slot_gas: COLD_SLOT_GAS,
    in_flight_max: IN_FLIGHT_MAX,
    replaceable: true,
    release_quorum_min: 2,
};

const ARBITRUM_ONE: ChainSpec = ChainSpec {
    chain_id: 42_161,
    network: "arbitrum",
    name: "Arbitrum One",
    native: ETHER,
    explorer: Some("https://arbiscan.io"),
    is_testnet: false,
    block_time_ms: 250,
    confirmations: 20,
    conservative: ConservativeDepth { blocks: 4_800, age_ms: 20 * MINUTE_MS },
    finality: FinalitySource::FinalizedTag,
    fee_model: FeeModel::L1DataInGas,
    fee_bounds: FeeBounds { tip_wei_min: 0, max_fee_per_gas_wei_cap: 100 * GWEI },
    // ArbOS 50.
    transaction_gas_max: 32_000_000,
    // nitro `execution/gethexec/sequencer.go`: 95,000 bytes a transaction.
    calldata_bytes_max: 90_000,
    cold_slot_gas: COLD_SLOT_GAS,
    in_flight_max: IN_FLIGHT_MAX,
    // nitro's sequencer keeps no mempool: a sent transaction runs or is refused at once.
    replaceable: false,
    release_quorum_min: 2,
};

const OPTIMISM: ChainSpec = ChainSpec {
    chain_id: 10,
    network: "optimism",
    name: "OP Mainnet",
    native: ETHER,
    explorer: Some("https://optimistic.etherscan.io"),
    is_testnet: false,
    block_time_ms: 2_000,
    confirmations: 12,
    conservative: ConservativeDepth { blocks: 600, age_ms: 20 * MINUTE_MS },
    finality: FinalitySource::FinalizedTag,
    fee_model: FeeModel::L1DataOnTop,
    fee_bounds: FeeBounds { tip_wei_min: 1, max_fee_per_gas_wei_cap: 100 * GWEI },
    transaction_gas_max: TRANSACTION_GAS_MAX,
    calldata_bytes_max: CALLDATA_BYTES_MAX,
    cold_slot_gas: COLD_SLOT_GAS,
    in_flight_max: IN_FLIGHT_MAX,
    replaceable: true,
    release_quorum_min: 2,
};

/// Every chain, mainnets before their test networks.
pub(super) const CHAINS: &[ChainSpec] = &[
    POLYGON,
    ChainSpec {
        chain_id: 80_002,
        network: "polygon-amoy",
        name: "Polygon Amoy",
        explorer: Some("https://amoy.polygonscan.com"),
        is_testnet: true,
        ..POLYGON
    },
    ChainSpec {
        chain_id: 31_337,
        network: "localhost",
        name: "Local development chain",
        native: POL,
        explorer: None,
        is_testnet: true,
        block_time_ms: 1_000,
        confirmations: 3,
        conservative: ConservativeDepth { blocks: 12, age_ms: 0 },
        finality: FinalitySource::Depth,
        fee_model: FeeModel::Eip1559,
        fee_bounds: FeeBounds { tip_wei_min: GWEI, max_fee_per_gas_wei_cap: 5_000 * GWEI },
        transaction_gas_max: TRANSACTION_GAS_MAX,
        calldata_bytes_max: CALLDATA_BYTES_MAX,
        cold_slot_gas: COLD_SLOT_GAS,
        in_flight_max: IN_FLIGHT_MAX,
        replaceable: true,
        release_quorum_min: 1,
    },
    ETHEREUM,
    ChainSpec {
        chain_id: 11_155_111,
        network: "sepolia",
        name: "Sepolia",
        explorer: Some("https://sepolia.etherscan.io"),
        is_testnet: true,
        ..ETHEREUM
    },
    BSC,
    ChainSpec {
        chain_id: 97,
        network: "bsc-testnet",
        name: "BSC Testnet",
        explorer: Some("https://testnet.bscscan.com"),
        is_testnet: true,
        ..BSC
    },
    ARBITRUM_ONE,
    ChainSpec {
        chain_id: 42_170,
        network: "arbitrum-nova",
        name: "Arbitrum Nova",
        explorer: Some("https://nova.arbiscan.io"),
        ..ARBITRUM_ONE
    },
    ChainSpec {
        chain_id: 421_614,
        network: "arbitrum-sepolia",
        name: "Arbitrum Sepolia",
        explorer: Some("https://sepolia.arbiscan.io"),
        is_testnet: true,
        ..ARBITRUM_ONE
    },
    ChainSpec {
        chain_id: 8_453,
        network: "base",
        name: "Base",
        explorer: Some("https://basescan.org"),
        ..OPTIMISM
    },
    ChainSpec {
        chain_id: 84_532,
        network: "base-sepolia",
        name: "Base Sepolia",
        explorer: Some("https://sepolia.basescan.org"),
        is_testnet: true,
        ..OPTIMISM
    },
    OPTIMISM,
    ChainSpec {
        chain_id: 11_155_420,
        network: "optimism-sepolia",
        name: "OP Sepolia",
        explorer: Some("https://sepolia-optimism.etherscan.io"),
        is_testnet: true,
        ..OPTIMISM
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique() {
        let ids: BTreeSet<u64> = CHAINS.iter().map(|chain| chain.chain_id).collect();
        let networks: BTreeSet<&str> = CHAINS.iter().map(|chain| chain.network).collect();
        assert_eq!(ids.len(), CHAINS.len());
        assert_eq!(networks.len(), CHAINS.len());
    }

    #[test]
    fn every_chain_holds_to_the_rules_of_the_house() {
        for chain in CHAINS {
            let name = chain.network;
            assert!(chain.conservative.blocks >= chain.confirmations, "{name}");
            assert!(chain.fee_bounds.tip_wei_min <= chain.fee_bounds.max_fee_per_gas_wei_cap);
            assert!(chain.in_flight_max <= 8, "{name}: bor keeps 16 slots an account");
            assert_eq!(chain.native.decimals, 18, "{name}");
            let local = chain.chain_id == 31_337;
            assert_eq!(chain.release_quorum_min, if local { 1 } else { 2 }, "{name}");
            assert_eq!(chain.explorer.is_none(), local, "{name}");
        }
    }
}

//! The EVM itself: one transaction or one call against the state of one block.

use std::convert::Infallible;

use alloy_consensus::Transaction as _;
use alloy_primitives::U256;
use alloy_rpc_types_eth::Header;
use revm::context::result::{EVMError, ResultAndState};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::database::WrapDatabaseRef;
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteEvm, MainBuilder, MainContext};

use super::block::SignedTransaction;
use super::state::StateAt;

/// The rules that Polygon and Ethereum share since the end of 2025.
const SPEC: SpecId = SpecId::OSAKA;

/// What the EVM answers, or why it does not take the transaction at all.
pub(crate) type Outcome = Result<ResultAndState, EVMError<Infallible>>;

/// The rules for a transaction in a block.
pub(crate) fn rules(chain_id: u64, tx_gas_cap: u64) -> CfgEnv {
    let mut rules = CfgEnv::new_with_spec(SPEC).with_chain_id(chain_id);
    rules.tx_gas_limit_cap = Some(tx_gas_cap);
    rules
}

/// The rules for `eth_call` and `eth_estimateGas`, which know no nonce and no cap.
pub(crate) fn rules_of_a_call(chain_id: u64) -> CfgEnv {
    let mut rules = rules(chain_id, u64::MAX);
    rules.disable_nonce_check = true;
    rules
}

/// The block as its own instructions see it.
pub(crate) fn block_env(header: &alloy_consensus::Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or(0),
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// The block for a call. Without a gas price nobody pays, and the base fee is zero, as geth has it.
pub(crate) fn block_env_of_a_call(header: &Header, pays: bool) -> BlockEnv {
    let mut env = block_env(&header.inner);
    if !pays {
        env.basefee = 0;
    }
    env
}

/// A signed transaction as the EVM takes it.
pub(crate) fn tx_env(transaction: &SignedTransaction) -> TxEnv {
    let envelope = &transaction.envelope;
    TxEnv {
        tx_type: envelope.tx_type() as u8,
        caller: transaction.sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

/// Runs. The state itself does not change: the changes are in the answer.
pub(crate) fn run(
    state: StateAt<'_>,
    block: BlockEnv,
    rules: CfgEnv,
    transaction: TxEnv,
) -> Outcome {
    Context::mainnet()
        .with_db(WrapDatabaseRef(state))
        .with_block(block)
        .with_cfg(rules)
        .build_mainnet()
        .transact(transaction)
}

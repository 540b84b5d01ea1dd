//! Transactions, built and signed in one line of a test.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;

use super::key::DevKey;
use crate::token::TestToken;

/// A transaction to be signed. The defaults suit a transfer on [`crate::SimConfig::default`].
#[derive(Clone, Debug)]
pub struct TestTransaction {
    /// The chain.
    pub chain_id: u64,
    /// The nonce.
    pub nonce: u64,
    /// The recipient; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Calldata or init code.
    pub input: Bytes,
    /// Gas limit.
    pub gas_limit: u64,
    /// Fee cap in wei per gas.
    pub max_fee_wei: u128,
    /// Tip cap in wei per gas.
    pub max_tip_wei: u128,
}

/// Signed bytes and their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTestTransaction {
    /// What `eth_sendRawTransaction` takes.
    pub raw: Bytes,
    /// The transaction hash.
    pub hash: B256,
}

impl TestTransaction {
    /// A transfer of `value` wei.
    #[must_use]
    pub fn transfer(chain_id: u64, nonce: u64, to: Address, value: U256) -> Self {
        Self {
            chain_id,
            nonce,
            to: Some(to),
            value,
            input: Bytes::new(),
            gas_limit: 21_000,
            max_fee_wei: 100_000_000_000,
            max_tip_wei: 30_000_000_000,
        }
    }

    /// A `transfer` of `units` of `token`, with more gas than any test token takes.
    #[must_use]
    pub fn token_transfer(
        chain_id: u64,
        nonce: u64,
        token: Address,
        to: Address,
        units: U256,
    ) -> Self {
        let input = TestToken::transferCall { to, amount: units }.abi_encode().into();
        Self { input, gas_limit: 100_000, ..Self::transfer(chain_id, nonce, token, U256::ZERO) }
    }

    /// The same with other fee caps, in wei per gas.
    #[must_use]
    pub fn with_fees(self, max_fee_wei: u128, max_tip_wei: u128) -> Self {
        Self { max_fee_wei, max_tip_wei, ..self }
    }

    /// The same with another gas limit.
    #[must_use]
    pub fn with_gas_limit(self, gas_limit: u64) -> Self {
        Self { gas_limit, ..self }
    }

    /// Signs as EIP-1559.
    #[must_use]
    pub fn sign(&self, key: &DevKey) -> SignedTestTransaction {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.max_fee_wei,
            max_priority_fee_per_gas: self.max_tip_wei,
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: self.input.clone(),
        };
        let signature = key.sign(transaction.signature_hash());
        encode(&TxEnvelope::from(transaction.into_signed(signature)))
    }

    /// Signs as a legacy transaction whose gas price is the fee cap; replay-protected if `protected`.
    #[must_use]
    pub fn sign_legacy(&self, key: &DevKey, protected: bool) -> SignedTestTransaction {
        let transaction = TxLegacy {
            chain_id: protected.then_some(self.chain_id),
            nonce: self.nonce,
            gas_price: self.max_fee_wei,
            gas_limit: self.gas_limit,
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            input: self.input.clone(),
        };
        let signature = key.sign(transaction.signature_hash());
        encode(&TxEnvelope::from(transaction.into_signed(signature)))
    }
}

fn encode(envelope: &TxEnvelope) -> SignedTestTransaction {
    SignedTestTransaction { raw: envelope.encoded_2718().into(), hash: *envelope.tx_hash() }
}

//! What a test orders: money, tokens, and what their owner does to them.

use std::sync::Arc;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use thiserror::Error;

use super::block::{ChainTransaction, SignedTransaction};
use super::{NodeState, SimNode};
use crate::token::{TestToken, TokenKind, TokenOrder};
use crate::vault::{VaultListing, vault_init_code};

/// Gas for an order of the owner: more than any test contract takes.
const ORDER_GAS: u64 = 10_000_000;

/// Why an order of the test's owner came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ControlError {
    /// The chain does not take it: the block gas limit or the gas cap is too small.
    #[error("the owner's transaction did not fit into a block: raise the gas limits of SimConfig")]
    NotMined,
    /// It reverted, and its block is made. The token may be paused, or `to` no token.
    #[error("the owner's transaction to {to:?} reverted: check the token's state and the address")]
    Reverted {
        /// Whom it called; `None` for a deployment.
        to: Option<Address>,
    },
}

impl SimNode {
    /// Adds native coin to an account, as though it had been there since genesis: no reorg takes it away.
    pub fn fund(&self, address: Address, wei: U256) {
        self.lock().chain.state.credit_since_genesis(address, wei);
    }

    /// Deploys a test token, in a block of its own.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn deploy_token(&self, kind: TokenKind) -> Result<Address, ControlError> {
        self.deploy(kind.init_code())
    }

    /// Deploys any init code as the owner, in a block of its own.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn deploy(&self, init_code: Bytes) -> Result<Address, ControlError> {
        let done = self.lock().order(TxKind::Create, init_code)?;
        done.created.ok_or(ControlError::Reverted { to: None })
    }

    /// Deploys a vault with its first operators and tokens, in a block of its own. Its float is sent to it
    /// like to any account: [`SimNode::mint`], [`SimNode::fund`].
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn deploy_vault(
        &self,
        owner: Address,
        treasury: Address,
        operators: &[Address],
        listings: &[VaultListing],
    ) -> Result<Address, ControlError> {
        self.deploy(vault_init_code(owner, treasury, operators, listings))
    }

    /// Mints `units` of a test token, in a block of its own.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn mint(&self, token: Address, to: Address, units: U256) -> Result<(), ControlError> {
        let mint = TestToken::mintCall { to, amount: units };
        self.call_as_owner(token, mint.abi_encode().into()).map(|_| ())
    }

    /// Pauses, unpauses, lists or unlists, in a block of its own.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn order_token(&self, token: Address, order: TokenOrder) -> Result<(), ControlError> {
        self.call_as_owner(token, order.calldata()).map(|_| ())
    }

    /// Calls any contract as the owner, in a block of its own.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn call_as_owner(
        &self,
        to: Address,
        input: Bytes,
    ) -> Result<ChainTransaction, ControlError> {
        self.lock().order(TxKind::Call(to), input)
    }
}

impl NodeState {
    /// Makes a block of the owner's waiting transactions and this one.
    fn order(&mut self, to: TxKind, input: Bytes) -> Result<ChainTransaction, ControlError> {
        let config = &self.chain.config;
        let tip_wei = config.suggested_tip_wei.max(config.pool.min_tip_wei);
        let waiting = u64::try_from(self.owner_again.len()).unwrap_or(u64::MAX);
        let transaction = TxEip1559 {
            chain_id: config.chain_id,
            nonce: self.chain.funds(self.owner.address).nonce.saturating_add(waiting),
            gas_limit: ORDER_GAS.min(config.block_gas_limit).min(config.pool.tx_gas_cap),
            // Enough for whatever block it comes back in after a reorg.
            max_fee_per_gas: u128::from(self.chain.next_base_fee_wei)
                .saturating_add(tip_wei)
                .saturating_mul(100),
            max_priority_fee_per_gas: tip_wei,
            to,
            input,
            ..TxEip1559::default()
        };
        let signature = self.owner.sign(transaction.signature_hash());
        let transaction = Arc::new(SignedTransaction {
            envelope: TxEnvelope::from(transaction.into_signed(signature)),
            sender: self.owner.address,
        });
        let hash = transaction.hash();
        let mut first = std::mem::take(&mut self.owner_again);
        first.push(transaction);
        let at = self.chain.head_at();
        self.chain.mine(at, &first, None);
        self.reset_pool();
        let (block, _, mined) = self.chain.mined(hash).ok_or(ControlError::NotMined)?;
        let done = ChainTransaction::of(block.header.inner.number, mined);
        if done.succeeded { Ok(done) } else { Err(ControlError::Reverted { to: done.to }) }
    }
}

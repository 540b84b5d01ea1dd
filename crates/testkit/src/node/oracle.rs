//! What is true on the canonical chain, read past every transport and its faults: for those who judge.

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, SolEvent};
use revm::context::TxEnv;
use revm::context::result::ExecutionResult;

use super::SimNode;
use super::block::{BlockSummary, ChainTransaction, MinedTransaction, StoredBlock, TransferLog};
use super::execute;
use crate::token::TestToken;
use crate::vault::{PaidLog, PayoutVault};

impl SimNode {
    /// The newest block.
    #[must_use]
    pub fn head(&self) -> BlockSummary {
        self.lock().chain.head().summary()
    }

    /// A canonical block.
    #[must_use]
    pub fn block(&self, number: u64) -> Option<BlockSummary> {
        self.lock().chain.block(number).map(StoredBlock::summary)
    }

    /// The native balance of an account, in wei.
    #[must_use]
    pub fn balance(&self, address: Address) -> U256 {
        self.lock().chain.funds(address).balance
    }

    /// The next nonce that the chain takes from an account.
    #[must_use]
    pub fn nonce(&self, address: Address) -> u64 {
        self.lock().chain.funds(address).nonce
    }

    /// What the token itself answers for `balanceOf`, in atomic units; `None` where there is no token.
    #[must_use]
    pub fn token_balance(&self, token: Address, holder: Address) -> Option<U256> {
        let input: Bytes = TestToken::balanceOfCall { account: holder }.abi_encode().into();
        let node = self.lock();
        let chain = &node.chain;
        let head = &chain.head().header;
        let outcome = execute::run(
            chain.state_at(head.inner.number),
            execute::block_env_of_a_call(head, false),
            execute::rules_of_a_call(chain.config.chain_id),
            TxEnv {
                kind: TxKind::Call(token),
                data: input,
                chain_id: None,
                gas_limit: head.inner.gas_limit,
                ..TxEnv::default()
            },
        );
        match outcome.ok()?.result {
            ExecutionResult::Success { output, .. } => {
                TestToken::balanceOfCall::abi_decode_returns(output.data()).ok()
            }
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => None,
        }
    }

    /// Every Transfer of a token on the canonical chain, oldest first, mints included.
    #[must_use]
    pub fn transfer_logs(&self, token: Address) -> Vec<TransferLog> {
        let node = self.lock();
        let mined = node.chain.blocks.iter().flat_map(|block| &block.transactions);
        let logs = mined.flat_map(MinedTransaction::logs).filter(|log| log.inner.address == token);
        logs.filter_map(|log| {
            let event = TestToken::Transfer::decode_log(&log.inner).ok()?;
            Some(TransferLog {
                block_number: log.block_number?,
                transaction_hash: log.transaction_hash?,
                log_index: log.log_index?,
                from: event.from,
                to: event.to,
                units: event.value,
            })
        })
        .collect()
    }

    /// Every `Paid` event of a vault on the canonical chain, oldest first.
    #[must_use]
    pub fn paid_logs(&self, vault: Address) -> Vec<PaidLog> {
        let node = self.lock();
        let mined = node.chain.blocks.iter().flat_map(|block| &block.transactions);
        let logs = mined.flat_map(MinedTransaction::logs).filter(|log| log.inner.address == vault);
        logs.filter_map(|log| {
            let event = PayoutVault::Paid::decode_log(&log.inner).ok()?;
            Some(PaidLog {
                block_number: log.block_number?,
                transaction_hash: log.transaction_hash?,
                number: event.number,
                reference: event.r#ref,
                token: event.token,
                to: event.to,
                units: event.amount,
            })
        })
        .collect()
    }

    /// Every number that a vault voided on the canonical chain, oldest first.
    #[must_use]
    pub fn voided_numbers(&self, vault: Address) -> Vec<U256> {
        let node = self.lock();
        let mined = node.chain.blocks.iter().flat_map(|block| &block.transactions);
        let logs = mined.flat_map(MinedTransaction::logs).filter(|log| log.inner.address == vault);
        let events = logs.filter_map(|log| PayoutVault::Voided::decode_log(&log.inner).ok());
        events.map(|event| event.number).collect()
    }

    /// Every transaction of the canonical chain, oldest first, those of [`SimNode::owner`] included.
    #[must_use]
    pub fn all_transactions(&self) -> Vec<ChainTransaction> {
        let node = self.lock();
        let blocks = node.chain.blocks.iter();
        blocks
            .flat_map(|block| {
                let number = block.header.inner.number;
                block.transactions.iter().map(move |mined| ChainTransaction::of(number, mined))
            })
            .collect()
    }

    /// One transaction of the canonical chain.
    #[must_use]
    pub fn transaction(&self, hash: B256) -> Option<ChainTransaction> {
        let node = self.lock();
        let (block, _, mined) = node.chain.mined(hash)?;
        Some(ChainTransaction::of(block.header.inner.number, mined))
    }

    /// The nonces that an account has in the pool, in order.
    #[must_use]
    pub fn pooled_nonces(&self, sender: Address) -> Vec<u64> {
        let node = self.lock();
        let pooled = node.pool.transactions_of(sender);
        pooled.map(|transaction| transaction.envelope.nonce()).collect()
    }
}

//! What can be paid with: the newest block and every balance that a step needs, read in one round trip.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::amount::Amount;
use portcullis_evm::{FundsQuery, HeadBlock};
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalRecord;

use super::{SignerChain, SignerRole};
use crate::error::EngineError;

/// Balances at the newest block. What was not asked for is zero.
pub(super) struct Means {
    /// The newest block.
    pub(super) head: HeadBlock,
    natives: BTreeMap<Address, Amount>,
    tokens: BTreeMap<(Address, Address), Amount>,
    remaining: BTreeMap<Option<Address>, Amount>,
}

impl Means {
    /// What an account holds of a token, or of the native coin.
    pub(super) fn held(&self, account: Address, token: Option<Address>) -> Amount {
        let held = match token {
            None => self.natives.get(&account),
            Some(token) => self.tokens.get(&(token, account)),
        };
        held.copied().unwrap_or_default()
    }

    /// What the vault's daily cap leaves of a token.
    pub(super) fn may_leave_vault(&self, token: Option<Address>) -> Amount {
        self.remaining.get(&token).copied().unwrap_or_default()
    }
}

impl SignerRole {
    /// The means of the senders, or of the vault where the chain has one, for what these payments are made in.
    pub(super) async fn means(
        &self,
        chain: &SignerChain,
        loads: &[SenderLoad],
        records: &[WithdrawalRecord],
    ) -> Result<Means, EngineError> {
        let tokens = tokens_of(records);
        let senders = loads.iter().map(|load| load.address);
        let natives: Vec<Address> = senders.clone().chain(chain.vault).collect();
        let payers: Vec<Address> = match chain.vault {
            Some(vault) => vec![vault],
            None => senders.collect(),
        };
        let contracts = || tokens.iter().flatten();
        let pairs: Vec<(Address, Address)> = payers
            .iter()
            .flat_map(|payer| contracts().map(move |token| (*token, *payer)))
            .collect();
        let query = FundsQuery {
            natives: &natives,
            tokens: &pairs,
            vault: chain.vault.map(|vault| (vault, tokens.as_slice())),
        };
        let funds = chain.pool.funds(query).await?;
        Ok(Means {
            head: funds.head,
            natives: natives.into_iter().zip(funds.natives).collect(),
            tokens: pairs.into_iter().zip(funds.tokens).collect(),
            remaining: tokens.into_iter().zip(funds.remaining).collect(),
        })
    }
}

/// The tokens of payments, each once.
pub(super) fn tokens_of(records: &[WithdrawalRecord]) -> Vec<Option<Address>> {
    let mut tokens: Vec<Option<Address>> = records.iter().map(|record| record.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

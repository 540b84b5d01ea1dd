//! The providers of one chain.
//!
//! Reads go to one provider and move on to the next when it fails; sends go to all of them. What decides about
//! money takes a quorum: that is built on [`ProviderPool::upstreams`], each of which answers for itself.

use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use portcullis_core::amount::Amount;
use portcullis_core::chain::ChainSpec;
use portcullis_core::time::Clock;
use thiserror::Error;

use crate::chain_types::{
    BlockTag, CallRequest, ConsumedNonce, EstimateError, HeadBlock, KnownTransaction, LogQuery,
    MinedBlock, MinedLog, Receipt,
};
use crate::classify::{SendOutcome, UnknownKind};
use crate::failure::{ReadError, RpcFailure};
use crate::provider::Provider;
use crate::upstream::{ChainCheck, ProviderStatus, Upstream};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Requests in one JSON-RPC batch. Public endpoints take 100, some less.
    pub batch_items_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { batch_items_max: 100 }
    }
}

/// Why providers do not make a pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// None at all.
    #[error("network {network} has no provider: configure at least one RPC URL")]
    Empty {
        /// The network.
        network: &'static str,
    },
    /// Two of one name: nobody could tell their metrics and errors apart.
    #[error("network {network} has two providers named {name:?}: rename one of them")]
    DuplicateName {
        /// The network.
        network: &'static str,
        /// The name.
        name: String,
    },
}

/// The providers of one chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProviderPool {
    chain: &'static ChainSpec,
    upstreams: Arc<[Arc<Upstream>]>,
}

/// The first answer of the providers, in the order in which they are to be asked.
macro_rules! first_answer {
    ($pool:expr, $method:literal, $upstream:ident => $read:expr) => {{
        let mut failed = None;
        for $upstream in $pool.candidates() {
            match $read.await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| no_provider($method)))
    }};
}

impl ProviderPool {
    /// Makes a pool. Nothing is sent yet; the chain id of each provider is checked before its first use.
    ///
    /// # Errors
    /// See [`PoolError`].
    #[expect(clippy::needless_pass_by_value, reason = "each provider keeps a clone of the clock")]
    pub fn new(
        chain: &'static ChainSpec,
        providers: Vec<Provider>,
        clock: Arc<dyn Clock>,
        limits: PoolLimits,
    ) -> Result<Self, PoolError> {
        let network = chain.network;
        if providers.is_empty() {
            return Err(PoolError::Empty { network });
        }
        for (index, provider) in providers.iter().enumerate() {
            if providers[..index].iter().any(|earlier| earlier.name() == provider.name()) {
                return Err(PoolError::DuplicateName { network, name: provider.name().to_owned() });
            }
        }
        let in_use = |provider| {
            Arc::new(Upstream::new(provider, chain, Arc::clone(&clock), limits.batch_items_max))
        };
        Ok(Self { chain, upstreams: providers.into_iter().map(in_use).collect() })
    }

    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &'static ChainSpec {
        self.chain
    }

    /// Every provider, in the configured order.
    #[must_use]
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// How each provider fares, in the configured order.
    #[must_use]
    pub fn statuses(&self) -> Vec<ProviderStatus> {
        self.upstreams.iter().map(|upstream| upstream.status()).collect()
    }

    /// Those that may be asked, the healthy ones first. One on a wrong chain is not among them, unless all are:
    /// then the error names it.
    fn candidates(&self) -> Vec<&Upstream> {
        let all = || self.upstreams.iter().map(AsRef::as_ref);
        let is_wrong =
            |upstream: &&Upstream| matches!(upstream.status().chain, ChainCheck::Wrong(_));
        let mut usable: Vec<&Upstream> = all().filter(|upstream| !is_wrong(upstream)).collect();
        usable.sort_by_key(|upstream| !upstream.is_preferred());
        if usable.is_empty() { all().collect() } else { usable }
    }

    /// Asks every provider for its chain id.
    ///
    /// # Errors
    /// [`RpcFailure::WrongChain`] of any of them first, because that is a mistake in the configuration; else
    /// the last failure, when not one of them could be verified.
    pub async fn check_chain_id(&self) -> Result<(), ReadError> {
        let checks = self.upstreams.iter().map(|upstream| upstream.check_chain_id());
        let results = futures::future::join_all(checks).await;
        let verified = results.iter().any(Result::is_ok);
        let mut failures: Vec<ReadError> = results.into_iter().filter_map(Result::err).collect();
        let is_wrong = |error: &ReadError| matches!(error.failure, RpcFailure::WrongChain { .. });
        if let Some(index) = failures.iter().position(is_wrong) {
            return Err(failures.swap_remove(index));
        }
        match failures.pop() {
            Some(error) if !verified => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends signed bytes to every usable provider: pairs of hash and bytes, lowest nonce first. One outcome
    /// each, in order; of several providers' answers the one that says most that the bytes may be live.
    ///
    /// The bytes must be committed before (invariant 2). What stays [`SendOutcome::Unknown`] may be live.
    pub async fn send(&self, transactions: &[(B256, Bytes)]) -> Vec<SendOutcome> {
        const METHOD: &str = "eth_sendRawTransaction";
        let mut usable = Vec::new();
        let mut refused = None;
        for upstream in self.candidates() {
            match upstream.ensure_chain(METHOD).await {
                Ok(()) => usable.push(upstream),
                Err(error) => refused = Some(error),
            }
        }
        let sends = usable.iter().map(|upstream| upstream.send(transactions));
        let answers = futures::future::join_all(sends).await;
        if let Some(merged) = answers.into_iter().reduce(merge_outcomes) {
            return merged;
        }
        let message = refused.unwrap_or_else(|| no_provider(METHOD)).to_string();
        let unknown = SendOutcome::Unknown { kind: UnknownKind::Network, message };
        vec![unknown; transactions.len()]
    }

    /// See [`Upstream::head`].
    pub async fn head(&self) -> Result<HeadBlock, ReadError> {
        first_answer!(self, "eth_getBlockByNumber", upstream => upstream.head())
    }

    /// See [`Upstream::header`].
    pub async fn header(&self, number: u64) -> Result<Option<HeadBlock>, ReadError> {
        first_answer!(self, "eth_getBlockByNumber", upstream => upstream.header(number))
    }

    /// See [`Upstream::headers`].
    pub async fn headers(&self, range: RangeInclusive<u64>) -> Result<Vec<HeadBlock>, ReadError> {
        first_answer!(self, "eth_getBlockByNumber", upstream => upstream.headers(range.clone()))
    }

    /// See [`Upstream::block_transactions`].
    pub async fn block_transactions(&self, number: u64) -> Result<Option<MinedBlock>, ReadError> {
        first_answer!(self, "eth_getBlockByNumber", upstream => upstream.block_transactions(number))
    }

    /// See [`Upstream::receipts`]. One provider's `None` proves nothing.
    pub async fn receipts(&self, hashes: &[B256]) -> Result<Vec<Option<Receipt>>, ReadError> {
        first_answer!(self, "eth_getTransactionReceipt", upstream => upstream.receipts(hashes))
    }

    /// See [`Upstream::transactions_by_hash`].
    pub async fn transactions_by_hash(
        &self,
        hashes: &[B256],
    ) -> Result<Vec<Option<KnownTransaction>>, ReadError> {
        first_answer!(self, "eth_getTransactionByHash", upstream => upstream.transactions_by_hash(hashes))
    }

    /// See [`Upstream::logs`].
    pub async fn logs(&self, query: &LogQuery) -> Result<Vec<MinedLog>, ReadError> {
        first_answer!(self, "eth_getLogs", upstream => upstream.logs(query))
    }

    /// See [`Upstream::find_consumption`]. All of its reads go to one provider.
    pub async fn find_consumption(
        &self,
        sender: Address,
        nonce: u64,
        low_block: u64,
        high_block: u64,
    ) -> Result<Option<ConsumedNonce>, ReadError> {
        first_answer!(self, "eth_getTransactionCount",
            upstream => upstream.find_consumption(sender, nonce, low_block, high_block))
    }

    /// See [`Upstream::transaction_counts`].
    pub async fn transaction_counts(
        &self,
        accounts: &[Address],
        at: BlockTag,
    ) -> Result<Vec<u64>, ReadError> {
        first_answer!(self, "eth_getTransactionCount", upstream => upstream.transaction_counts(accounts, at))
    }

    /// See [`Upstream::native_balances`].
    pub async fn native_balances(
        &self,
        accounts: &[Address],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        first_answer!(self, "eth_getBalance", upstream => upstream.native_balances(accounts, at))
    }

    /// See [`Upstream::token_balances`]: pairs of token and account.
    pub async fn token_balances(
        &self,
        held: &[(Address, Address)],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        first_answer!(self, "eth_call", upstream => upstream.token_balances(held, at))
    }

    /// See [`Upstream::token_decimals`].
    pub async fn token_decimals(&self, tokens: &[Address]) -> Result<Vec<u8>, ReadError> {
        first_answer!(self, "eth_call", upstream => upstream.token_decimals(tokens))
    }

    /// See [`Upstream::codes`].
    pub async fn codes(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        first_answer!(self, "eth_getCode", upstream => upstream.codes(addresses))
    }

    /// See [`Upstream::priority_fee`].
    pub async fn priority_fee(&self) -> Result<u128, ReadError> {
        first_answer!(self, "eth_maxPriorityFeePerGas", upstream => upstream.priority_fee())
    }

    /// See [`Upstream::estimate_gas`]. Another provider is asked only for what is not known yet.
    pub async fn estimate_gas(&self, calls: &[CallRequest]) -> Vec<Result<u64, EstimateError>> {
        let mut results = vec![Err(no_provider("eth_estimateGas").into()); calls.len()];
        for upstream in self.candidates() {
            let open = unanswered(&results);
            if open.is_empty() {
                break;
            }
            let asked: Vec<CallRequest> = open.iter().map(|index| calls[*index].clone()).collect();
            let answers = upstream.estimate_gas(&asked).await;
            for (index, answer) in open.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }

    /// See [`Upstream::call`]. Another provider is asked only for what is not known yet.
    pub async fn call(
        &self,
        calls: &[CallRequest],
        at: BlockTag,
    ) -> Vec<Result<Bytes, EstimateError>> {
        let mut results = vec![Err(no_provider("eth_call").into()); calls.len()];
        for upstream in self.candidates() {
            let open = unanswered(&results);
            if open.is_empty() {
                break;
            }
            let asked: Vec<CallRequest> = open.iter().map(|index| calls[*index].clone()).collect();
            let answers = upstream.call(&asked, at).await;
            for (index, answer) in open.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }
}

fn merge_outcomes(one: Vec<SendOutcome>, other: Vec<SendOutcome>) -> Vec<SendOutcome> {
    one.into_iter().zip(other).map(|(one, other)| one.merge(other)).collect()
}

fn unanswered<T>(results: &[Result<T, EstimateError>]) -> Vec<usize> {
    let is_open = |index: &usize| matches!(results[*index], Err(EstimateError::Read(_)));
    (0..results.len()).filter(is_open).collect()
}

fn no_provider(method: &'static str) -> ReadError {
    ReadError { provider: String::new(), method, failure: RpcFailure::NoProvider }
}

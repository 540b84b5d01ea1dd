//! The providers of one chain.
//!
//! Reads go to the best provider and move on to the next when it fails; sends go to all of them. What decides
//! about money takes a quorum of independent operators: those reads are in `quorum` and `survey`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

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
use crate::evidence::{Decision, QuorumError};
use crate::failure::{ReadError, RpcFailure};
use crate::funds::{Funds, FundsQuery, GasQuote};
use crate::health::ProviderStatus;
use crate::provider::Provider;
use crate::quorum::Disputes;
use crate::upstream::{Around, Upstream};

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Requests in one JSON-RPC batch. Public endpoints take 100, some less.
    pub batch_items_max: usize,
    /// Independent operators that have to agree on what decides about money. A single configured one is believed
    /// alone, but never about a release.
    pub quorum: usize,
    /// How long a question waits for room under a provider's request limit before another provider is asked.
    pub throttle_wait_ms_max: u64,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { batch_items_max: 100, quorum: 2, throttle_wait_ms_max: 2_000 }
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
    quorum: usize,
    around: Around,
    pub(crate) disputes: Arc<Disputes>,
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

/// The first answer to each call. Another provider is asked only for what is not known yet.
macro_rules! first_answer_of_each {
    ($pool:expr, $method:literal, $calls:expr, ($upstream:ident, $asked:ident) => $read:expr) => {{
        let mut results = vec![Err(no_provider($method).into()); $calls.len()];
        for $upstream in $pool.candidates() {
            let open = unanswered(&results);
            if open.is_empty() {
                break;
            }
            let $asked: Vec<CallRequest> =
                open.iter().map(|index| $calls[*index].clone()).collect();
            let answers = $read.await;
            for (index, answer) in open.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }};
}

impl ProviderPool {
    /// Makes a pool. Nothing is sent yet; the chain id of each provider is checked before its first use.
    ///
    /// # Errors
    /// See [`PoolError`].
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
        let around = Around { clock, chance: Arc::new(OnceLock::new()) };
        let in_use = |provider| Arc::new(Upstream::new(provider, chain, around.clone(), limits));
        Ok(Self {
            chain,
            upstreams: providers.into_iter().map(in_use).collect(),
            quorum: limits.quorum.max(1),
            around,
            disputes: Arc::default(),
        })
    }

    /// The same pool with a source of chance, 128 bits a call, for the breakers: their openings get up to a quarter
    /// longer by it. For all clones; a second source is ignored.
    #[must_use]
    pub fn with_chance(self, chance: Arc<dyn Fn() -> u128 + Send + Sync>) -> Self {
        let _ignored = self.around.chance.set(chance);
        self
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

    /// The distinct operators of the configured providers: how many are independent of each other.
    #[must_use]
    pub fn independent(&self) -> usize {
        self.upstreams.iter().map(|upstream| upstream.operator()).collect::<BTreeSet<_>>().len()
    }

    /// The distinct operators of those providers that are healthy now.
    #[must_use]
    pub fn independent_healthy(&self) -> usize {
        let statuses = self.statuses();
        let healthy = statuses.iter().filter(|status| status.healthy);
        healthy.map(|status| status.operator.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// How many independent operators have to agree for a decision.
    ///
    /// # Errors
    /// [`QuorumError::TooFew`] when fewer are configured.
    pub fn needed(&self, decision: Decision) -> Result<usize, QuorumError> {
        decision.needed(self.independent(), self.quorum, self.chain.release_quorum_min)
    }

    /// The newest height that as many operators are known to have as are believed about payments, as far as they
    /// were asked. For what is shown, not for what is decided.
    #[must_use]
    pub fn known_head(&self) -> Option<u64> {
        let mut by_operator: BTreeMap<&str, u64> = BTreeMap::new();
        for upstream in self.upstreams.iter() {
            let Some(head) = upstream.known_head() else { continue };
            let highest = by_operator.entry(upstream.operator()).or_insert(head);
            *highest = head.max(*highest);
        }
        let mut heads: Vec<u64> = by_operator.into_values().collect();
        heads.sort_unstable();
        let needed = self.needed(Decision::Paid).unwrap_or(1).min(heads.len());
        heads.iter().rev().nth(needed.saturating_sub(1)).copied()
    }

    /// What the providers contradict each other about and nobody is believed in, in words.
    #[must_use]
    pub fn disputes(&self) -> Vec<String> {
        self.disputes.open()
    }

    /// Those that may be asked, the best first: by standing faults, then by score, then in the configured order. One
    /// on a wrong chain, or that is left alone, is not among them, unless all are: then the errors name them.
    fn candidates(&self) -> Vec<&Upstream> {
        let all = || self.upstreams.iter().map(AsRef::as_ref);
        let may_ask = |it: &&Upstream| !it.is_wrong_chain() && it.is_open_to_questions();
        let mut usable: Vec<&Upstream> = all().filter(may_ask).collect();
        usable.sort_by_key(|upstream| upstream.rank());
        if usable.is_empty() { all().collect() } else { usable }
    }

    /// Those whose voice counts, the best first: all but those on a wrong chain.
    pub(crate) fn voices(&self) -> Vec<Arc<Upstream>> {
        let mut usable: Vec<Arc<Upstream>> =
            self.upstreams.iter().filter(|it| !it.is_wrong_chain()).cloned().collect();
        usable.sort_by_key(|upstream| upstream.rank());
        usable
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

    /// Sends signed bytes to every healthy provider: pairs of hash and bytes, lowest nonce first. One outcome
    /// each, in order; of several providers' answers the one that says most that the bytes may be live.
    ///
    /// The bytes must be committed before (invariant 2). What stays [`SendOutcome::Unknown`] may be live.
    pub async fn send(&self, transactions: &[(B256, Bytes)]) -> Vec<SendOutcome> {
        const METHOD: &str = "eth_sendRawTransaction";
        let candidates = self.candidates();
        let sends = candidates.iter().map(|upstream| upstream.send(transactions));
        let mut merged: Option<Vec<SendOutcome>> = None;
        let mut refused = None;
        for answer in futures::future::join_all(sends).await {
            match answer {
                Ok(outcomes) => {
                    merged = Some(match merged {
                        Some(before) => merge_outcomes(before, outcomes),
                        None => outcomes,
                    });
                }
                // Nothing left us for this one: it says nothing about the bytes.
                Err(error) => refused = Some(error),
            }
        }
        if let Some(merged) = merged {
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

    /// See [`Upstream::vault_remaining`].
    pub async fn vault_remaining(
        &self,
        vault: Address,
        tokens: &[Option<Address>],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        first_answer!(self, "eth_call", upstream => upstream.vault_remaining(vault, tokens, at))
    }

    /// See [`Upstream::token_decimals`].
    pub async fn token_decimals(&self, tokens: &[Address]) -> Result<Vec<u8>, ReadError> {
        first_answer!(self, "eth_call", upstream => upstream.token_decimals(tokens))
    }

    /// See [`Upstream::token_symbols`].
    pub async fn token_symbols(&self, tokens: &[Address]) -> Result<Vec<String>, ReadError> {
        first_answer!(self, "eth_call", upstream => upstream.token_symbols(tokens))
    }

    /// See [`Upstream::codes`].
    pub async fn codes(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        first_answer!(self, "eth_getCode", upstream => upstream.codes(addresses))
    }

    /// See [`Upstream::priority_fee`].
    pub async fn priority_fee(&self) -> Result<u128, ReadError> {
        first_answer!(self, "eth_maxPriorityFeePerGas", upstream => upstream.priority_fee())
    }

    /// Gas that each call would use at the newest block. See [`Upstream::quotes`].
    pub async fn estimate_gas(&self, calls: &[CallRequest]) -> Vec<Result<u64, EstimateError>> {
        let quotes = self.quotes(calls, false).await;
        quotes.into_iter().map(|quote| quote.map(|quote| quote.gas)).collect()
    }

    /// See [`Upstream::quotes`].
    pub async fn quotes(
        &self,
        calls: &[CallRequest],
        with_lists: bool,
    ) -> Vec<Result<GasQuote, EstimateError>> {
        first_answer_of_each!(self, "eth_estimateGas", calls,
            (upstream, asked) => upstream.quotes(&asked, with_lists))
    }

    /// See [`Upstream::funds`].
    pub async fn funds(&self, query: FundsQuery<'_>) -> Result<Funds, ReadError> {
        first_answer!(self, "eth_getBlockByNumber", upstream => upstream.funds(query))
    }

    /// See [`Upstream::call`].
    pub async fn call(
        &self,
        calls: &[CallRequest],
        at: BlockTag,
    ) -> Vec<Result<Bytes, EstimateError>> {
        first_answer_of_each!(self, "eth_call", calls, (upstream, asked) => upstream.call(&asked, at))
    }
}

fn merge_outcomes(one: Vec<SendOutcome>, other: Vec<SendOutcome>) -> Vec<SendOutcome> {
    one.into_iter().zip(other).map(|(one, other)| one.merge(other)).collect()
}

fn unanswered<T>(results: &[Result<T, EstimateError>]) -> Vec<usize> {
    let is_open = |index: &usize| matches!(results[*index], Err(EstimateError::Read(_)));
    (0..results.len()).filter(is_open).collect()
}

pub(crate) fn no_provider(method: &'static str) -> ReadError {
    ReadError { provider: String::new(), method, failure: RpcFailure::NoProvider }
}

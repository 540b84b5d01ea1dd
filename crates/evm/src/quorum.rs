//! Reads that decide about money: every provider is asked, and what they say is merged by `evidence`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256};
use futures::future::join_all;

use crate::chain_types::{BlockTag, ConsumedNonce, KnownTransaction};
use crate::evidence::{
    AgreedCount, CONSUMPTION, Decision, Evidence, QuorumConsumption, QuorumError, QuorumReceipt,
    RECEIPT, Subject, Voice, Vote, merge, merge_counts,
};
use crate::failure::ReadError;
use crate::fault::ProviderFault;
use crate::pool::ProviderPool;
use crate::telemetry::count_dispute;
use crate::upstream::Upstream;

/// Disputes that are remembered. More at once are one big dispute.
const DISPUTES_MAX: usize = 256;

/// What the providers contradict each other about. Told when it begins and when it is over.
#[derive(Debug, Default)]
pub(crate) struct Disputes(Mutex<BTreeMap<String, String>>);

impl Disputes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> Vec<String> {
        self.lock().iter().map(|(subject, detail)| format!("{subject}: {detail}")).collect()
    }

    fn begin(&self, subject: &str, detail: &str) -> bool {
        let mut open = self.lock();
        let is_new = !open.contains_key(subject);
        if !is_new || open.len() < DISPUTES_MAX {
            open.insert(subject.to_owned(), detail.to_owned());
        }
        is_new
    }

    fn end(&self, subject: &str) -> bool {
        self.lock().remove(subject).is_some()
    }
}

/// The answers of one provider, and whose they are.
struct Heard<T> {
    upstream: Arc<Upstream>,
    answers: Vec<Result<T, ReadError>>,
}

impl ProviderPool {
    /// The receipts of transactions as the quorum of independent operators shows them: agreement is on the block,
    /// the end and the logs. One verdict a hash.
    ///
    /// # Errors
    /// [`QuorumError::TooFew`] by the configuration; [`QuorumError::Unanswered`] when nobody answered anything.
    pub async fn quorum_receipts(
        &self,
        hashes: &[B256],
        decision: Decision,
    ) -> Result<Vec<QuorumReceipt>, QuorumError> {
        let needed = self.needed(decision)?;
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.voices().into_iter().map(|upstream| async move {
            let answers = upstream.receipts_each(hashes).await;
            Heard { upstream, answers }
        });
        let heard = expect_answers(join_all(asked).await, needed)?;
        let name = |index: usize| format!("receipt {}", hashes[index]);
        Ok(self.judge_each(&heard, hashes.len(), needed, &RECEIPT, name))
    }

    /// Mined transactions with their contents and blocks, as the quorum of independent operators shows them: what a
    /// receipt does not tell. One verdict a hash; one that is in no block counts as not shown.
    ///
    /// # Errors
    /// As [`Self::quorum_receipts`].
    pub async fn quorum_transactions(
        &self,
        hashes: &[B256],
        decision: Decision,
    ) -> Result<Vec<QuorumConsumption>, QuorumError> {
        let needed = self.needed(decision)?;
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.voices().into_iter().map(|upstream| async move {
            let answers = match upstream.transactions_by_hash(hashes).await {
                Ok(known) => {
                    known.into_iter().map(|known| Ok(known.and_then(consumed_by))).collect()
                }
                Err(error) => vec![Err(error)],
            };
            Heard { upstream, answers }
        });
        let heard = expect_answers(join_all(asked).await, needed)?;
        let name = |index: usize| format!("transaction {}", hashes[index]);
        Ok(self.judge_each(&heard, hashes.len(), needed, &CONSUMPTION, name))
    }

    /// Who consumed a nonce, as the quorum of independent operators shows it. See
    /// [`Upstream::find_consumption`]; each provider searches for itself.
    ///
    /// # Errors
    /// As [`Self::quorum_receipts`].
    pub async fn quorum_consumption(
        &self,
        (sender, nonce): (Address, u64),
        low_block: u64,
        high_block: u64,
    ) -> Result<QuorumConsumption, QuorumError> {
        let needed = self.needed(Decision::Paid)?;
        let asked = self.informed_voices(high_block).into_iter().map(|upstream| async move {
            let found = upstream.find_consumption(sender, nonce, low_block, high_block).await;
            Heard { upstream, answers: vec![found] }
        });
        let heard = expect_answers(join_all(asked).await, needed)?;
        let name = |_| format!("nonce {nonce} of {sender}");
        let verdicts = self.judge_each(&heard, 1, needed, &CONSUMPTION, name);
        Ok(verdicts.into_iter().next().unwrap_or(Evidence::Unanswered))
    }

    /// How many transactions each account has sent by a block, as independent operators show it: what fewer than
    /// the quorum tell moves it neither up nor down.
    ///
    /// # Errors
    /// [`QuorumError::TooFew`] by the configuration; [`QuorumError::Unanswered`] when fewer than the quorum
    /// answered.
    pub async fn agreed_counts(
        &self,
        accounts: &[Address],
        block: u64,
    ) -> Result<Vec<AgreedCount>, QuorumError> {
        let needed = self.needed(Decision::Paid)?;
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.informed_voices(block).into_iter().map(|upstream| async move {
            let counts = upstream.transaction_counts(accounts, BlockTag::Number(block)).await;
            (upstream, counts)
        });
        let mut heard = Vec::new();
        let mut last = None;
        for (upstream, counts) in join_all(asked).await {
            match counts {
                Ok(counts) => heard.push((upstream, counts)),
                Err(error) => last = Some(Box::new(error)),
            }
        }
        let operators = operators_of(heard.iter().map(|(upstream, _)| upstream));
        let mut agreed = Vec::with_capacity(accounts.len());
        for index in 0..accounts.len() {
            let told: Vec<(&str, u64)> = heard
                .iter()
                .filter_map(|(upstream, counts)| Some((upstream.operator(), *counts.get(index)?)))
                .collect();
            let Some(count) = merge_counts(&told, needed) else {
                return Err(QuorumError::Unanswered { have: operators, need: needed, last });
            };
            agreed.push(count);
        }
        for (upstream, counts) in &heard {
            let mut pairs = accounts.iter().zip(counts).zip(&agreed);
            match pairs.find(|((_, told), agreed)| **told != agreed.count) {
                None => upstream.clear(ProviderFault::FalseNonce),
                Some(((account, told), agreed)) => upstream.raise(
                    ProviderFault::FalseNonce,
                    &format!(
                        "it counts {told} transactions of {account} where {} are agreed on",
                        agreed.count
                    ),
                ),
            }
        }
        Ok(agreed)
    }

    /// Those that have a block, as far as is known. One alone is asked in any case: there is nobody else.
    fn informed_voices(&self, block: u64) -> Vec<Arc<Upstream>> {
        let voices = self.voices();
        if voices.len() < 2 {
            return voices;
        }
        let has_block = |it: &Arc<Upstream>| it.known_head().is_none_or(|head| head >= block);
        voices.into_iter().filter(has_block).collect()
    }

    fn judge_each<T: Clone>(
        &self,
        heard: &[Heard<Option<T>>],
        count: usize,
        needed: usize,
        subject: &Subject<T>,
        name: impl Fn(usize) -> String,
    ) -> Vec<Evidence<T>> {
        let mut verdicts = Vec::with_capacity(count);
        let mut agreeing: BTreeSet<&str> = BTreeSet::new();
        let mut contradicting: BTreeMap<&str, String> = BTreeMap::new();
        for index in 0..count {
            let votes: Vec<Vote<'_, T>> = heard.iter().map(|heard| vote(heard, index)).collect();
            let verdict = merge(&votes, needed, subject);
            if let Evidence::Agreed { value, .. } = &verdict {
                for (heard, vote) in heard.iter().zip(&votes) {
                    let Voice::Shows(shown) = &vote.voice else { continue };
                    if (subject.agrees)(shown, value) {
                        agreeing.insert(heard.upstream.name());
                    } else {
                        contradicting.insert(heard.upstream.name(), name(index));
                    }
                }
            }
            let dispute = match &verdict {
                Evidence::Disputed { versions } => {
                    let support: Vec<String> =
                        versions.iter().map(|version| version.operators.to_string()).collect();
                    Some(format!("versions of {} operators", support.join(" and ")))
                }
                _ => None,
            };
            self.note_dispute(&name(index), dispute.as_deref());
            verdicts.push(verdict);
        }
        for heard in heard {
            let provider = heard.upstream.name();
            if let Some(what) = contradicting.get(provider) {
                let detail = format!("it shows another {what} than the others agree on");
                heard.upstream.raise(ProviderFault::Contradiction, &detail);
            } else if agreeing.contains(provider) {
                heard.upstream.clear(ProviderFault::Contradiction);
            }
        }
        verdicts
    }

    /// Tells a dispute when it begins, and when it is over: `None`.
    pub(crate) fn note_dispute(&self, subject: &str, detail: Option<&str>) {
        let network = self.chain().network;
        match detail {
            Some(detail) => {
                if self.disputes.begin(subject, detail) {
                    let read = subject.split(' ').next().unwrap_or_default();
                    count_dispute(network, read.to_owned());
                    tracing::error!(
                        network,
                        subject,
                        detail,
                        "the providers contradict each other; nothing is decided by it"
                    );
                }
            }
            None => {
                if self.disputes.end(subject) {
                    tracing::info!(network, subject, "the providers contradict each other no more");
                }
            }
        }
    }
}

fn consumed_by(known: KnownTransaction) -> Option<ConsumedNonce> {
    known.block.map(|block| ConsumedNonce { block, transaction: Some(known.transaction) })
}

fn vote<T: Clone>(heard: &Heard<Option<T>>, index: usize) -> Vote<'_, T> {
    let voice = match heard.answers.get(index) {
        Some(Ok(Some(value))) => Voice::Shows(value.clone()),
        Some(Ok(None)) => Voice::ShowsNone { head: heard.upstream.known_head() },
        Some(Err(_)) | None => Voice::Silent,
    };
    Vote { operator: heard.upstream.operator(), voice }
}

/// An error when nobody answered anything.
fn expect_answers<T>(heard: Vec<Heard<T>>, need: usize) -> Result<Vec<Heard<T>>, QuorumError> {
    if heard.iter().flat_map(|heard| &heard.answers).any(Result::is_ok) {
        return Ok(heard);
    }
    let last = heard.into_iter().flat_map(|heard| heard.answers).find_map(Result::err);
    Err(QuorumError::Unanswered { have: 0, need, last: last.map(Box::new) })
}

pub(crate) fn operators_of<'a>(upstreams: impl Iterator<Item = &'a Arc<Upstream>>) -> usize {
    upstreams.map(|upstream| upstream.operator()).collect::<BTreeSet<_>>().len()
}

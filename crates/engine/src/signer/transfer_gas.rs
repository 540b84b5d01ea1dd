//! What plain transfers need. A node takes long to estimate and not long to execute: one transfer of each token is estimated, and
//! the others are executed with the gas limit that follows from it. Whatever fails is estimated by itself, so that every
//! payment has the node's word that it goes through with its limit.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use alloy_primitives::Address;
use futures::future::join;
use portcullis_core::batching::{smoothed, with_headroom};
use portcullis_evm::{BlockTag, CallRequest, EstimateError};

use super::{SignerChain, SignerRole};

/// One transfer to be asked about.
pub(super) struct Question {
    /// The token; `None` for the native coin, whose recipients may be contracts and differ.
    pub(super) token: Option<Address>,
    /// The transfer.
    pub(super) call: CallRequest,
    /// Whether its last transaction ran out of gas: what others need says nothing about it.
    pub(super) is_dry: bool,
}

impl SignerRole {
    /// The gas that each transfer uses, or why it cannot be made, in the order of the questions.
    pub(super) async fn transfer_gas(
        chain: &SignerChain,
        questions: &[Question],
    ) -> Vec<Result<u64, EstimateError>> {
        let known = known_gas(chain, questions);
        let with_limit = |(question, gas): (&Question, &Option<u64>)| {
            let gas = Some(with_headroom((*gas)?));
            Some(CallRequest { gas, ..question.call.clone() })
        };
        let executed: Vec<CallRequest> =
            questions.iter().zip(&known).filter_map(with_limit).collect();
        let open: Vec<usize> = (0..questions.len()).filter(|it| known[*it].is_none()).collect();
        let asked = calls_of(questions, &open);
        let (estimates, returned) =
            join(chain.pool.estimate_gas(&asked), chain.pool.call(&executed, BlockTag::Latest))
                .await;
        let mut answers: Vec<Option<Result<u64, EstimateError>>> = vec![None; questions.len()];
        for (index, estimate) in open.iter().zip(estimates) {
            answers[*index] = Some(estimate);
        }
        let places = (0..questions.len()).filter(|it| known[*it].is_some());
        for (index, returned) in places.zip(returned) {
            answers[index] = returned.ok().and(known[index]).map(Ok);
        }
        let failed: Vec<usize> = (0..questions.len()).filter(|it| answers[*it].is_none()).collect();
        let again = chain.pool.estimate_gas(&calls_of(questions, &failed)).await;
        for (index, estimate) in failed.iter().zip(again) {
            answers[*index] = Some(estimate);
        }
        let estimated = open.iter().chain(&failed).copied();
        learn(chain, questions, &answers, estimated);
        answers.into_iter().flatten().collect()
    }
}

/// What is known to be needed, where the transfer need not be estimated: not the first of its token.
fn known_gas(chain: &SignerChain, questions: &[Question]) -> Vec<Option<u64>> {
    let learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seen = BTreeSet::new();
    let known = questions.iter().map(|question| {
        let token = question.token?;
        let is_first = seen.insert(token);
        if is_first || question.is_dry {
            return None;
        }
        learned.transfers.get(&token).copied()
    });
    known.collect()
}

fn calls_of(questions: &[Question], places: &[usize]) -> Vec<CallRequest> {
    places.iter().map(|place| questions[*place].call.clone()).collect()
}

fn learn(
    chain: &SignerChain,
    questions: &[Question],
    answers: &[Option<Result<u64, EstimateError>>],
    estimated: impl Iterator<Item = usize>,
) {
    let mut learned = chain.learned.lock().unwrap_or_else(PoisonError::into_inner);
    for index in estimated {
        if let (Some(token), Some(Ok(gas))) = (questions[index].token, &answers[index]) {
            let before = learned.transfers.get(&token).copied().unwrap_or(0);
            learned.transfers.insert(token, smoothed(before, *gas));
        }
    }
}

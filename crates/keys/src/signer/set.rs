//! A set of intents on its way: judged, built, signed by whoever holds the keys, put together, written down.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Signature};
use portcullis_core::intent::{SignedAttempt, SigningIntent};
use portcullis_core::slot::{AttemptKind, Payload, Slot};
use portcullis_core::time::Timestamp;
use portcullis_core::transaction::UnsignedTransaction;

use super::parts::in_parts;
use super::refusal::SigningRefusal;
use super::rules::{Rulebook, Taken, check_journal};
use super::{Book, Outcome, unjournaled};
use crate::journal::{AttemptRecord, Index, JournalError, JournalRecord, JournaledPayment};
use crate::keyring::{Ask, Signed};

/// An intent that was accepted, up to its signature.
pub(super) struct Unsigned {
    transaction: UnsignedTransaction,
    payload_digest: B256,
    pub(super) ask: Ask,
}

/// An intent with all that makes its signed bytes, or why there are none.
type Ready<'a> = Result<(&'a SigningIntent, Unsigned, Signature), SigningRefusal>;

/// Checks, and builds what is to be signed. Blocks: the arithmetic of many seals, and once in a keystore's life a write.
pub(super) fn prepare(
    book: &mut Book,
    senders: &BTreeSet<(u64, Address)>,
    rulebook: &Rulebook,
    intents: &[SigningIntent],
    now: Timestamp,
) -> Vec<Result<Unsigned, SigningRefusal>> {
    let reader = book.journal.reader();
    let mut taken = Taken::default();
    let mut accepted: Vec<Result<Payload, SigningRefusal>> = intents
        .iter()
        .map(|intent| accept(&reader.index(), senders, rulebook, &mut taken, intent))
        .collect();
    if accepted.iter().any(Result::is_ok) {
        // Before the first signature exists, the keystore knows that it cannot do without this journal.
        if let Err(error) = book.keyring.mark_signed(book.journal.id(), now) {
            let refusal = unjournaled(&error.into());
            for one in accepted.iter_mut().filter(|one| one.is_ok()) {
                *one = Err(refusal.clone());
            }
        }
    }
    let work: Vec<_> = intents.iter().zip(accepted).collect();
    in_parts(&work, |(intent, accepted)| {
        accepted.as_ref().map(|payload| unsigned(intent, payload)).map_err(Clone::clone)
    })
}

/// Puts the signatures into the transactions that were accepted, in their order. Blocks.
pub(super) fn assemble(
    intents: &[SigningIntent],
    prepared: Vec<Result<Unsigned, SigningRefusal>>,
    signed: Vec<Signed>,
) -> Vec<Outcome> {
    let mut signed = signed.into_iter();
    let work: Vec<Ready<'_>> = intents
        .iter()
        .zip(prepared)
        .map(|(intent, prepared)| {
            let unsigned = prepared?;
            let sender = intent.slot.sender;
            // Every holder answers each question once.
            let signature = signed.next().ok_or_else(|| unjournaled(&JournalError::Stopping))?;
            let signature = signature.map_err(|reason| SigningRefusal::Key { sender, reason })?;
            Ok((intent, unsigned, signature))
        })
        .collect();
    in_parts(&work, |one| {
        let (intent, unsigned, signature) = one.as_ref().map_err(Clone::clone)?;
        let (hash, raw) = unsigned.transaction.clone().into_signed(*signature);
        Ok(SignedAttempt {
            slot: intent.slot,
            kind: intent.kind,
            payload_digest: unsigned.payload_digest,
            hash,
            raw,
            fees: intent.fees,
            gas_limit: intent.gas_limit,
        })
    })
}

pub(super) fn accept(
    index: &Index,
    senders: &BTreeSet<(u64, Address)>,
    rulebook: &Rulebook,
    taken: &mut Taken,
    intent: &SigningIntent,
) -> Result<Payload, SigningRefusal> {
    let Slot { chain_id, sender, .. } = intent.slot;
    if !senders.contains(&(chain_id, sender)) {
        return Err(SigningRefusal::UnknownSender { chain_id, sender });
    }
    let payload = rulebook.check(intent)?;
    taken.check(intent)?;
    check_journal(index, intent, payload.digest(intent.slot))?;
    taken.take(intent);
    Ok(payload)
}

fn unsigned(intent: &SigningIntent, payload: &Payload) -> Unsigned {
    let mut transaction =
        UnsignedTransaction::new(intent.slot, payload, intent.fees, intent.gas_limit);
    if intent.kind == AttemptKind::Payload {
        transaction = transaction.with_access_list(&intent.access_list);
    }
    let Slot { chain_id, sender, .. } = intent.slot;
    let ask = Ask { key: (chain_id, sender), digest: transaction.signature_hash() };
    Unsigned { transaction, payload_digest: payload.digest(intent.slot), ask }
}

pub(super) fn records_of(
    intents: &[SigningIntent],
    outcomes: &[Outcome],
    now: Timestamp,
) -> Vec<JournalRecord> {
    let signed = intents.iter().zip(outcomes).filter_map(|(intent, outcome)| {
        Some(JournalRecord::Attempt(record_of(intent, outcome.as_ref().ok()?, now)))
    });
    signed.collect()
}

fn record_of(intent: &SigningIntent, signed: &SignedAttempt, at: Timestamp) -> AttemptRecord {
    let payments = match intent.kind {
        AttemptKind::Cancel => Vec::new(),
        AttemptKind::Payload => intent
            .payments
            .iter()
            .map(|payment| JournaledPayment {
                withdrawal: payment.withdrawal,
                number: payment.number,
                reference: payment.reference,
                tenant: payment.tenant,
                external_id: payment.external_id.clone(),
            })
            .collect(),
    };
    AttemptRecord {
        slot: intent.slot,
        purpose: intent.purpose,
        rail: intent.rail,
        kind: intent.kind,
        payload_digest: signed.payload_digest,
        hash: signed.hash,
        payments,
        at,
    }
}

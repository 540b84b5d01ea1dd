//! The signer: intents in, signed and journaled bytes out. It believes the database nothing that it can check.

mod caps;
mod parts;
mod refusal;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use k256::ecdsa::SigningKey;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_core::id::DeploymentId;
use portcullis_core::intent::{SignedAttempt, SigningIntent};
use portcullis_core::number::PayoutNumber;
use portcullis_core::seal::SealingKeys;
use portcullis_core::slot::{AttemptKind, Payload, Slot};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::transaction::UnsignedTransaction;
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use self::caps::ChainCaps;
pub use self::refusal::SigningRefusal;

use self::parts::in_parts;
use self::rules::{Rulebook, Taken, check_journal};
use crate::journal::{
    AttemptRecord, AuditHead, EvidenceCause, Index, Journal, JournalError, JournalReader,
    JournalRecord, JournaledPayment, ReleaseEvidence, ReleaseRecord,
};
use crate::keystore::{Keystore, UnlockedKeys};

/// The name of an append to the journal at a gate.
pub const JOURNAL_EFFECT: &str = "journal";

/// A signer that cannot be put together.
#[derive(Debug, Error)]
pub enum SignerSetupError {
    /// The journal is that of another keystore.
    #[error(
        "the journal belongs to another keystore than the one given: open it with `Journal::open`"
    )]
    ForeignJournal,
    /// A chain has two sets of caps.
    #[error("chain {chain_id} has two sets of caps: configure one")]
    CapsTwice {
        /// The chain.
        chain_id: u64,
    },
}

/// A payment to be released, with what proves that its slot did not make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The payment.
    pub number: PayoutNumber,
    /// The slot that it leaves.
    pub slot: Slot,
    /// What the signer role itself has read from the chain, final and agreed by the quorum.
    pub evidence: ReleaseEvidence,
}

/// The signer. Cheap to clone; all clones share one keystore and one journal.
#[derive(Clone)]
pub struct Signer {
    keys: Arc<UnlockedKeys>,
    rulebook: Arc<Rulebook>,
    /// Held from the first look at the journal to the end of the append, by whatever task is at it.
    book: Arc<Mutex<Book>>,
    reader: JournalReader,
    clock: Arc<dyn Clock>,
    gate: Option<Arc<dyn EffectGate>>,
}

/// What only one call at a time may use.
struct Book {
    keystore: Keystore,
    journal: Journal,
}

type Outcome = Result<SignedAttempt, SigningRefusal>;

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} keys)", self.keys.len())
    }
}

impl Signer {
    /// Puts a signer together.
    ///
    /// # Errors
    /// See [`SignerSetupError`].
    pub fn new(
        keystore: Keystore,
        journal: Journal,
        sealing: SealingKeys,
        deployment: DeploymentId,
        caps: Vec<ChainCaps>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SignerSetupError> {
        if journal.keystore() != keystore.id() {
            return Err(SignerSetupError::ForeignJournal);
        }
        let mut caps_by_chain = BTreeMap::new();
        for caps in caps {
            let chain_id = caps.chain_id;
            if caps_by_chain.insert(chain_id, caps).is_some() {
                return Err(SignerSetupError::CapsTwice { chain_id });
            }
        }
        let keys = keystore.unlocked();
        let vaults = caps_by_chain.values().filter_map(|caps| caps.vault);
        let own = keys.keys().map(|(_, address)| *address).chain(vaults).collect();
        let rulebook = Rulebook { sealing, deployment, caps: caps_by_chain, own };
        Ok(Self {
            keys,
            rulebook: Arc::new(rulebook),
            reader: journal.reader(),
            book: Arc::new(Mutex::new(Book { keystore, journal })),
            clock,
            gate: None,
        })
    }

    /// The same signer, which waits at a gate before and after every append to the journal, under the name
    /// of [`JOURNAL_EFFECT`].
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn EffectGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The addresses that it signs for on a chain.
    #[must_use]
    pub fn addresses(&self, chain_id: u64) -> Vec<Address> {
        self.keys.keys().filter(|(chain, _)| *chain == chain_id).map(|(_, it)| *it).collect()
    }

    /// The highest gas limit that it signs on a chain at this price: its own cap, and what the most costly transaction
    /// may cost. Zero where it has no caps.
    #[must_use]
    pub fn gas_limit_max(&self, chain_id: u64, max_fee_per_gas_wei: u128) -> u64 {
        let Some(caps) = self.rulebook.caps.get(&chain_id) else { return 0 };
        let affordable = caps.transaction_fee_wei_max.checked_div(max_fee_per_gas_wei);
        let affordable = affordable.and_then(|gas| u64::try_from(gas).ok()).unwrap_or(u64::MAX);
        caps.gas_limit_max.min(affordable)
    }

    /// What the journal knows.
    #[must_use]
    pub const fn journal(&self) -> &JournalReader {
        &self.reader
    }

    /// What an intent's transaction does. Its digest is what binding and journal remember.
    ///
    /// # Errors
    /// [`SigningRefusal::PaymentCount`], [`SigningRefusal::NoVault`].
    pub fn payload(&self, intent: &SigningIntent) -> Result<Payload, SigningRefusal> {
        self.rulebook.payload(intent)
    }

    /// What [`Signer::sign`] would refuse of one intent now. Asked before a slot is bound to it; a slot
    /// that is bound and cannot be signed has to be canceled.
    ///
    /// # Errors
    /// See [`SigningRefusal`].
    pub fn check(&self, intent: &SigningIntent) -> Result<(), SigningRefusal> {
        let mut taken = Taken::default();
        accept(&self.reader.index(), &self.keys, &self.rulebook, &mut taken, intent).map(|_| ())
    }

    /// Signs what is in order, and returns one outcome per intent, in their order. Signed bytes come back only
    /// after one fsync has put all of them into the journal; when that fails, none come back.
    ///
    /// Drop it at any moment: the journal then knows of all signatures of the call or of none, and the same
    /// intents can be signed again to the same bytes.
    pub async fn sign(&self, intents: Vec<SigningIntent>) -> Vec<Outcome> {
        let count = intents.len();
        let mut book = Arc::clone(&self.book).lock_owned().await;
        let (keys, rulebook) = (Arc::clone(&self.keys), Arc::clone(&self.rulebook));
        let now = self.clock.now();
        let prepared = tokio::task::spawn_blocking(move || {
            let prepared = prepare(&mut book, &keys, &rulebook, &intents, now);
            (book, prepared)
        })
        .await;
        let Ok((book, prepared)) = prepared else {
            return refuse_all(count, &JournalError::Stopping);
        };
        if prepared.records.is_empty() {
            return prepared.outcomes;
        }
        match self.commit(book, prepared.records).await {
            Ok(()) => prepared.outcomes,
            // What was refused stays refused for its own reason; what was signed does not leave.
            Err(error) => prepared
                .outcomes
                .into_iter()
                .map(|outcome| outcome.and_then(|_signed| Err(unjournaled(&error))))
                .collect(),
        }
    }

    /// Writes down that payments left their slots. Only then may another slot carry them. What is released
    /// already is passed over.
    ///
    /// # Errors
    /// [`JournalError::NothingToRelease`], [`JournalError::EvidenceContradicts`]: nothing of the call was
    /// written. See the others there.
    pub async fn record_release(&self, releases: Vec<Release>) -> Result<(), JournalError> {
        let book = Arc::clone(&self.book).lock_owned().await;
        let at = self.clock.now();
        let mut records: Vec<JournalRecord> = Vec::new();
        for Release { number, slot, evidence } in releases {
            let record = JournalRecord::Release(ReleaseRecord { number, slot, evidence, at });
            if is_news(&self.reader.index(), number, slot, evidence)? && !records.contains(&record)
            {
                records.push(record);
            }
        }
        if records.is_empty() { Ok(()) } else { self.commit(book, records).await }
    }

    /// Writes down how far the audit log has come, so that a shortened log is noticed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn record_audit_head(&self, sequence: u64, hash: B256) -> Result<(), JournalError> {
        let book = Arc::clone(&self.book).lock_owned().await;
        let head = AuditHead { sequence, hash, at: self.clock.now() };
        self.commit(book, vec![JournalRecord::AuditHead(head)]).await
    }

    /// Appends on a blocking thread, which goes on to its end even when this future is dropped.
    async fn commit(
        &self,
        mut book: OwnedMutexGuard<Book>,
        records: Vec<JournalRecord>,
    ) -> Result<(), JournalError> {
        self.pass(false).await;
        let appended = tokio::task::spawn_blocking(move || book.journal.append(&records)).await;
        let appended = appended.unwrap_or(Err(JournalError::Stopping));
        self.pass(true).await;
        appended
    }

    async fn pass(&self, happened: bool) {
        if let Some(gate) = &self.gate {
            gate.pass(EffectPoint { effect: JOURNAL_EFFECT, happened }).await;
        }
    }
}

/// What a call is going to commit.
struct Prepared {
    outcomes: Vec<Outcome>,
    records: Vec<JournalRecord>,
}

/// Checks and signs. Blocks: the arithmetic of many signatures, and once in a keystore's life a write.
fn prepare(
    book: &mut Book,
    keys: &UnlockedKeys,
    rulebook: &Rulebook,
    intents: &[SigningIntent],
    now: Timestamp,
) -> Prepared {
    let reader = book.journal.reader();
    let mut taken = Taken::default();
    let mut accepted: Vec<Result<(Payload, &SigningKey), SigningRefusal>> = intents
        .iter()
        .map(|intent| accept(&reader.index(), keys, rulebook, &mut taken, intent))
        .collect();
    if accepted.iter().any(Result::is_ok) {
        // Before the first signature exists, the keystore knows that it cannot do without this journal.
        if let Err(error) = book.keystore.mark_signed(book.journal.id(), now) {
            let refusal = unjournaled(&error.into());
            for one in accepted.iter_mut().filter(|one| one.is_ok()) {
                *one = Err(refusal.clone());
            }
        }
    }
    let work: Vec<_> = intents.iter().zip(accepted).collect();
    let outcomes = in_parts(&work, |(intent, accepted)| {
        let (payload, key) = accepted.as_ref().map_err(Clone::clone)?;
        sign_one(key, intent, payload)
    });
    let records = intents
        .iter()
        .zip(&outcomes)
        .filter_map(|(intent, outcome)| {
            let signed = outcome.as_ref().ok()?;
            Some(JournalRecord::Attempt(record_of(intent, signed, now)))
        })
        .collect();
    Prepared { outcomes, records }
}

fn accept<'a>(
    index: &Index,
    keys: &'a UnlockedKeys,
    rulebook: &Rulebook,
    taken: &mut Taken,
    intent: &SigningIntent,
) -> Result<(Payload, &'a SigningKey), SigningRefusal> {
    let Slot { chain_id, sender, .. } = intent.slot;
    let key =
        keys.get(&(chain_id, sender)).ok_or(SigningRefusal::UnknownSender { chain_id, sender })?;
    let payload = rulebook.check(intent)?;
    taken.check(intent)?;
    check_journal(index, intent, payload.digest(intent.slot))?;
    taken.take(intent);
    Ok((payload, key))
}

/// Signs with a deterministic nonce (RFC 6979) and a low `s` (EIP-2): the same intent gives the same bytes.
fn sign_one(key: &SigningKey, intent: &SigningIntent, payload: &Payload) -> Outcome {
    let mut unsigned =
        UnsignedTransaction::new(intent.slot, payload, intent.fees, intent.gas_limit);
    if intent.kind == AttemptKind::Payload {
        unsigned = unsigned.with_access_list(&intent.access_list);
    }
    let signature =
        key.sign_prehash_recoverable(unsigned.signature_hash().as_slice()).map_err(|error| {
            SigningRefusal::Key { sender: intent.slot.sender, reason: error.to_string() }
        })?;
    let (hash, raw) = unsigned.into_signed(signature.into());
    Ok(SignedAttempt {
        slot: intent.slot,
        kind: intent.kind,
        payload_digest: payload.digest(intent.slot),
        hash,
        raw,
        fees: intent.fees,
        gas_limit: intent.gas_limit,
    })
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

/// Whether a release says something new. What it says must fit what was signed.
fn is_news(
    index: &Index,
    number: PayoutNumber,
    slot: Slot,
    evidence: ReleaseEvidence,
) -> Result<bool, JournalError> {
    let rides = index.payment(number).map(|known| known.rides.as_slice()).unwrap_or_default();
    let ride = rides.iter().find(|ride| ride.slot == slot);
    let (Some(ride), Some(entry)) = (ride, index.slot(slot)) else {
        return Err(JournalError::NothingToRelease { number, slot });
    };
    let opposites: &[AttemptKind] = match evidence.cause {
        EvidenceCause::Canceled => &[AttemptKind::Payload],
        EvidenceCause::Reverted | EvidenceCause::ItemFailed => &[AttemptKind::Cancel],
        EvidenceCause::Foreign => &[AttemptKind::Payload, AttemptKind::Cancel],
    };
    if opposites.iter().any(|kind| entry.has_attempt(*kind, evidence.transaction_hash)) {
        return Err(JournalError::EvidenceContradicts { number, slot });
    }
    Ok(!ride.released || (evidence.is_final && !ride.is_final))
}

fn unjournaled(error: &JournalError) -> SigningRefusal {
    SigningRefusal::Journal { reason: error.to_string() }
}

fn refuse_all(count: usize, error: &JournalError) -> Vec<Outcome> {
    vec![Err(unjournaled(error)); count]
}

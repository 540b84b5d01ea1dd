//! The signer: intents in, signed and journaled bytes out. It believes the database nothing that it can check.

mod caps;
mod parts;
mod refusal;
mod rules;
mod set;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use futures::executor::block_on;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_core::id::DeploymentId;
use portcullis_core::intent::{SignedAttempt, SigningIntent};
use portcullis_core::number::PayoutNumber;
use portcullis_core::seal::SealingKeys;
use portcullis_core::slot::{AttemptKind, Payload, Slot};
use portcullis_core::time::{Clock, Timestamp};
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use self::caps::ChainCaps;
pub use self::refusal::SigningRefusal;

pub(crate) use self::parts::in_parts;
use self::rules::{Rulebook, Taken};
use self::set::{accept, assemble, prepare, records_of};
use crate::journal::{
    AuditHead, EvidenceCause, Index, Journal, JournalError, JournalReader, JournalRecord,
    ReleaseEvidence, ReleaseRecord,
};
use crate::keyring::{Ask, Hand, Keyring};

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

/// How often a set is judged anew because other signers were quicker. Each time one of them has got on.
const OVERTAKEN_MAX: usize = 50;

/// The signer. Cheap to clone; all clones share one set of keys and one journal.
#[derive(Clone)]
pub struct Signer {
    /// Chain and address of every key.
    senders: Arc<BTreeSet<(u64, Address)>>,
    hand: Hand,
    rulebook: Arc<Rulebook>,
    /// Held from the first look at the journal to the end of the append, by whatever task is at it.
    book: Arc<Mutex<Book>>,
    reader: JournalReader,
    clock: Arc<dyn Clock>,
    gate: Option<Arc<dyn EffectGate>>,
}

/// What only one call at a time may use.
struct Book {
    keyring: Keyring,
    journal: Journal,
}

type Outcome = Result<SignedAttempt, SigningRefusal>;

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signer({} keys)", self.senders.len())
    }
}

impl Signer {
    /// Puts a signer together.
    ///
    /// # Errors
    /// See [`SignerSetupError`].
    pub fn new(
        keys: impl Into<Keyring>,
        journal: Journal,
        sealing: SealingKeys,
        deployment: DeploymentId,
        caps: Vec<ChainCaps>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SignerSetupError> {
        let keyring = keys.into();
        if journal.keystore() != keyring.id() {
            return Err(SignerSetupError::ForeignJournal);
        }
        let mut caps_by_chain = BTreeMap::new();
        for caps in caps {
            let chain_id = caps.chain_id;
            if caps_by_chain.insert(chain_id, caps).is_some() {
                return Err(SignerSetupError::CapsTwice { chain_id });
            }
        }
        let senders = keyring.addresses();
        let vaults = caps_by_chain.values().filter_map(|caps| caps.vault);
        let own = senders.iter().map(|(_, address)| *address).chain(vaults).collect();
        let rulebook = Rulebook { sealing, deployment, caps: caps_by_chain, own };
        Ok(Self {
            senders: Arc::new(senders),
            hand: keyring.hand(),
            rulebook: Arc::new(rulebook),
            reader: journal.reader(),
            book: Arc::new(Mutex::new(Book { keyring, journal })),
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
        self.senders.iter().filter(|(chain, _)| *chain == chain_id).map(|(_, it)| *it).collect()
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
        accept(&self.reader.index(), &self.senders, &self.rulebook, &mut taken, intent).map(|_| ())
    }

    /// Reads what other signers have written to a journal that is shared, mends a file that an append has failed on, and
    /// lets go of keys that were kept long enough. Called before the journal is compared with anything.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn catch_up(&self) -> Result<(), JournalError> {
        self.hand.tidy();
        self.caught_up().await.map(|_book| ())
    }

    /// The book, whose journal knows all that any signer has written, and takes more.
    async fn caught_up(&self) -> Result<OwnedMutexGuard<Book>, JournalError> {
        let mut book = Arc::clone(&self.book).lock_owned().await;
        if !book.journal.is_broken() {
            book.journal.catch_up().await?;
            return Ok(book);
        }
        let mending =
            tokio::task::spawn_blocking(move || block_on(book.journal.catch_up()).map(|()| book));
        mending.await.unwrap_or(Err(JournalError::Stopping))
    }

    /// Signs what is in order, and returns one outcome per intent, in their order. Signed bytes come back only
    /// after one append has put all of them into the journal; when that fails, none come back.
    ///
    /// Drop it at any moment: the journal then knows of all signatures of the call or of none, and the same
    /// intents can be signed again, by a keystore to the same bytes.
    pub async fn sign(&self, intents: Vec<SigningIntent>) -> Vec<Outcome> {
        let count = intents.len();
        let mut book = match self.caught_up().await {
            Ok(book) => book,
            Err(error) => return refuse_all(count, &error),
        };
        let (senders, rulebook) = (Arc::clone(&self.senders), Arc::clone(&self.rulebook));
        let now = self.clock.now();
        let prepared = tokio::task::spawn_blocking(move || {
            let prepared = prepare(&mut book, &senders, &rulebook, &intents, now);
            (book, intents, prepared)
        })
        .await;
        let Ok((book, intents, prepared)) = prepared else {
            return refuse_all(count, &JournalError::Stopping);
        };
        let asked: Vec<Ask> = prepared.iter().flatten().map(|unsigned| unsigned.ask).collect();
        let signed = if asked.is_empty() { Vec::new() } else { self.hand.sign(asked).await };
        let assembling = tokio::task::spawn_blocking(move || {
            let outcomes = assemble(&intents, prepared, signed);
            (intents, outcomes)
        });
        match assembling.await {
            Ok((intents, outcomes)) => self.commit_signed(book, &intents, outcomes, now).await,
            Err(_) => refuse_all(count, &JournalError::Stopping),
        }
    }

    /// Puts what was signed into the journal. Where another signer was quicker, it is judged anew: what no longer fits is
    /// forgotten, and its bytes never leave.
    async fn commit_signed(
        &self,
        mut book: OwnedMutexGuard<Book>,
        intents: &[SigningIntent],
        mut outcomes: Vec<Outcome>,
        now: Timestamp,
    ) -> Vec<Outcome> {
        let mut failure = JournalError::Stopping;
        for _ in 0..OVERTAKEN_MAX {
            let records = records_of(intents, &outcomes, now);
            if records.is_empty() {
                return outcomes;
            }
            match self.commit(book, records).await {
                (_, Ok(())) => return outcomes,
                (Some(returned), Err(error @ JournalError::Overtaken { .. })) => {
                    book = returned;
                    failure = error;
                    self.judge_anew(intents, &mut outcomes);
                }
                (_, Err(error)) => {
                    failure = error;
                    break;
                }
            }
        }
        // What was refused stays refused for its own reason; what was signed does not leave.
        outcomes
            .into_iter()
            .map(|outcome| outcome.and_then(|_signed| Err(unjournaled(&failure))))
            .collect()
    }

    fn judge_anew(&self, intents: &[SigningIntent], outcomes: &mut [Outcome]) {
        let (index, mut taken) = (self.reader.index(), Taken::default());
        for (intent, outcome) in intents.iter().zip(outcomes) {
            if outcome.is_ok()
                && let Err(refusal) =
                    accept(&index, &self.senders, &self.rulebook, &mut taken, intent)
            {
                *outcome = Err(refusal);
            }
        }
    }

    /// Writes down that payments left their slots. Only then may another slot carry them. What is released
    /// already is passed over.
    ///
    /// # Errors
    /// [`JournalError::NothingToRelease`], [`JournalError::EvidenceContradicts`]: nothing of the call was
    /// written. See the others there.
    pub async fn record_release(&self, releases: Vec<Release>) -> Result<(), JournalError> {
        let at = self.clock.now();
        self.record(|index| {
            let mut records: Vec<JournalRecord> = Vec::new();
            for &Release { number, slot, evidence } in &releases {
                let record = JournalRecord::Release(ReleaseRecord { number, slot, evidence, at });
                if is_news(index, number, slot, evidence)? && !records.contains(&record) {
                    records.push(record);
                }
            }
            Ok(records)
        })
        .await
    }

    /// Writes down how far the audit log has come, so that a shortened log is noticed. Where another signer has
    /// written down meanwhile that it came further, that stands.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn record_audit_head(&self, sequence: u64, hash: B256) -> Result<(), JournalError> {
        let head = AuditHead { sequence, hash, at: self.clock.now() };
        let before = self.reader.audit_head();
        self.record(|index| {
            // Not what was known before: a log that was restored, and accepted so, is shorter for good.
            let news = index.audit_head().filter(|known| before != Some(*known));
            let is_overtaken = news.is_some_and(|known| known.sequence > sequence);
            Ok(if is_overtaken { Vec::new() } else { vec![JournalRecord::AuditHead(head)] })
        })
        .await
    }

    /// Appends what `what` says to the journal as it is; where another signer was quicker, as it is then.
    async fn record(
        &self,
        what: impl Fn(&Index) -> Result<Vec<JournalRecord>, JournalError>,
    ) -> Result<(), JournalError> {
        let mut book = self.caught_up().await?;
        let mut failure = JournalError::Stopping;
        for _ in 0..OVERTAKEN_MAX {
            let records = what(&self.reader.index())?;
            if records.is_empty() {
                return Ok(());
            }
            match self.commit(book, records).await {
                (Some(returned), Err(error @ JournalError::Overtaken { .. })) => {
                    book = returned;
                    failure = error;
                }
                (_, done) => return done,
            }
        }
        Err(failure)
    }

    /// Appends, in a task of its own, which goes on to its end even when this future is dropped.
    async fn commit(
        &self,
        mut book: OwnedMutexGuard<Book>,
        records: Vec<JournalRecord>,
    ) -> (Option<OwnedMutexGuard<Book>>, Result<(), JournalError>) {
        self.pass(false).await;
        let is_shared = book.journal.is_shared();
        let appending = async move {
            let appended = book.journal.append(&records).await;
            (book, appended)
        };
        let appended = if is_shared {
            tokio::spawn(appending).await
        } else {
            tokio::task::spawn_blocking(move || block_on(appending)).await
        };
        self.pass(true).await;
        match appended {
            Ok((book, appended)) => (Some(book), appended),
            Err(_) => (None, Err(JournalError::Stopping)),
        }
    }

    async fn pass(&self, happened: bool) {
        if let Some(gate) = &self.gate {
            gate.pass(EffectPoint { effect: JOURNAL_EFFECT, happened }).await;
        }
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

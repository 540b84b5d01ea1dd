//! `reconcile`: compares database, journal, ledger and chain, and brings the database to what the other two prove
//! (invariants 11 and 12). It writes to the database alone; the journal and the chain are the judges.

mod accept;
mod chain;
mod difference;
mod ended;
mod evidence;
mod outgoing;
mod payments;
mod slots;
mod start;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::DeploymentId;
use portcullis_core::number::PaymentRef;
use portcullis_core::withdrawal::HoldReason;
use portcullis_evm::{HeadBlock, ProviderPool};
use portcullis_keys::journal::{JournalReader, PaymentEntry};
use portcullis_store::audit::AuditHead;
use portcullis_store::reconcile::{AcceptedDifference, ReconciliationRecord};
use portcullis_store::withdrawal::WithdrawalRecord;
use portcullis_store::{Store, StoreError};

pub use accept::AcceptOutcome;
pub use difference::{Difference, DifferenceKind, History, Reconciliation};
pub use start::what_journal_knows_more;

use self::vault::VaultHistory;
use crate::error::EngineError;
use crate::given_up::can_pay_no_more;
use crate::{RoleParts, Surroundings};

/// The halts that are answered when database, journal and chain agree.
const ANSWERED: [&str; 4] = ["restore", "journal", "foreign", "reorg"];

/// How often it compares anew after repairs: one round finds what the one before has uncovered.
const ROUNDS_MAX: usize = 4;

/// Withdrawals that are read at a time.
const PAGE: u64 = 500;

/// Who reconciles, in the audit log.
const ACTOR: &str = "reconcile";

/// Compares, and repairs.
pub struct Reconciler {
    store: Store,
    pools: Vec<Arc<ProviderPool>>,
    around: Surroundings,
    vaults: BTreeMap<u64, Address>,
    journal: JournalReader,
}

/// What one look found.
#[derive(Default)]
struct Findings {
    differences: Vec<Difference>,
    history: Vec<History>,
    balances: u64,
    /// Transfers out of our senders that nobody explains: chain, token, recipient and amount.
    unexplained: BTreeSet<(u64, Option<Address>, Address, portcullis_core::amount::Amount)>,
    /// Numbers that the vaults have used up for good without a payment.
    voided: BTreeSet<(u64, U256)>,
    /// What an operator has accepted: no difference any more.
    accepted: Vec<AcceptedDifference>,
    /// The slots of foreign transactions that are final, by the difference's id.
    foreign: BTreeMap<String, accept::ForeignView>,
}

impl Findings {
    /// Whether an operator has accepted just this.
    fn is_accepted(&self, difference: &Difference) -> bool {
        self.accepted.iter().any(|accepted| accepted.id == difference.id)
    }
}

impl Reconciler {
    /// A reconciler of the parts' database with `journal`. It asks every chain of the parts.
    #[must_use]
    pub fn new(parts: RoleParts, journal: JournalReader) -> Self {
        let RoleParts { store, pools, around, vaults, .. } = parts;
        Self { store, pools, around, vaults, journal }
    }

    /// Compares, and with `repair` brings the database to what journal and chain prove. While it repairs, a halt is in
    /// force; when nothing remains, the halts that this answers are lifted.
    ///
    /// # Errors
    /// When the database does not answer. What a provider does not answer is a difference that remains.
    pub async fn reconcile(&self, repair: bool) -> Result<Reconciliation, EngineError> {
        let mut all: Vec<Difference> = Vec::new();
        let mut found = self.look(false).await?;
        if repair {
            // What an operator has to decide moves no rows, and closes intake to nobody.
            if found.differences.iter().any(|found| !found.kind.is_for_operator()) {
                self.close(&found).await?;
            }
            for _round in 0..ROUNDS_MAX {
                if found.differences.is_empty() {
                    break;
                }
                remember(&mut all, &found.differences);
                let repaired = self.look(true).await?;
                remember(&mut all, &repaired.differences);
                self.answer(&all).await?;
                let before = found.differences;
                found = self.look(false).await?;
                if found.differences == before {
                    break;
                }
            }
        }
        remember(&mut all, &found.differences);
        for difference in &mut all {
            difference.repaired = !found
                .differences
                .iter()
                .any(|still| still.kind == difference.kind && still.subject == difference.subject);
        }
        let mut outcome = Reconciliation {
            differences: all,
            history: found.history,
            halts_lifted: Vec::new(),
            balances: found.balances,
            accepted: found.accepted,
            forgotten: self.store.forgotten_payments().await?.len() as u64,
        };
        if repair && outcome.remaining() == 0 {
            self.answer(&outcome.differences).await?;
            outcome.halts_lifted = self.lift().await?;
        }
        Ok(outcome)
    }

    /// Nobody signs and nobody takes requests in while rows are moved.
    async fn close(&self, found: &Findings) -> Result<(), EngineError> {
        let halts = self.store.halts().await?;
        if halts.iter().any(|halt| ["restore", "journal"].contains(&halt.reason.as_str())) {
            return Ok(());
        }
        let detail = format!(
            "reconcile repairs {} differences; if it was interrupted, run `portcullis reconcile --repair` again",
            found.differences.len()
        );
        Ok(self.store.raise_halt("restore", &detail).await?)
    }

    async fn lift(&self) -> Result<Vec<String>, EngineError> {
        let mut lifted = Vec::new();
        for halt in self.store.halts().await? {
            if !ANSWERED.contains(&halt.reason.as_str()) {
                continue;
            }
            let why = "reconcile: database, journal and chain agree";
            if self.store.clear_halt(halt.id, ACTOR, why).await? {
                tracing::info!(reason = halt.reason, "the halt is lifted");
                lifted.push(halt.reason);
            }
        }
        Ok(lifted)
    }

    /// Writes down how far the journal's memory of the audit log is answered for.
    async fn answer(&self, differences: &[Difference]) -> Result<(), EngineError> {
        let repaired = differences.iter().filter(|difference| difference.repaired).count();
        let head = self.journal.audit_head();
        let record = ReconciliationRecord {
            differences: differences.len() as u64,
            repaired: repaired as u64,
            audit_head: head.map(|head| AuditHead { sequence: head.sequence, hash: head.hash.0 }),
        };
        Ok(self.store.record_reconciliation(&record, ACTOR).await?)
    }

    async fn look(&self, repair: bool) -> Result<Findings, EngineError> {
        let accepted = self.store.accepted_differences().await?;
        let mut findings = Findings { accepted, ..Findings::default() };
        let deployment = self.store.deployment().await?.map(|deployment| deployment.id);
        self.check_books(&mut findings).await?;
        self.check_numbers(&mut findings, repair).await?;
        for pool in &self.pools {
            if let Err(error) = self.check_chain(pool, deployment, repair, &mut findings).await {
                if matches!(error, EngineError::Store(_)) {
                    return Err(error);
                }
                findings.differences.push(Difference::new(
                    DifferenceKind::Undecided,
                    format!("network {}", pool.chain().network),
                    error.to_string(),
                ));
            }
        }
        self.check_unbound(&mut findings, repair).await?;
        Ok(findings)
    }

    async fn check_books(&self, findings: &mut Findings) -> Result<(), EngineError> {
        match self.store.check_ledger().await {
            Ok(balances) => findings.balances = balances,
            Err(error @ (StoreError::Ledger { .. } | StoreError::Corrupt { .. })) => findings
                .differences
                .push(Difference::new(DifferenceKind::Ledger, "the ledger", error.to_string())),
            Err(error) => return Err(error.into()),
        }
        match self.store.verify_audit().await {
            Ok(_head) => {}
            Err(error @ StoreError::Corrupt { .. }) => findings.differences.push(Difference::new(
                DifferenceKind::AuditLog,
                "the audit log",
                error.to_string(),
            )),
            Err(error) => return Err(error.into()),
        }
        if let Some(detail) = start::audit_behind(&self.store, &self.journal).await? {
            let subject = "the head of the audit log";
            findings.differences.push(Difference::new(DifferenceKind::AuditLog, subject, detail));
        }
        Ok(())
    }

    /// Numbers that the journal has and this database would give again.
    async fn check_numbers(
        &self,
        findings: &mut Findings,
        repair: bool,
    ) -> Result<(), EngineError> {
        let Some(highest) = self.journal.highest_number() else { return Ok(()) };
        let next = self.store.next_number().await?;
        if highest < next {
            return Ok(());
        }
        let detail = format!(
            "{highest} is signed, and the next one that the database gives is {next}: a new epoch is needed"
        );
        let subject = "payout numbers";
        findings.differences.push(Difference::new(DifferenceKind::Numbers, subject, detail));
        if repair {
            self.store.open_epoch_above(highest.epoch, ACTOR).await?;
        }
        Ok(())
    }

    /// Withdrawals that no slot carries. The journal has every signature that ever left, so one that it does not know
    /// was never paid by us; what is left to look for are used numbers, and transfers that nobody explains.
    async fn check_unbound(
        &self,
        findings: &mut Findings,
        repair: bool,
    ) -> Result<(), EngineError> {
        let mut cursor = None;
        loop {
            let page = self.store.unbound(cursor, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            cursor = Some(last.id);
            for record in &page {
                let held = portcullis_core::withdrawal::State::Held {
                    reason: HoldReason::Restore,
                    slot: None,
                };
                if record.state == held {
                    continue;
                }
                let is_voided =
                    findings.voided.contains(&(record.chain_id, record.number.to_u256()));
                if is_voided && self.signed_for_another(record).is_none() {
                    let detail = "the vault has voided its number: it was canceled";
                    let kind = DifferenceKind::OtherPayments;
                    findings.differences.push(Difference::new(kind, record.id, detail));
                    if repair {
                        self.store.end_voided(record.id, detail).await?;
                    }
                    continue;
                }
                let Some((kind, detail)) = self.doubt(findings, record) else { continue };
                let subject = record.id.to_string();
                findings.differences.push(Difference::new(kind, subject, detail.clone()));
                if repair
                    && is_voiding(record)
                    && can_pay_no_more(&self.store, &self.journal, record).await?
                {
                    self.store.end_voided(record.id, &detail).await?;
                } else if repair {
                    self.hold(record, &detail).await?;
                }
            }
        }
    }

    /// The other request that its number was signed for: what the vault says of the number is said of that one.
    fn signed_for_another(&self, record: &WithdrawalRecord) -> Option<PaymentEntry> {
        let known = self.journal.payment(record.number);
        known.filter(|known| known.reference != record.reference)
    }

    fn doubt(
        &self,
        findings: &Findings,
        record: &WithdrawalRecord,
    ) -> Option<(DifferenceKind, String)> {
        if let Some(other) = self.signed_for_another(record) {
            let detail = format!(
                "its number {} was signed for {} ({}): it is held; give it up with `admin withdrawal refund`, and its \
                 client can ask again under another id",
                record.number, other.withdrawal, other.external_id
            );
            return Some((DifferenceKind::UsedNumber, detail));
        }
        let paid = (record.chain_id, record.token, record.to, record.amount);
        findings.unexplained.contains(&paid).then(|| {
            let detail = "a transfer that nobody explains pays the same to the same: it is held";
            (DifferenceKind::PerhapsPaid, detail.to_owned())
        })
    }

    async fn hold(&self, record: &WithdrawalRecord, detail: &str) -> Result<(), EngineError> {
        match self.store.hold(&[record.id], HoldReason::Restore, detail).await {
            // It moved on: the next look sees where.
            Err(error) if error.is_lost_race() => Ok(()),
            other => Ok(other?),
        }
    }
}

const fn is_voiding(record: &WithdrawalRecord) -> bool {
    let state = &record.state;
    matches!(state, portcullis_core::withdrawal::State::Held { reason: HoldReason::Voiding, .. })
}

/// Adds what is new.
fn remember(all: &mut Vec<Difference>, found: &[Difference]) {
    for difference in found {
        let known = all
            .iter()
            .any(|known| known.kind == difference.kind && known.subject == difference.subject);
        if !known {
            all.push(difference.clone());
        }
    }
}

/// What a chain's comparison knows throughout.
struct Setting<'a> {
    pool: &'a ProviderPool,
    deployment: Option<DeploymentId>,
    agreed: portcullis_evm::AgreedHead,
    /// The vault of the chain, where it has one.
    vault: Option<Address>,
    /// The first block that can hold a payment of ours.
    first_block: u64,
    history: VaultHistory,
    /// Payments without a row, which wait for their client.
    forgotten: BTreeSet<PaymentRef>,
    repair: bool,
}

impl Setting<'_> {
    /// Whether a block lies at the conservative depth and age.
    fn is_final(&self, block: &HeadBlock) -> bool {
        let head = self.agreed.head;
        let depth = ChainSpec::depth(block.number, head.number);
        let age_ms = head.timestamp_ms.saturating_sub(block.timestamp_ms);
        self.pool.chain().is_final(depth, age_ms)
    }
}

/// Hashes that are ours.
#[derive(Default)]
struct Ours {
    hashes: BTreeSet<B256>,
}

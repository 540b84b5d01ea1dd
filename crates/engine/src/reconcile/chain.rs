//! One chain: every nonce of every sender that database or journal know, or that the chain has consumed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use portcullis_core::id::DeploymentId;
use portcullis_core::slot::{Slot, SlotStage};
use portcullis_evm::ProviderPool;
use portcullis_keys::journal::SlotEntry;
use portcullis_store::command::CommandKind;
use portcullis_store::reconcile::{ImportedPayment, SlotImport, StoredSlot};

use super::accept::ForeignView;
use super::evidence::Shown;
use super::payments::was_paid;
use super::slots::SlotView;
use super::vault::{VaultHistory, vault_of};
use super::{ACTOR, Difference, DifferenceKind, Findings, History, Ours, Reconciler, Setting};
use crate::error::EngineError;

/// Slots that are compared at a time.
const SLOTS_MAX: u64 = 200;

/// Nonces of one sender that nobody here knows: more of them are one difference, and not one each.
const UNKNOWN_MAX: u64 = 64;

/// A sender as both sides and the chain count it.
struct SenderView {
    address: Address,
    /// The next nonce of the database.
    next: u64,
    /// Transactions on the chain.
    count: u64,
    journaled: BTreeMap<u64, SlotEntry>,
}

impl SenderView {
    /// The first nonce that is nobody's yet.
    fn end(&self) -> u64 {
        let signed =
            self.journaled.last_key_value().map_or(0, |(nonce, _)| nonce.saturating_add(1));
        self.next.max(signed)
    }
}

impl Reconciler {
    pub(super) async fn check_chain(
        &self,
        pool: &ProviderPool,
        deployment: Option<DeploymentId>,
        repair: bool,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let chain = pool.chain();
        let agreed = pool.agreed_head(&[]).await?;
        let head = agreed.head.number;
        let forgotten = self.store.forgotten_payments().await?.into_iter().collect();
        let (first_block, from_ms) = self.first_block(pool, head).await?;
        let vault = vault_of(&self.vaults, chain.chain_id);
        let vault_history = VaultHistory::default();
        let mut setting = Setting {
            pool,
            deployment,
            agreed,
            vault,
            first_block,
            history: vault_history,
            forgotten,
            repair,
        };
        setting.history = self.vault_history(&setting, findings).await?;
        let network = chain.network;
        let mut history = History { network, to_block: head, from_ms, ..History::default() };
        let mut ours = Ours::default();
        let senders = self.senders_of(&setting).await?;
        for sender in &senders {
            self.check_sender(&setting, sender, &mut ours, (findings, &mut history)).await?;
        }
        let addresses: Vec<Address> = senders.iter().map(|sender| sender.address).collect();
        self.check_transfers(&setting, &addresses, &ours, (findings, &mut history)).await?;
        self.check_vault_payments(&setting, &ours, findings).await?;
        self.note_voids(&setting, findings).await?;
        findings.history.push(history);
        Ok(())
    }

    /// Numbers that are voided for good.
    async fn note_voids(
        &self,
        setting: &Setting<'_>,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        for (number, block) in &setting.history.voided {
            let header = setting.pool.agreed_header(&setting.agreed, *block).await?;
            if header.is_some_and(|header| setting.is_final(&header)) {
                findings.voided.insert((setting.pool.chain().chain_id, *number));
            }
        }
        Ok(())
    }

    async fn senders_of(&self, setting: &Setting<'_>) -> Result<Vec<SenderView>, EngineError> {
        let chain_id = setting.pool.chain().chain_id;
        let known: BTreeMap<Address, u64> =
            self.store.senders(chain_id).await?.into_iter().collect();
        let signed = self.journal.highest_slots().into_iter();
        let signed = signed.filter(|slot| slot.chain_id == chain_id).map(|slot| slot.sender);
        let addresses: BTreeSet<Address> = known.keys().copied().chain(signed).collect();
        let addresses: Vec<Address> = addresses.into_iter().collect();
        let counts = setting.pool.agreed_counts(&addresses, setting.agreed.head.number).await?;
        Ok(addresses
            .into_iter()
            .zip(counts)
            .map(|(address, agreed)| SenderView {
                address,
                next: known.get(&address).copied().unwrap_or(0),
                count: agreed.count,
                journaled: self
                    .journal
                    .slots(chain_id, address)
                    .into_iter()
                    .map(|(slot, entry)| (slot.nonce, entry))
                    .collect(),
            })
            .collect())
    }

    async fn check_sender(
        &self,
        setting: &Setting<'_>,
        sender: &SenderView,
        ours: &mut Ours,
        (findings, history): (&mut Findings, &mut History),
    ) -> Result<(), EngineError> {
        let chain_id = setting.pool.chain().chain_id;
        let first = self.store.slots_from(chain_id, sender.address, 0, 1).await?;
        let first = first.first().map(|stored| stored.open.slot.nonce);
        let signed = sender.journaled.keys().next().copied();
        let begin = first.into_iter().chain(signed).min().unwrap_or(sender.next);
        let end = sender.end();
        let mut nonce = begin;
        while nonce < end {
            let upper = nonce.saturating_add(SLOTS_MAX).min(end);
            let views = self.views(chain_id, sender, nonce, upper).await?;
            for (hash, _) in views.iter().flat_map(SlotView::hashes) {
                ours.hashes.insert(hash);
            }
            let (shown, read) = self.shown(setting, &views, sender.count).await?;
            history.receipts = history.receipts.saturating_add(read);
            history.slots = history.slots.saturating_add(views.len() as u64);
            for (view, shown) in views.iter().zip(&shown) {
                self.check_slot(setting, view, shown, findings).await?;
            }
            tracing::info!(
                network = setting.pool.chain().network, sender = %sender.address, upper, end,
                "slots compared"
            );
            nonce = upper;
        }
        self.check_beyond(setting, sender, end.max(begin), findings).await
    }

    async fn views(
        &self,
        chain_id: u64,
        sender: &SenderView,
        from: u64,
        to: u64,
    ) -> Result<Vec<SlotView>, EngineError> {
        let stored = self.store.slots_from(chain_id, sender.address, from, SLOTS_MAX).await?;
        let mut stored: BTreeMap<u64, StoredSlot> =
            stored.into_iter().map(|stored| (stored.open.slot.nonce, stored)).collect();
        let views = (from..to).map(|nonce| SlotView {
            slot: Slot { chain_id, sender: sender.address, nonce },
            stored: stored.remove(&nonce),
            journaled: sender.journaled.get(&nonce).cloned(),
        });
        Ok(views.collect())
    }

    /// Nonces that the chain has consumed, and that neither side has ever opened.
    async fn check_beyond(
        &self,
        setting: &Setting<'_>,
        sender: &SenderView,
        end: u64,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let beyond = sender.count.saturating_sub(end);
        if beyond > UNKNOWN_MAX {
            let subject = format!("sender {}:{}", setting.pool.chain().chain_id, sender.address);
            let detail = format!(
                "the chain counts {} transactions, {beyond} of them unknown to database and journal",
                sender.count
            );
            findings.differences.push(Difference::new(DifferenceKind::Foreign, subject, detail));
            return Ok(());
        }
        let chain_id = setting.pool.chain().chain_id;
        let views: Vec<SlotView> = (end..sender.count)
            .map(|nonce| SlotView {
                slot: Slot { chain_id, sender: sender.address, nonce },
                stored: None,
                journaled: None,
            })
            .collect();
        let (shown, _read) = self.shown(setting, &views, sender.count).await?;
        for (view, shown) in views.iter().zip(&shown) {
            self.check_slot(setting, view, shown, findings).await?;
        }
        Ok(())
    }

    async fn check_slot(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        shown: &Shown,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let differ = |kind, detail: String| Difference::of_slot(kind, view.slot, detail);
        if let Some(hash) = view.unjournaled() {
            let detail = format!("the journal does not know attempt {hash}");
            findings.differences.push(differ(DifferenceKind::JournalBehind, detail));
            return Ok(());
        }
        match shown {
            Shown::Foreign { detail, hash, end } => {
                let mut difference = differ(DifferenceKind::Foreign, detail.clone());
                if let Some(hash) = hash {
                    difference = difference.resting_on(*hash, end.is_some());
                }
                if let Some(end) = end {
                    let seen = ForeignView { view: view.clone(), end: *end };
                    findings.foreign.insert(difference.id.clone(), seen);
                }
                findings.differences.push(difference);
                return Ok(());
            }
            Shown::Unsure(detail) => {
                findings.differences.push(differ(DifferenceKind::Undecided, detail.clone()));
                return Ok(());
            }
            Shown::Open | Shown::Mined { .. } | Shown::Adopted(_) => {}
        }
        if view.is_final() {
            self.check_ended(setting, view, shown, findings).await?;
        }
        let payments = self.carried(setting, view, shown);
        let Some((kind, detail)) = compare(setting, view, shown, &payments) else {
            return Ok(());
        };
        findings.differences.push(differ(kind, detail));
        if setting.repair {
            self.import(setting, view, shown, payments).await?;
        }
        Ok(())
    }

    async fn import(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        shown: &Shown,
        mut payments: Vec<ImportedPayment>,
    ) -> Result<(), EngineError> {
        self.read_purposes(setting, view, &mut payments).await?;
        let (found, end) = match shown {
            Shown::Adopted(attempt) => (Some(*attempt), None),
            Shown::Mined { end, .. } => (None, *end),
            Shown::Open | Shown::Foreign { .. } | Shown::Unsure(_) => (None, None),
        };
        let import = view.import(self.around.slot_id(self.store.now()), found, payments, end);
        match self.store.import_slot(&import).await {
            Ok(()) => {}
            // It moved on, or the books refuse it: the next look says which.
            Err(error) if error.is_lost_race() => return Ok(()),
            Err(error @ portcullis_store::StoreError::Ledger { .. }) => {
                tracing::error!(%error, slot = ?view.slot, "not imported");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.cancel_without_intent(view, shown, &import).await
    }

    /// What is in no block and cannot be signed again as it was is canceled: only its hash is left, or its row has
    /// another number than was signed.
    async fn cancel_without_intent(
        &self,
        view: &SlotView,
        shown: &Shown,
        import: &SlotImport,
    ) -> Result<(), EngineError> {
        if !matches!(shown, Shown::Open) || view.is_fill() {
            return Ok(());
        }
        let Some(stored) = self.store.slot(view.slot).await? else { return Ok(()) };
        let is_whole = !stored.payments.is_empty()
            && stored.payments.iter().all(|record| {
                let payment = import.payments.iter().find(|it| it.reference == record.reference);
                let same_number = payment.is_some_and(|it| it.number == record.number);
                same_number && !record.account.is_suspense()
            });
        if is_whole || stored.stage > SlotStage::Sent {
            return Ok(());
        }
        let reason = "after a restore: what it pays cannot be signed again as it was";
        self.store.request_command(CommandKind::Cancel, view.slot, ACTOR, reason).await?;
        Ok(())
    }
}

/// How the database's slot differs from what was signed and from what the chain shows.
fn compare(
    setting: &Setting<'_>,
    view: &SlotView,
    shown: &Shown,
    payments: &[ImportedPayment],
) -> Option<(DifferenceKind, String)> {
    let unknown = view.unknown_attempts();
    let Some(stored) = &view.stored else {
        return Some(match (&view.journaled, shown) {
            (Some(_), _) => {
                let names: Vec<String> = payments.iter().map(name_of).collect();
                let detail = format!("{} signatures, for {}", unknown.len(), names.join(", "));
                (DifferenceKind::UnknownSlot, detail)
            }
            (None, Shown::Open) => {
                (DifferenceKind::Gap, "nothing was ever signed for it: it is filled".to_owned())
            }
            (None, _) => {
                (DifferenceKind::UnknownSlot, "consumed by a zero self-transfer".to_owned())
            }
        });
    };
    if view.journaled.is_none()
        && stored.open.attempts.is_empty()
        && !matches!(shown, Shown::Adopted(_))
    {
        // Bound, and never signed: the signer goes on with it.
        return None;
    }
    let bound = &stored.open.payments;
    // One that waits for its client is in its place, unless a transaction says by now what it pays.
    let waits =
        |it: &ImportedPayment| !was_paid(view, shown) && setting.forgotten.contains(&it.reference);
    let rows = payments.iter().filter(|it| !waits(it)).count();
    let same = bound.len() == rows
        && bound.iter().all(|record| payments.iter().any(|it| it.reference == record.reference));
    if view.digest() != stored.open.payload_digest || !same {
        let bound: Vec<String> =
            bound.iter().map(|record| record.external_id.to_string()).collect();
        let signed: Vec<String> = payments.iter().map(name_of).collect();
        let detail = format!(
            "the database binds [{}], signed are [{}]",
            bound.join(", "),
            signed.join(", ")
        );
        let kind = DifferenceKind::OtherPayments;
        // It was mined, and what it pays could not be matched: a repair would have done so.
        let waits = payments.iter().any(|it| setting.forgotten.contains(&it.reference));
        if waits && was_paid(view, shown) {
            let detail = format!(
                "{detail}; what the transaction pays does not fit the ref, or no node shows it: is this database of \
                 another deployment?"
            );
            return Some((DifferenceKind::Undecided, detail));
        }
        return Some((kind, detail));
    }
    if !unknown.is_empty() || matches!(shown, Shown::Adopted(_)) {
        let hashes: Vec<String> = unknown.iter().map(|attempt| attempt.hash.to_string()).collect();
        return Some((DifferenceKind::UnknownAttempt, hashes.join(", ")));
    }
    let Shown::Mined { receipt, end: Some(end), .. } = shown else { return None };
    let is_recorded = stored.end.is_some_and(|known| known.block == receipt.block);
    let waits = stored.open.stage >= SlotStage::Included && is_recorded;
    (!waits).then(|| {
        let detail = format!("{} in block {}", end.outcome.as_str(), end.block.number);
        (DifferenceKind::NotEnded, detail)
    })
}

fn name_of(payment: &ImportedPayment) -> String {
    match &payment.request {
        Some(request) => format!("{} ({})", payment.number, request.external_id),
        None => payment.number.to_string(),
    }
}

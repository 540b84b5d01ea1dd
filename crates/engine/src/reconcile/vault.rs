//! What the vault itself has to say: every number that it paid or voided, by its own events.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Rail, Slot, SlotOutcome};
use portcullis_core::time::Timestamp;
use portcullis_core::vault::{PayoutVault, VaultEvent, read_vault_event};
use portcullis_evm::{Decision, LogQuery};
use portcullis_store::reconcile::{
    ImportedAttempt, ImportedEnd, ImportedPayment, ImportedPurpose, SlotImport,
};

use super::{Difference, DifferenceKind, Findings, Ours, Reconciler, Setting};
use crate::error::EngineError;

/// What the vault paid and voided, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct VaultHistory {
    pub(super) paid: BTreeMap<U256, PaidItem>,
    /// The blocks in which numbers were voided.
    pub(super) voided: BTreeMap<U256, u64>,
}

/// One payment of the vault.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaidItem {
    pub(super) hash: B256,
    pub(super) reference: PaymentRef,
    pub(super) purpose: ImportedPurpose,
}

impl Reconciler {
    /// The first block that can hold a payment of this deployment: the one at whose time it was founded. With its time.
    pub(super) async fn first_block(
        &self,
        pool: &portcullis_evm::ProviderPool,
        head: u64,
    ) -> Result<(u64, i64), EngineError> {
        let founded = self.store.founded_at().await?.unwrap_or(Timestamp::from_millis(0));
        // Clocks differ: an hour is more than enough.
        let founded_ms = founded.plus_millis(-3_600_000).as_millis();
        let (mut low, mut high) = (0, head);
        while low < high {
            let middle = low.midpoint(high);
            let header = pool.header(middle).await?;
            // A node that does not keep old headers is asked about newer ones.
            if header.is_none_or(|header| header.timestamp_ms < founded_ms) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        let first_ms = pool.header(low).await?.map_or(founded_ms, |header| header.timestamp_ms);
        Ok((low, first_ms))
    }

    /// Reads the vault's events; what cannot be read is a difference.
    pub(super) async fn vault_history(
        &self,
        setting: &Setting<'_>,
        findings: &mut Findings,
    ) -> Result<VaultHistory, EngineError> {
        let mut history = VaultHistory::default();
        let Some(vault) = setting.vault else { return Ok(history) };
        let topics =
            vec![vec![PayoutVault::Paid::SIGNATURE_HASH, PayoutVault::Voided::SIGNATURE_HASH]];
        let query = LogQuery {
            addresses: vec![vault],
            topics,
            blocks: setting.first_block..=setting.agreed.head.number,
        };
        let logs = self.logs_in_ranges(setting, query, findings).await?;
        for log in logs {
            match read_vault_event(vault, &log.log) {
                Some(VaultEvent::Paid { number, reference, token, to, amount }) => {
                    let purpose = ImportedPurpose { token, amount, to };
                    let item = PaidItem { hash: log.transaction_hash, reference, purpose };
                    history.paid.insert(number, item);
                }
                Some(VaultEvent::Voided { number }) => {
                    history.voided.insert(number, log.block.number);
                }
                _ => {}
            }
        }
        Ok(history)
    }

    /// Payments of the vault by transactions that are not ours: another copy of this engine made them, or the journal
    /// is lost. The number and the ref in the event say for which request.
    pub(super) async fn check_vault_payments(
        &self,
        setting: &Setting<'_>,
        ours: &Ours,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let mut unknown: BTreeMap<B256, Vec<ImportedPayment>> = BTreeMap::new();
        let paid = setting.history.paid.iter().filter(|(_, it)| !ours.hashes.contains(&it.hash));
        for (number, item) in paid {
            let Some(number) = PayoutNumber::from_u256(*number) else { continue };
            unknown.entry(item.hash).or_default().push(ImportedPayment {
                number,
                reference: item.reference,
                request: None,
                purpose: Some(item.purpose),
            });
        }
        for (hash, payments) in unknown {
            let numbers: Vec<String> = payments.iter().map(|it| it.number.to_string()).collect();
            let detail = format!("the vault paid {} by it", numbers.join(", "));
            let subject = format!("transaction {hash}");
            let kind = DifferenceKind::UnknownSlot;
            findings.differences.push(Difference::new(kind, subject, detail));
            if setting.repair {
                self.import_vault_transaction(setting, hash, payments).await?;
            }
        }
        Ok(())
    }

    async fn import_vault_transaction(
        &self,
        setting: &Setting<'_>,
        hash: B256,
        payments: Vec<ImportedPayment>,
    ) -> Result<(), EngineError> {
        let known = setting.pool.transactions_by_hash(&[hash]).await?;
        let Some(known) = known.into_iter().flatten().next() else { return Ok(()) };
        let Some(payload) = known.transaction.payload() else { return Ok(()) };
        let slot = Slot {
            chain_id: setting.pool.chain().chain_id,
            sender: known.transaction.from,
            nonce: known.transaction.nonce,
        };
        let receipts = setting.pool.quorum_receipts(&[hash], Decision::Paid).await?;
        let Some(receipt) = receipts.first().and_then(|receipt| receipt.agreed()) else {
            return Ok(());
        };
        let header = setting.pool.agreed_header(&setting.agreed, receipt.block.number).await?;
        let header = header.filter(|header| header.hash == receipt.block.hash);
        let is_final = header.is_some_and(|header| setting.is_final(&header));
        let end = header.filter(|_| is_final).map(|header| ImportedEnd {
            outcome: SlotOutcome::Paid,
            hash,
            block: receipt.block,
            block_at: Timestamp::from_millis(header.timestamp_ms),
            gas_used: receipt.gas_used,
            effective_gas_price_wei: receipt.effective_gas_price_wei,
        });
        let stored = self.store.slot(slot).await?;
        let import = SlotImport {
            id: self.around.slot_id(self.store.now()),
            slot,
            seen: stored.map(|stored| stored.stage),
            purpose: Purpose::Pay,
            rail: Rail::Vault,
            payload_digest: Payload::digest(&payload, slot),
            attempts: vec![ImportedAttempt {
                hash,
                kind: AttemptKind::Payload,
                at: self.store.now(),
            }],
            payments,
            end,
        };
        match self.store.import_slot(&import).await {
            Err(error) if error.is_lost_race() => Ok(()),
            other => Ok(other?),
        }
    }
}

impl VaultHistory {
    /// Whether the vault paid the number by one of these transactions.
    pub(super) fn paid_by(&self, number: PayoutNumber, hashes: &[B256]) -> Option<bool> {
        self.paid.get(&number.to_u256()).map(|item| hashes.contains(&item.hash))
    }

    /// What it paid under a number and ref.
    pub(super) fn purpose(
        &self,
        number: PayoutNumber,
        reference: PaymentRef,
    ) -> Option<ImportedPurpose> {
        let item = self.paid.get(&number.to_u256())?;
        (item.reference == reference).then_some(item.purpose)
    }
}

/// The vault of a chain.
pub(super) fn vault_of(vaults: &BTreeMap<u64, Address>, chain_id: u64) -> Option<Address> {
    vaults.get(&chain_id).copied()
}

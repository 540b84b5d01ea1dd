//! What the chain shows of our slots: receipts in batches, and where none is shown, the transaction that consumed the
//! nonce.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use portcullis_core::chain::ChainSpec;
use portcullis_core::slot::{
    AttemptKind, Consumption, Payload, Purpose, SlotOutcome, explain_consumption,
};
use portcullis_core::time::Timestamp;
use portcullis_evm::{Decision, Evidence, QuorumReceipt, Receipt};
use portcullis_store::reconcile::{ImportedAttempt, ImportedEnd};

use super::slots::SlotView;
use super::{Reconciler, Setting};
use crate::error::EngineError;

/// Receipts that are asked for at a time.
const RECEIPTS_MAX: usize = 100;

/// What the chain shows of one slot.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Its nonce is not consumed.
    Open,
    /// By one of the known attempts.
    Mined {
        /// Of which kind.
        kind: AttemptKind,
        /// Its receipt.
        receipt: Box<Receipt>,
        /// Its end, once it lies at the conservative depth on the agreed chain.
        end: Option<ImportedEnd>,
    },
    /// By a transaction that is not among the known attempts, and explained.
    Adopted(ImportedAttempt),
    /// By something else; or by nothing that anybody shows.
    Foreign {
        /// In words.
        detail: String,
        /// Which transaction, where there is one.
        hash: Option<B256>,
        /// The slot's end by it, once it lies at the conservative depth and the release quorum shows it.
        end: Option<ImportedEnd>,
    },
    /// Not enough is shown.
    Unsure(String),
}

impl Reconciler {
    /// What the chain shows of these slots, in their order. `count` is the sender's transaction count.
    pub(super) async fn shown(
        &self,
        setting: &Setting<'_>,
        views: &[SlotView],
        count: u64,
    ) -> Result<(Vec<Shown>, u64), EngineError> {
        let asked: Vec<(usize, AttemptKind, B256)> = views
            .iter()
            .enumerate()
            .filter(|(_, view)| view.slot.nonce < count)
            .flat_map(|(index, view)| {
                view.hashes().into_iter().map(move |(hash, kind)| (index, kind, hash))
            })
            .collect();
        let receipts = self.receipts(setting, &asked).await?;
        let mut by_view: BTreeMap<usize, Vec<(AttemptKind, QuorumReceipt)>> = BTreeMap::new();
        let read = receipts.len() as u64;
        for ((index, kind, _hash), receipt) in asked.into_iter().zip(receipts) {
            by_view.entry(index).or_default().push((kind, receipt));
        }
        let mut shown = Vec::with_capacity(views.len());
        for (index, view) in views.iter().enumerate() {
            if view.slot.nonce >= count {
                shown.push(Shown::Open);
                continue;
            }
            let receipts = by_view.remove(&index).unwrap_or_default();
            shown.push(self.judge(setting, view, receipts).await?);
        }
        Ok((shown, read))
    }

    async fn receipts(
        &self,
        setting: &Setting<'_>,
        asked: &[(usize, AttemptKind, B256)],
    ) -> Result<Vec<QuorumReceipt>, EngineError> {
        let mut receipts = Vec::with_capacity(asked.len());
        for asked in asked.chunks(RECEIPTS_MAX) {
            let hashes: Vec<B256> = asked.iter().map(|(_, _, hash)| *hash).collect();
            receipts.extend(setting.pool.quorum_receipts(&hashes, Decision::Paid).await?);
        }
        Ok(receipts)
    }

    async fn judge(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        receipts: Vec<(AttemptKind, QuorumReceipt)>,
    ) -> Result<Shown, EngineError> {
        let agreed =
            receipts.iter().find_map(|(kind, receipt)| Some((*kind, receipt.agreed()?.clone())));
        if let Some((kind, receipt)) = agreed {
            let end = self.end_of(setting, view, kind, &receipt).await?;
            return Ok(Shown::Mined { kind, receipt: Box::new(receipt), end });
        }
        if receipts.iter().any(|(_, receipt)| !receipt.is_absent()) {
            return Ok(Shown::Unsure("the providers do not agree about its receipt".into()));
        }
        self.search(setting, view).await
    }

    /// Nobody shows a receipt of what we know: the block that consumed the nonce says by what.
    async fn search(&self, setting: &Setting<'_>, view: &SlotView) -> Result<Shown, EngineError> {
        let head = setting.agreed.head.number;
        let low = head.saturating_sub(setting.pool.chain().conservative.blocks);
        let slot = view.slot;
        let found = setting.pool.quorum_consumption((slot.sender, slot.nonce), low, head).await;
        let archive = |what: String| {
            Shown::Unsure(format!(
                "its nonce is consumed and no provider shows a receipt of ours; to find the block that did it takes \
                 the state of old blocks, so an archive node ({what})"
            ))
        };
        let consumed = match found {
            Ok(Evidence::Agreed { value, .. }) => value,
            Ok(_) => return Ok(archive("the providers do not agree, or did not answer".into())),
            Err(error) => return Ok(archive(error.to_string())),
        };
        let Some(mined) = consumed.transaction.as_ref() else {
            let block = consumed.block.number;
            let detail = format!("block {block} consumed it without a transaction of it");
            return Ok(Shown::Foreign { detail, hash: None, end: None });
        };
        let payload: Option<Payload> = mined.payload();
        let known: Vec<B256> = view.hashes().into_iter().map(|(hash, _)| hash).collect();
        let explained = payload.map_or(Consumption::Foreign, |payload| {
            explain_consumption(slot, view.digest(), &known, mined.hash, &payload)
        });
        let kind = match explained {
            Consumption::KnownAttempt => {
                return Ok(archive(format!(
                    "block {} holds {}",
                    consumed.block.number, mined.hash
                )));
            }
            Consumption::SamePayload => AttemptKind::Payload,
            Consumption::SelfTransfer => AttemptKind::Cancel,
            Consumption::Foreign => {
                return self.foreign(setting, view, mined.hash, consumed.block.number).await;
            }
        };
        Ok(Shown::Adopted(ImportedAttempt { hash: mined.hash, kind, at: self.store.now() }))
    }

    async fn foreign(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        hash: B256,
        block: u64,
    ) -> Result<Shown, EngineError> {
        let receipts = setting.pool.quorum_receipts(&[hash], Decision::Paid).await?;
        let end = match receipts.first().and_then(|receipt| receipt.agreed()) {
            // Of ours it pays as much as a cancel: nothing.
            Some(receipt) => self.end_of(setting, view, AttemptKind::Cancel, receipt).await?,
            None => None,
        };
        let detail = format!(
            "consumed in block {block} by {hash}, which neither database nor journal knows"
        );
        Ok(Shown::Foreign { detail, hash: Some(hash), end })
    }

    /// The end of a slot, where its receipt lies at the conservative depth on the agreed chain. That it did not pay is
    /// believed of the release quorum alone (invariant 4).
    async fn end_of(
        &self,
        setting: &Setting<'_>,
        view: &SlotView,
        kind: AttemptKind,
        receipt: &Receipt,
    ) -> Result<Option<ImportedEnd>, EngineError> {
        let chain = setting.pool.chain();
        let head = setting.agreed.head;
        let depth = ChainSpec::depth(receipt.block.number, head.number);
        if depth < chain.conservative.blocks || view.is_final() {
            return Ok(None);
        }
        let header = setting.pool.agreed_header(&setting.agreed, receipt.block.number).await?;
        let Some(header) = header.filter(|header| header.hash == receipt.block.hash) else {
            return Ok(None);
        };
        if !setting.is_final(&header) {
            return Ok(None);
        }
        let outcome = outcome_of(view, kind, receipt);
        if matches!(outcome, SlotOutcome::Reverted | SlotOutcome::Canceled) {
            let again = setting.pool.quorum_receipts(&[receipt.hash], Decision::Release).await;
            let Ok(again) = again else { return Ok(None) };
            let fits = again.first().and_then(|receipt| receipt.undisputed());
            if !fits.is_some_and(|it| it.agrees_with(receipt)) {
                return Ok(None);
            }
        }
        Ok(Some(ImportedEnd {
            outcome,
            hash: receipt.hash,
            block: receipt.block,
            block_at: Timestamp::from_millis(header.timestamp_ms),
            gas_used: receipt.gas_used,
            effective_gas_price_wei: receipt.effective_gas_price_wei,
        }))
    }
}

pub(super) fn outcome_of(view: &SlotView, kind: AttemptKind, receipt: &Receipt) -> SlotOutcome {
    match (kind, receipt.succeeded) {
        (AttemptKind::Cancel, _) if view.is_fill() => SlotOutcome::Filled,
        (AttemptKind::Cancel, _) => SlotOutcome::Canceled,
        (AttemptKind::Payload, true) if view.purpose() == Purpose::Void => SlotOutcome::Voided,
        (AttemptKind::Payload, true) => SlotOutcome::Paid,
        (AttemptKind::Payload, false) => SlotOutcome::Reverted,
    }
}

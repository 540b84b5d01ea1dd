//! Which slots the chain consumed, and by what. A missing receipt says nothing.

use alloy_primitives::{Address, B256};
use portcullis_core::slot::{AttemptKind, Consumption, Payload, explain_consumption};
use portcullis_evm::{BlockTag, ProviderPool, Receipt};
use portcullis_store::chain::{Adoption, Inclusion};
use portcullis_store::lease::Lease;
use portcullis_store::slot::OpenSlot;

use super::evidence::judge;
use super::{Monitor, SLOTS_MAX, View};
use crate::error::EngineError;

/// Slots without a receipt that one step looks for in the blocks themselves: each costs several reads.
const SEARCHES_MAX: usize = 8;

/// What a look at consumed slots came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Included {
    /// Slots whose consumption was recorded.
    pub(super) slots: usize,
    /// There are more than one step takes.
    pub(super) is_full: bool,
    /// Some consumed slot is not explained yet: look again without waiting for a block.
    pub(super) is_open: bool,
}

impl Monitor {
    /// Reads each sender's transaction count at the head; slots below it are consumed, and their
    /// receipts say by what.
    pub(super) async fn include_consumed(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
        view: &View,
    ) -> Result<Included, EngineError> {
        let chain_id = pool.chain().chain_id;
        let senders = self.store.unmined_senders(chain_id).await?;
        if senders.is_empty() {
            return Ok(Included::default());
        }
        let at = BlockTag::Number(view.head.number);
        let counts = pool.transaction_counts(&senders, at).await?;
        let counts: Vec<(Address, u64)> = senders.into_iter().zip(counts).collect();
        self.notice_foreign_use(chain_id, &counts).await?;
        let slots = self.store.consumed_slots(chain_id, &counts, SLOTS_MAX).await?;
        let mut included =
            Included { slots: 0, is_full: slots.len() as u64 == SLOTS_MAX, is_open: false };
        let receipts = receipts_of(pool, &slots).await?;
        let mut inclusions = Vec::with_capacity(slots.len());
        let mut unexplained = Vec::new();
        for (open, receipts) in slots.iter().zip(&receipts) {
            match receipts.first() {
                None => unexplained.push(open),
                Some((kind, receipt)) => match inclusion(view, open, *kind, receipt) {
                    Some(inclusion) => inclusions.push(inclusion),
                    None => included.is_open = true,
                },
            }
        }
        included.is_open |= !unexplained.is_empty();
        if !inclusions.is_empty() {
            included.slots = inclusions.len();
            self.store.include(lease, &inclusions).await?;
            metrics::counter!("portcullis_slots_included_total").increment(inclusions.len() as u64);
        }
        self.explain(pool, lease, view, &unexplained).await?;
        Ok(included)
    }

    /// A count above all slots that we opened: somebody else has the key, or the database is old.
    async fn notice_foreign_use(
        &self,
        chain_id: u64,
        counts: &[(Address, u64)],
    ) -> Result<(), EngineError> {
        let known = self.store.senders(chain_id).await?;
        for (sender, count) in counts {
            let next = known.iter().find(|(address, _)| address == sender).map(|(_, next)| *next);
            if next.is_some_and(|next| *count > next) {
                let detail = format!(
                    "the chain counts {count} transactions of {sender}, the database opened {} slots: a \
                     restored database, or another holder of the key. Run reconcile",
                    next.unwrap_or_default()
                );
                self.store.raise_halt("foreign", &detail).await?;
            }
        }
        Ok(())
    }

    /// Looks for the transactions that consumed slots of which no attempt has a receipt. The same
    /// payload and a zero self-transfer are adopted; anything else halts the engine.
    async fn explain(
        &self,
        pool: &ProviderPool,
        lease: &Lease,
        view: &View,
        slots: &[&OpenSlot],
    ) -> Result<(), EngineError> {
        let Some(lowest) = view.headers.first() else { return Ok(()) };
        let mut adoptions = Vec::new();
        for open in slots.iter().take(SEARCHES_MAX) {
            let (sender, nonce) = (open.slot.sender, open.slot.nonce);
            let from = lowest.block.number;
            let found = pool.find_consumption(sender, nonce, from, view.head.number).await?;
            let Some(consumed) = found else { continue };
            let transaction = consumed.transaction.as_ref();
            let mined: Option<(B256, Payload)> =
                transaction.and_then(|mined| Some((mined.hash, mined.payload()?)));
            let consumption = match &mined {
                None => Consumption::Foreign,
                Some((hash, payload)) => explained(open, *hash, payload),
            };
            let kind = match consumption {
                // A receipt that lags behind its block: the next look finds it.
                Consumption::KnownAttempt => continue,
                Consumption::SamePayload => AttemptKind::Payload,
                Consumption::SelfTransfer => AttemptKind::Cancel,
                Consumption::Foreign => {
                    let detail = format!(
                        "nonce {nonce} of {sender} was consumed in block {} by {}, which is not ours: \
                         another holder of the key. Run reconcile",
                        consumed.block.number,
                        mined.map_or("no transaction of it".into(), |(hash, _)| hash.to_string()),
                    );
                    self.store.raise_halt("foreign", &detail).await?;
                    continue;
                }
            };
            if let Some((hash, _)) = mined {
                tracing::warn!(%hash, %sender, nonce, ?kind, "adopting a transaction found on the chain");
                adoptions.push(Adoption { slot_id: open.id, hash, kind });
            }
        }
        if !adoptions.is_empty() {
            self.store.adopt(lease, &adoptions).await?;
        }
        Ok(())
    }
}

fn explained(open: &OpenSlot, hash: B256, mined: &Payload) -> Consumption {
    let known: Vec<B256> = open.attempts.iter().map(|attempt| attempt.hash).collect();
    explain_consumption(open.slot, open.payload_digest, &known, hash, mined)
}

/// For each slot the receipts that exist of its attempts. At most one can: the chain saw to that.
async fn receipts_of(
    pool: &ProviderPool,
    slots: &[OpenSlot],
) -> Result<Vec<Vec<(AttemptKind, Receipt)>>, EngineError> {
    let hashes: Vec<B256> =
        slots.iter().flat_map(|open| open.attempts.iter().map(|attempt| attempt.hash)).collect();
    let mut receipts = pool.receipts(&hashes).await?.into_iter();
    Ok(slots
        .iter()
        .map(|open| {
            open.attempts
                .iter()
                .zip(receipts.by_ref())
                .filter_map(|(attempt, receipt)| receipt.map(|receipt| (attempt.kind, receipt)))
                .collect()
        })
        .collect())
}

/// `None` while the receipt's block is not stored as canonical: the follower is not there yet, or
/// the node changed its mind.
fn inclusion(
    view: &View,
    open: &OpenSlot,
    kind: AttemptKind,
    receipt: &Receipt,
) -> Option<Inclusion> {
    let header = view.canonical(receipt.block)?;
    let verdict = judge(open, kind, receipt);
    if verdict.is_short {
        tracing::error!(
            hash = %receipt.hash, sender = %open.slot.sender, nonce = open.slot.nonce,
            "less arrived than was promised: held for an operator"
        );
        metrics::counter!("portcullis_underpaid_total").increment(1);
    }
    Some(Inclusion {
        slot_id: open.id,
        hash: receipt.hash,
        block: receipt.block,
        block_at: header.at,
        outcome: verdict.outcome,
        is_short: verdict.is_short,
        gas_used: receipt.gas_used,
        effective_gas_price_wei: receipt.effective_gas_price_wei,
    })
}

//! Which slots the chain consumed, and by what. A missing receipt says nothing, and neither does a receipt that
//! fewer than the quorum of independent providers show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use alloy_primitives::{Address, B256};
use portcullis_core::slot::{
    AttemptKind, Consumption, ItemOutcome, Payload, Purpose, SlotOutcome, explain_consumption,
};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::BlockRef;
use portcullis_evm::{
    AgreedCount, ConsumedNonce, Decision, Evidence, HeadBlock, ProviderPool, QuorumReceipt, Receipt,
};
use portcullis_store::chain::{Adoption, Inclusion};
use portcullis_store::lease::Lease;
use portcullis_store::slot::OpenSlot;

use super::{CountedHead, Monitor, SLOTS_MAX, View};
use crate::error::EngineError;
use crate::evidence::judge;
use crate::foreign::halt_for_foreign_use;
use crate::gas::count_gas;

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
        // All of them: a wallet without work may be used by somebody else all the same.
        let senders = self.store.own_addresses(chain_id).await?;
        if senders.is_empty() {
            return Ok(Included::default());
        }
        let counts = self.counts_at(pool, &senders, view.head).await?;
        let slots = self.store.consumed_slots(chain_id, &counts, SLOTS_MAX).await?;
        let mut included =
            Included { slots: 0, is_full: slots.len() as u64 == SLOTS_MAX, is_open: false };
        let vault = self.vaults.get(&chain_id).copied();
        let receipts = receipts_of(pool, &slots).await?;
        let older = older_blocks(pool, view, &receipts).await?;
        let mut inclusions = Vec::with_capacity(slots.len());
        let mut unexplained = Vec::new();
        for (open, shown) in slots.iter().zip(&receipts) {
            let consumed = match shown {
                Shown::Agreed(kind, receipt) => {
                    let at = mined_at(view, &older, receipt.block);
                    at.map(|at| inclusion(at, open, *kind, receipt, vault))
                }
                Shown::NotYet => None,
                Shown::Nothing => {
                    unexplained.push(open);
                    None
                }
            };
            match consumed {
                Some(inclusion) => {
                    self.notice_orphan(open, &inclusion).await?;
                    inclusions.push(inclusion);
                }
                None => included.is_open = true,
            }
        }
        if !inclusions.is_empty() {
            included.slots = inclusions.len();
            let failed = self.include_each(lease, chain_id, &inclusions).await?;
            included.is_open |= failed > 0;
            metrics::counter!("portcullis_slots_included_total").increment(inclusions.len() as u64);
        }
        self.explain(pool, lease, view, &unexplained).await?;
        if included.is_full {
            self.remember_counts(chain_id, view.head.hash, counts);
        }
        Ok(included)
    }

    /// What the chain counts of each sender at this head; asked once where a block consumed more slots than a step takes.
    async fn counts_at(
        &self,
        pool: &ProviderPool,
        senders: &[Address],
        head: HeadBlock,
    ) -> Result<Vec<(Address, u64)>, EngineError> {
        let known = self
            .counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pool.chain().chain_id);
        if let Some(CountedHead { hash, counts }) = known
            && hash == head.hash
            && counts.iter().map(|(sender, _)| sender).eq(senders)
        {
            return Ok(counts);
        }
        let agreed = pool.agreed_counts(senders, head.number).await?;
        let agreed: Vec<(Address, AgreedCount)> = senders.iter().copied().zip(agreed).collect();
        self.notice_foreign_use(pool, &agreed).await?;
        Ok(agreed.into_iter().map(|(sender, agreed)| (sender, agreed.count)).collect())
    }

    fn remember_counts(&self, chain_id: u64, hash: B256, counts: Vec<(Address, u64)>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.insert(chain_id, CountedHead { hash, counts });
    }

    /// A payment that nobody is bound to: after a restore the journal alone knew of it, and now the chain says what
    /// it pays.
    async fn notice_orphan(
        &self,
        open: &OpenSlot,
        inclusion: &Inclusion,
    ) -> Result<(), EngineError> {
        let pays = open.purpose == Purpose::Pay && inclusion.outcome == SlotOutcome::Paid;
        if !pays || !open.payments.is_empty() || !open.left.is_empty() {
            return Ok(());
        }
        let detail = format!(
            "{} paid in nonce {} of {}, and no withdrawal is bound to it: a payment of before a restore. Run \
             `portcullis reconcile --repair`",
            inclusion.hash, open.slot.nonce, open.slot.sender
        );
        Ok(self.store.raise_halt("restore", &detail).await?)
    }

    /// A count above all slots that we opened: somebody else has the key, or the database is old. One
    /// provider's word alone stops nothing where there are several.
    async fn notice_foreign_use(
        &self,
        pool: &ProviderPool,
        counts: &[(Address, AgreedCount)],
    ) -> Result<(), EngineError> {
        let known = self.store.senders(pool.chain().chain_id).await?;
        let needed = pool.needed(Decision::Stop)?;
        for (sender, AgreedCount { count, operators }) in counts {
            if *operators < needed {
                continue;
            }
            let Some((_, next)) = known.iter().find(|(address, _)| address == sender) else {
                continue;
            };
            if count > next {
                let detail = format!(
                    "the chain counts {count} transactions of {sender}, the database opened {next} slots: a \
                     restored database, or another holder of the key. Run reconcile"
                );
                halt_for_foreign_use(&self.store, &detail).await?;
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
            let found = pool.quorum_consumption((sender, nonce), from, view.head.number).await?;
            let Evidence::Agreed { value: consumed, agreeing, .. } = found else { continue };
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
                    if agreeing >= pool.needed(Decision::Stop)? {
                        halt_for_foreign_use(&self.store, &foreign(open, &consumed)).await?;
                    }
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

fn foreign(open: &OpenSlot, consumed: &ConsumedNonce) -> String {
    let transaction = consumed.transaction.as_ref();
    format!(
        "nonce {} of {} was consumed in block {} by {}, which is not ours: another holder of the key. Run \
         reconcile",
        open.slot.nonce,
        open.slot.sender,
        consumed.block.number,
        transaction.map_or("no transaction of it".into(), |mined| mined.hash.to_string()),
    )
}

fn explained(open: &OpenSlot, hash: B256, mined: &Payload) -> Consumption {
    let known: Vec<B256> = open.attempts.iter().map(|attempt| attempt.hash).collect();
    explain_consumption(open.slot, open.payload_digest, &known, hash, mined)
}

/// What the providers show of a slot's attempts.
enum Shown {
    /// The quorum shows the receipt of this kind of attempt.
    Agreed(AttemptKind, Receipt),
    /// Something is shown, or somebody did not answer: look again.
    NotYet,
    /// Whoever answered shows no receipt of any attempt.
    Nothing,
}

/// For each slot what is shown of its attempts. At most one can be in a block: the chain sees to that.
async fn receipts_of(pool: &ProviderPool, slots: &[OpenSlot]) -> Result<Vec<Shown>, EngineError> {
    let hashes: Vec<B256> =
        slots.iter().flat_map(|open| open.attempts.iter().map(|attempt| attempt.hash)).collect();
    let mut receipts = pool.quorum_receipts(&hashes, Decision::Paid).await?.into_iter();
    let shown = slots.iter().map(|open| {
        let of_attempts: Vec<(AttemptKind, QuorumReceipt)> =
            open.attempts.iter().map(|attempt| attempt.kind).zip(receipts.by_ref()).collect();
        let agreed = of_attempts.iter().find_map(|(kind, receipt)| Some((kind, receipt.agreed()?)));
        match agreed {
            Some((kind, receipt)) => Shown::Agreed(*kind, receipt.clone()),
            None if of_attempts.iter().all(|(_, receipt)| receipt.is_absent()) => Shown::Nothing,
            None => Shown::NotYet,
        }
    });
    Ok(shown.collect())
}

/// Blocks below all that are stored, in which receipts stand, with the chain's time of each: nobody looked for longer than
/// blocks are kept, or for the first time so long after the first payment. The quorum shows that they are canonical.
async fn older_blocks(
    pool: &ProviderPool,
    view: &View,
    receipts: &[Shown],
) -> Result<BTreeMap<BlockRef, Timestamp>, EngineError> {
    let Some(lowest) = view.headers.first() else { return Ok(BTreeMap::new()) };
    let blocks = receipts.iter().filter_map(|shown| match shown {
        Shown::Agreed(_, receipt) => Some(receipt.block),
        Shown::NotYet | Shown::Nothing => None,
    });
    let below: BTreeSet<BlockRef> =
        blocks.filter(|block| block.number < lowest.block.number).collect();
    let mut older = BTreeMap::new();
    if below.is_empty() {
        return Ok(older);
    }
    let agreed = pool.agreed_head(&[]).await?;
    for block in below.into_iter().take(SEARCHES_MAX) {
        let header = pool.agreed_header(&agreed, block.number).await?;
        if let Some(header) = header.filter(|header| header.hash == block.hash) {
            older.insert(block, Timestamp::from_millis(header.timestamp_ms));
        }
    }
    Ok(older)
}

/// The chain's time of a receipt's block. `None` while the block is not known as canonical: the follower is not there yet, or
/// the node changed its mind.
fn mined_at(
    view: &View,
    older: &BTreeMap<BlockRef, Timestamp>,
    block: BlockRef,
) -> Option<Timestamp> {
    view.canonical(block).map(|header| header.at).or_else(|| older.get(&block).copied())
}

fn inclusion(
    block_at: Timestamp,
    open: &OpenSlot,
    kind: AttemptKind,
    receipt: &Receipt,
    vault: Option<Address>,
) -> Inclusion {
    let verdict = judge(open, kind, receipt, vault);
    for (withdrawal, item) in &verdict.items {
        match item {
            ItemOutcome::Paid | ItemOutcome::Voided => {}
            ItemOutcome::Short => {
                tracing::error!(
                    %withdrawal, hash = %receipt.hash, sender = %open.slot.sender, nonce = open.slot.nonce,
                    "something else arrived than was promised: held for an operator"
                );
                metrics::counter!("portcullis_underpaid_total").increment(1);
            }
            ItemOutcome::Failed | ItemOutcome::Skipped => {
                tracing::warn!(
                    %withdrawal, hash = %receipt.hash, outcome = item.as_str(),
                    "the vault did not pay it in this transaction"
                );
                metrics::counter!("portcullis_vault_unpaid_total", "outcome" => item.as_str())
                    .increment(1);
            }
        }
    }
    if kind == AttemptKind::Payload && open.purpose == Purpose::Pay && receipt.succeeded {
        let carried = open.payments.len() + open.left.len();
        count_gas(open.slot.chain_id, "used", receipt.gas_used, carried);
    }
    Inclusion {
        slot_id: open.id,
        hash: receipt.hash,
        block: receipt.block,
        block_at,
        outcome: verdict.outcome,
        items: verdict.items,
        gas_used: receipt.gas_used,
        effective_gas_price_wei: receipt.effective_gas_price_wei,
    }
}

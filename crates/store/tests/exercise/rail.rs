//! The direct rail without a node: slots, attempts and blocks made up, in the order of the roles.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SignedAttempt;
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, Rail, Slot, SlotOutcome};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::BlockRef;
use portcullis_store::StoreError;
use portcullis_store::chain::{ChainAdvance, ConsumedSlot, Inclusion, StoredHeader};
use portcullis_store::lease::Lease;
use portcullis_store::send::SendResult;
use portcullis_store::slot::{NewAttempt, NewSlot, OpenSlot};
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{CHAIN, Fixture, START_MS, address_of};

pub(crate) const LEASE_MS: i64 = 30_000;
pub(crate) const GAS_LIMIT: u64 = 65_000;

pub(crate) const GAS_ESTIMATED: u64 = 28_000;

/// What the timelines say of how payments travel.
pub(crate) const WHY: &str = "single: fewer than 5 in the queue";

/// The first nonce of every sender here.
pub(crate) const NONCE_FIRST: u64 = 5;

pub(crate) fn sender(index: u8) -> Address {
    address_of(&format!("sender {index}"))
}

pub(crate) fn slot_at(index: u8, nonce: u64) -> Slot {
    Slot { chain_id: CHAIN, sender: sender(index), nonce }
}

/// A block of the made-up chain; every fork has its own hashes from its first block on.
pub(crate) fn block(number: u64, fork: u8) -> BlockRef {
    BlockRef { number, hash: keccak256(format!("block {number} of fork {fork}")) }
}

pub(crate) fn block_at(number: u64) -> Timestamp {
    Timestamp::from_millis(START_MS).plus_millis(i64::try_from(number).unwrap_or(0) * 2_000)
}

pub(crate) fn header(number: u64, fork: u8, parent_fork: u8) -> StoredHeader {
    StoredHeader {
        block: block(number, fork),
        parent_hash: block(number - 1, parent_fork).hash,
        at: block_at(number),
    }
}

/// Blocks `from..=to` of one fork.
pub(crate) fn blocks(from: u64, to: u64) -> ChainAdvance {
    ChainAdvance {
        common_ancestor: None,
        headers: (from..=to).map(|number| header(number, 0, 0)).collect(),
        forget_below: 0,
    }
}

/// Another fork from behind `ancestor` on.
pub(crate) fn reorg(ancestor: u64, to: u64, fork: u8) -> ChainAdvance {
    let first = ancestor + 1;
    ChainAdvance {
        common_ancestor: Some(ancestor),
        headers: (first..=to)
            .map(|number| header(number, fork, if number == first { 0 } else { fork }))
            .collect(),
        forget_below: 0,
    }
}

pub(crate) fn digest_of(slot: Slot) -> B256 {
    keccak256(format!("payload of {slot:?}"))
}

/// Signed bytes of a slot, the `ordinal`th of their kind.
pub(crate) fn signed(slot: Slot, kind: AttemptKind, ordinal: u32) -> SignedAttempt {
    let wei = u128::from(ordinal) * 1_000_000_000;
    let payload_digest = match kind {
        AttemptKind::Payload => digest_of(slot),
        AttemptKind::Cancel => keccak256(format!("cancel of {slot:?}")),
    };
    let mut raw = vec![2_u8; 144];
    raw.extend_from_slice(keccak256(format!("{slot:?} {kind:?} {ordinal}")).as_slice());
    SignedAttempt {
        slot,
        kind,
        payload_digest,
        hash: keccak256(&raw),
        raw: Bytes::from(raw),
        fees: Fees { max_fee_per_gas_wei: wei, max_priority_fee_per_gas_wei: wei / 2 },
        gas_limit: GAS_LIMIT,
    }
}

pub(crate) fn inclusion(new: &NewSlot, attempt: &SignedAttempt, block: BlockRef) -> Inclusion {
    Inclusion {
        slot_id: new.id,
        hash: attempt.hash,
        block,
        block_at: block_at(block.number),
        outcome: match attempt.kind {
            AttemptKind::Payload => SlotOutcome::Paid,
            AttemptKind::Cancel => SlotOutcome::Canceled,
        },
        items: match attempt.kind {
            AttemptKind::Payload => items_of(new, ItemOutcome::Paid),
            AttemptKind::Cancel => Vec::new(),
        },
        gas_used: 51_234,
        effective_gas_price_wei: 30_000_000_000,
    }
}

/// An open slot as it was bound, but for what is not read again.
pub(crate) fn bound(open: &OpenSlot) -> NewSlot {
    NewSlot {
        id: open.id,
        slot: open.slot,
        purpose: open.purpose,
        rail: open.rail,
        payload_digest: open.payload_digest,
        payments: open.payments.iter().map(|record| record.id).collect(),
        gas_estimated: None,
        why: None,
    }
}

/// The same outcome for every payment of a slot.
pub(crate) fn items_of(new: &NewSlot, item: ItemOutcome) -> Vec<(WithdrawalId, ItemOutcome)> {
    new.payments.iter().map(|payment| (*payment, item)).collect()
}

impl Fixture {
    /// Registers senders `0..count`, each with the same count on the chain.
    pub(crate) async fn register(&self, count: u8) {
        let counts: Vec<_> = (0..count).map(|index| (sender(index), NONCE_FIRST)).collect();
        self.store.register_senders(CHAIN, &counts).await.expect("registers");
    }

    pub(crate) async fn lease(&self, name: &str) -> Lease {
        let names = [name.to_owned()];
        let mut leases =
            self.store.acquire_leases(&names, "test", LEASE_MS).await.expect("a lease");
        leases.pop().expect("nobody else holds it")
    }

    pub(crate) async fn sender_lease(&self, index: u8) -> Lease {
        self.lease(&format!("sender:{CHAIN}:{}", sender(index))).await
    }

    pub(crate) async fn monitor(&self) -> Lease {
        self.lease(&format!("monitor:{CHAIN}")).await
    }

    pub(crate) fn new_slot(&self, slot: Slot, payments: &[WithdrawalId]) -> NewSlot {
        NewSlot {
            id: SlotId::from_parts(self.now(), self.random()),
            slot,
            purpose: if payments.is_empty() { Purpose::Fill } else { Purpose::Pay },
            rail: Rail::Direct,
            payload_digest: digest_of(slot),
            payments: payments.to_vec(),
            gas_estimated: Some(GAS_ESTIMATED),
            why: Some(WHY.to_owned()),
        }
    }

    /// Binds one payment to the next nonce of sender 0.
    pub(crate) async fn bind(&self, record: &WithdrawalRecord, nonce: u64) -> NewSlot {
        let new = self.new_slot(slot_at(0, nonce), &[record.id]);
        let lease = self.sender_lease(0).await;
        self.store.bind(&[lease], std::slice::from_ref(&new)).await.expect("binds");
        new
    }

    pub(crate) async fn commit(
        &self,
        new: &NewSlot,
        attempt: &SignedAttempt,
    ) -> Result<(), StoreError> {
        let lease = self.sender_lease(0).await;
        let attempts = [NewAttempt { slot_id: new.id, signed: attempt.clone() }];
        self.store.commit_attempts(&[lease], &attempts, &[]).await
    }

    /// Binds and signs.
    pub(crate) async fn sign(
        &self,
        record: &WithdrawalRecord,
        nonce: u64,
    ) -> (NewSlot, SignedAttempt) {
        let new = self.bind(record, nonce).await;
        let attempt = signed(new.slot, AttemptKind::Payload, 1);
        self.commit(&new, &attempt).await.expect("commits");
        (new, attempt)
    }

    /// Claims what is due and records that a provider took it.
    pub(crate) async fn send_due(&self) -> usize {
        let sendable =
            self.store.claim_sendable(CHAIN, "claim", 1_000, 20_000).await.expect("claims");
        let results: Vec<SendResult> = sendable
            .iter()
            .map(|sendable| SendResult {
                slot_id: sendable.slot_id,
                hash: sendable.hash,
                outcome: "accepted".into(),
                accepted: true,
                due_at: self.now().plus_millis(60_000),
            })
            .collect();
        self.store.record_sends("claim", &results).await.expect("records");
        results.len()
    }

    pub(crate) async fn advance(&self, advance: ChainAdvance) -> Result<(), StoreError> {
        let lease = self.monitor().await;
        self.store.advance_chain(&lease, CHAIN, &advance).await
    }

    pub(crate) async fn include(&self, inclusion: Inclusion) -> Result<(), StoreError> {
        let lease = self.monitor().await;
        self.store.include(&lease, &[inclusion]).await
    }

    pub(crate) async fn confirm(&self, block: u64) -> usize {
        let lease = self.monitor().await;
        self.store.confirm(&lease, (CHAIN, block), 1_000, 2).await.expect("confirms")
    }

    pub(crate) async fn deep(&self, block: u64) -> Vec<ConsumedSlot> {
        let before = block_at(block);
        self.store.deep_slots(CHAIN, block, before, 1_000).await.expect("reads")
    }

    pub(crate) async fn end_paid(&self, lease: &Lease, block: u64) -> Result<usize, StoreError> {
        self.store.end_paid(lease, (CHAIN, block, block_at(block)), 1_000, 2).await
    }

    /// Ends what is deep enough, paid or not.
    pub(crate) async fn finalize(&self, block: u64) -> usize {
        let lease = self.monitor().await;
        let paid = self.end_paid(&lease, block).await.expect("ends");
        let deep = self.deep(block).await;
        self.store.finalize(&lease, &deep).await.expect("finalizes");
        paid + deep.len()
    }

    /// A payment that has been sent, ready to be seen in a block. Blocks 100 to 102 are stored.
    pub(crate) async fn sent(&self, name: &str) -> (WithdrawalRecord, NewSlot, SignedAttempt) {
        self.register(1).await;
        let record = self.queue(name, 100).await;
        let (new, attempt) = self.sign(&record, NONCE_FIRST).await;
        assert_eq!(self.send_due().await, 1);
        self.advance(blocks(100, 102)).await.expect("advances");
        (self.read(&record).await, new, attempt)
    }
}

//! What a receipt proves about the slot that it consumed. Pure.

use alloy_primitives::Address;
use portcullis_core::amount::Amount;
use portcullis_core::calldata::{TokenTransfer, read_transfer};
use portcullis_core::id::WithdrawalId;
use portcullis_core::number::PayoutNumber;
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, Rail, SlotOutcome};
use portcullis_core::vault::{VaultEvent, read_vault_event, vault_void};
use portcullis_evm::Receipt;
use portcullis_store::slot::OpenSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

/// A verdict on a consumed slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What consumed it.
    pub(crate) outcome: SlotOutcome,
    /// What became of each payment that it ever carried, where its payload succeeded.
    pub(crate) items: Vec<(WithdrawalId, ItemOutcome)>,
}

/// Judges a receipt of one of the slot's attempts. On the direct rail "paid" needs the token's own Transfer to the
/// recipient, of the promised amount; a status alone proves nothing about a token. For the native coin
/// the value travels with the call, so a success is the proof. On the vault rail it needs the vault's word as well
/// (invariant 14).
pub(crate) fn judge(
    open: &OpenSlot,
    kind: AttemptKind,
    receipt: &Receipt,
    vault: Option<Address>,
) -> Verdict {
    let outcome = match (kind, open.purpose, receipt.succeeded) {
        (AttemptKind::Cancel, Purpose::Fill, _) => SlotOutcome::Filled,
        (AttemptKind::Cancel, Purpose::Pay | Purpose::Void, _) => SlotOutcome::Canceled,
        (AttemptKind::Payload, _, false) => SlotOutcome::Reverted,
        (AttemptKind::Payload, Purpose::Void, true) => SlotOutcome::Voided,
        (AttemptKind::Payload, _, true) => SlotOutcome::Paid,
    };
    let items = match (outcome, open.rail) {
        (SlotOutcome::Paid, Rail::Direct) => direct_items(open, receipt),
        (SlotOutcome::Paid, Rail::Vault) => vault_items(open, receipt, vault),
        (SlotOutcome::Voided, _) => void_items(open, receipt, vault),
        _ => Vec::new(),
    };
    Verdict { outcome, items }
}

fn direct_items(open: &OpenSlot, receipt: &Receipt) -> Vec<(WithdrawalId, ItemOutcome)> {
    let judged = open.payments.iter().map(|record| {
        let arrived = arrived(open, record, receipt);
        (record.id, if arrived { ItemOutcome::Paid } else { ItemOutcome::Short })
    });
    judged.collect()
}

/// Whether exactly the promised amount reached the recipient. Other logs do not matter: Polygon adds
/// its own to every receipt.
fn arrived(open: &OpenSlot, record: &WithdrawalRecord, receipt: &Receipt) -> bool {
    let Some(token) = record.token else { return true };
    let sum = receipt
        .logs
        .iter()
        .filter_map(read_transfer)
        .filter(|transfer| {
            transfer.token == token && transfer.from == open.slot.sender && transfer.to == record.to
        })
        .try_fold(Amount::ZERO, |sum, transfer| sum.checked_add(transfer.amount));
    sum == Some(record.amount)
}

/// Each payment against the vault's event of its number and ref, and one Transfer of its own. A payment of which the
/// vault says nothing, or whose Transfer is another than promised, is for somebody to look at; so is one that
/// failed while money moved all the same (a token that answers a success with garbage).
fn vault_items(
    open: &OpenSlot,
    receipt: &Receipt,
    vault: Option<Address>,
) -> Vec<(WithdrawalId, ItemOutcome)> {
    let Some(vault) = vault else { return unexplained(open) };
    let events: Vec<VaultEvent> =
        receipt.logs.iter().filter_map(|log| read_vault_event(vault, log)).collect();
    let mut transfers: Vec<TokenTransfer> = receipt
        .logs
        .iter()
        .filter_map(read_transfer)
        .filter(|transfer| transfer.from == vault)
        .collect();
    let mut items: Vec<(WithdrawalId, ItemOutcome)> = Vec::new();
    // What is promised takes its Transfers first; what is left then contradicts a failure.
    for record in carried(open) {
        let item = match event_of(&events, record) {
            Some(VaultEvent::Paid { token, to, amount, .. }) => {
                let as_promised =
                    (token, to, amount) == (&record.token, &record.to, &record.amount);
                let promise = (record.token, record.to, record.amount);
                let arrived = record.token.is_none() || take(&mut transfers, promise);
                if as_promised && arrived { ItemOutcome::Paid } else { ItemOutcome::Short }
            }
            Some(VaultEvent::Failed { .. }) => ItemOutcome::Failed,
            Some(VaultEvent::Skipped { .. }) => ItemOutcome::Skipped,
            Some(VaultEvent::Voided { .. }) | None => ItemOutcome::Short,
        };
        items.push((record.id, item));
    }
    // So does what is paid to others, of which this slot knows nothing.
    for event in &events {
        if let VaultEvent::Paid { reference, token, to, amount, .. } = event
            && carried(open).all(|record| record.reference != *reference)
        {
            take(&mut transfers, (*token, *to, *amount));
        }
    }
    for (record, (_, item)) in carried(open).zip(&mut items) {
        let moved = |transfer: &TokenTransfer| {
            Some(transfer.token) == record.token && transfer.to == record.to
        };
        if *item == ItemOutcome::Failed && transfers.iter().any(moved) {
            *item = ItemOutcome::Short;
        }
    }
    items
}

/// The vault's event of a void names a number and no ref. It counts for a withdrawal only where the slot was signed for
/// the numbers that its withdrawals have now, which the digest of the signed payload tells: under another number a
/// withdrawal may have been paid.
fn void_items(
    open: &OpenSlot,
    receipt: &Receipt,
    vault: Option<Address>,
) -> Vec<(WithdrawalId, ItemOutcome)> {
    let Some(vault) = vault else { return unexplained(open) };
    let numbers: Vec<PayoutNumber> = carried(open).map(|record| record.number).collect();
    let signed_so = vault_void(vault, &numbers).digest(open.slot) == open.payload_digest;
    let events: Vec<VaultEvent> =
        receipt.logs.iter().filter_map(|log| read_vault_event(vault, log)).collect();
    let judged = carried(open).map(|record| {
        let number = record.number.to_u256();
        let voided = signed_so && events.contains(&VaultEvent::Voided { number });
        (record.id, if voided { ItemOutcome::Voided } else { ItemOutcome::Skipped })
    });
    judged.collect()
}

/// Every payment that the slot ever carried: also those that left it, which a reorg can let it pay.
fn carried(open: &OpenSlot) -> impl Iterator<Item = &WithdrawalRecord> {
    open.payments.iter().chain(&open.left)
}

/// Without the vault's address nothing can be said of its payments.
fn unexplained(open: &OpenSlot) -> Vec<(WithdrawalId, ItemOutcome)> {
    carried(open).map(|record| (record.id, ItemOutcome::Short)).collect()
}

/// By ref, which says of which request the vault speaks: what a silent restore brought back may have another number here
/// than it was signed under.
fn event_of<'a>(events: &'a [VaultEvent], record: &WithdrawalRecord) -> Option<&'a VaultEvent> {
    events.iter().find(|event| match event {
        VaultEvent::Paid { reference, .. }
        | VaultEvent::Failed { reference, .. }
        | VaultEvent::Skipped { reference, .. } => *reference == record.reference,
        VaultEvent::Voided { .. } => false,
    })
}

/// Takes the one Transfer that is this payment's, so that no two payments share one.
fn take(
    transfers: &mut Vec<TokenTransfer>,
    (token, to, amount): (Option<Address>, Address, Amount),
) -> bool {
    let promised = |transfer: &TokenTransfer| {
        Some(transfer.token) == token && transfer.to == to && transfer.amount == amount
    };
    let found = transfers.iter().position(promised);
    found.map(|index| transfers.swap_remove(index)).is_some()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, Log, LogData, U256, keccak256};
    use portcullis_core::id::{AssetId, SlotId, TenantId};
    use portcullis_core::number::PaymentRef;
    use portcullis_core::seal::{Seal, SealKeyId};
    use portcullis_core::slot::{Slot, SlotStage};
    use portcullis_core::time::Timestamp;
    use portcullis_core::withdrawal::{BlockRef, Priority, State};

    use super::*;

    const VAULT: Address = Address::repeat_byte(0xfa);
    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn record(byte: u8, sequence: u64) -> WithdrawalRecord {
        WithdrawalRecord {
            id: WithdrawalId::from_bytes([byte; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            external_id: format!("order-{byte}").parse().expect("an external id"),
            request_hash: B256::ZERO,
            account: "alice".parse().expect("an account"),
            asset: AssetId::from_bytes([2; 16]),
            chain_id: 31_337,
            token: None,
            amount: Amount::from_atomic(U256::from(5)),
            to: Address::repeat_byte(byte),
            priority: Priority::Standard,
            metadata: None,
            number: PayoutNumber { epoch: 1, sequence },
            reference: PaymentRef(B256::repeat_byte(byte)),
            seal: Seal { key_id: SealKeyId(1), mac: [0; 32] },
            state: State::Queued,
            cancel_requested: false,
            reason: None,
            event_sequence: 1,
            timeline: Vec::new(),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    /// A slot that was signed to void the numbers 1 and 2, and carries these withdrawals.
    fn voiding(payments: Vec<WithdrawalRecord>) -> OpenSlot {
        let slot = Slot { chain_id: 31_337, sender: Address::repeat_byte(9), nonce: 3 };
        let numbers = [1, 2].map(|sequence| PayoutNumber { epoch: 1, sequence });
        OpenSlot {
            id: SlotId::from_bytes([7; 16]),
            slot,
            purpose: Purpose::Void,
            rail: Rail::Vault,
            payload_digest: vault_void(VAULT, &numbers).digest(slot),
            stage: SlotStage::Sent,
            cancel_requested: false,
            opened_at: NOW,
            attempts: Vec::new(),
            payments,
            left: Vec::new(),
            items: std::collections::BTreeMap::new(),
        }
    }

    /// The vault voided number 2; it had seen number 1 before.
    fn receipt() -> Receipt {
        let number = PayoutNumber { epoch: 1, sequence: 2 }.to_u256();
        let topics = vec![keccak256("Voided(uint256)"), B256::from(number)];
        Receipt {
            hash: B256::repeat_byte(1),
            block: BlockRef { number: 5, hash: B256::repeat_byte(5) },
            succeeded: true,
            gas_used: 50_000,
            effective_gas_price_wei: 1,
            from: Address::repeat_byte(9),
            to: Some(VAULT),
            logs: vec![Log { address: VAULT, data: LogData::new_unchecked(topics, [].into()) }],
        }
    }

    fn indexed(event: &str, sequence: u64, byte: u8, data: Vec<u8>) -> Log {
        let number = PayoutNumber { epoch: 1, sequence }.to_u256();
        let topics = vec![keccak256(event), B256::from(number), B256::repeat_byte(byte)];
        Log { address: VAULT, data: LogData::new_unchecked(topics, data.into()) }
    }

    #[test]
    fn a_failure_is_told_from_what_another_was_paid() {
        let token = Address::repeat_byte(0x70);
        let failed = WithdrawalRecord { token: Some(token), ..record(1, 1) };
        let mut open = voiding(Vec::new());
        (open.purpose, open.left) = (Purpose::Pay, vec![failed.clone()]);
        let word = |address: Address| address.into_word();
        let five = B256::from(U256::from(5));
        // The same amount to the same recipient, for a request that is not known here.
        let paid = [word(token), word(failed.to), five].concat();
        let topics =
            vec![keccak256("Transfer(address,address,uint256)"), word(VAULT), word(failed.to)];
        let moved = LogData::new_unchecked(topics, five.to_vec().into());
        let logs = vec![
            indexed("Paid(uint256,bytes32,address,address,uint256)", 2, 2, paid),
            indexed("Failed(uint256,bytes32,bytes32)", 1, 1, vec![0; 32]),
            Log { address: token, data: moved },
        ];
        let told = |logs: Vec<Log>| {
            let receipt = Receipt { logs, ..receipt() };
            judge(&open, AttemptKind::Payload, &receipt, Some(VAULT)).items
        };
        assert_eq!(told(logs.clone()), [(failed.id, ItemOutcome::Failed)]);
        // Without the other's event the Transfer contradicts the failure.
        assert_eq!(told(logs[1..].to_vec()), [(failed.id, ItemOutcome::Short)]);
    }

    #[test]
    fn a_void_counts_for_the_numbers_that_were_signed() {
        let judged = |payments: [WithdrawalRecord; 2]| {
            let open = voiding(payments.into());
            let verdict = judge(&open, AttemptKind::Payload, &receipt(), Some(VAULT));
            assert_eq!(verdict.outcome, SlotOutcome::Voided);
            verdict.items.into_iter().map(|(_, item)| item).collect::<Vec<_>>()
        };
        let as_signed = judged([record(1, 1), record(2, 2)]);
        assert_eq!(as_signed, [ItemOutcome::Skipped, ItemOutcome::Voided]);
        // The first has the second's number now: it was skipped under its own, so something may have paid it.
        let exchanged = judged([record(1, 2), record(2, 1)]);
        assert_eq!(exchanged, [ItemOutcome::Skipped, ItemOutcome::Skipped]);
    }
}

//! What a receipt proves about the slot that it consumed. Pure.

use portcullis_core::amount::Amount;
use portcullis_core::calldata::read_transfer;
use portcullis_core::slot::{AttemptKind, Purpose, SlotOutcome};
use portcullis_evm::Receipt;
use portcullis_store::slot::OpenSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

/// A verdict on a consumed slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What consumed it.
    pub(super) outcome: SlotOutcome,
    /// Whether it succeeded and yet did not pay what was promised.
    pub(super) is_short: bool,
}

/// Judges a receipt of one of the slot's attempts. "Paid" needs the token's own Transfer to the
/// recipient, of the promised amount; a status alone proves nothing about a token. For the native coin
/// the value travels with the call, so a success is the proof.
pub(super) fn judge(open: &OpenSlot, kind: AttemptKind, receipt: &Receipt) -> Verdict {
    let outcome = match (kind, open.purpose, receipt.succeeded) {
        (AttemptKind::Cancel, Purpose::Fill, _) => SlotOutcome::Filled,
        (AttemptKind::Cancel, Purpose::Pay, _) => SlotOutcome::Canceled,
        (AttemptKind::Payload, _, false) => SlotOutcome::Reverted,
        (AttemptKind::Payload, _, true) => SlotOutcome::Paid,
    };
    let is_short = outcome == SlotOutcome::Paid
        && open.payments.iter().any(|record| !arrived(open, record, receipt));
    Verdict { outcome, is_short }
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

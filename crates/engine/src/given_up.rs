//! What is given up and has a payout number that was signed for another payment: it has no number of its own to void.

use portcullis_core::slot::SlotStage;
use portcullis_keys::journal::JournalReader;
use portcullis_store::Store;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::error::EngineError;

/// Whether every slot that was ever signed for the request, under whatever number, is over for good and did not pay it:
/// what its refund needs, where a void would use up the number of another payment.
pub(crate) async fn can_pay_no_more(
    store: &Store,
    journal: &JournalReader,
    record: &WithdrawalRecord,
) -> Result<bool, EngineError> {
    for slot in journal.slots_of_request(record.reference) {
        let is_over = store.slot(slot).await?.is_some_and(|open| {
            let carries = |other: &WithdrawalRecord| other.reference == record.reference;
            open.stage == SlotStage::Final && !open.payments.iter().any(carries)
        });
        if !is_over {
            return Ok(false);
        }
    }
    Ok(true)
}

//! The comparison that costs nothing: in memory and by two rows. It is made before the first request is taken in, and
//! every few seconds while the engine runs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, hex};
use portcullis_keys::journal::JournalReader;
use portcullis_store::Store;
use portcullis_store::audit::AuditHead;

use crate::error::EngineError;

/// What the journal knows and this database does not, in words; `None` when they agree. Then the database is a restored
/// one, or a second one (invariant 12).
///
/// # Errors
/// When the database does not answer.
pub async fn what_journal_knows_more(
    store: &Store,
    journal: &JournalReader,
) -> Result<Option<String>, EngineError> {
    let mut known: BTreeMap<u64, BTreeMap<Address, u64>> = BTreeMap::new();
    for highest in journal.highest_slots() {
        let senders = match known.entry(highest.chain_id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(store.senders(highest.chain_id).await?.into_iter().collect())
            }
        };
        let next = senders.get(&highest.sender).copied().unwrap_or(0);
        if highest.nonce >= next {
            return Ok(Some(format!(
                "the journal knows nonce {} of {}, the database opened {next} slots: a restored or a second \
                 database. Run `portcullis reconcile --repair`",
                highest.nonce, highest.sender
            )));
        }
    }
    audit_behind(store, journal).await
}

/// Whether the audit log does not come to the head that the journal remembers.
pub(super) async fn audit_behind(
    store: &Store,
    journal: &JournalReader,
) -> Result<Option<String>, EngineError> {
    let Some(head) = journal.audit_head() else { return Ok(None) };
    let remembered = AuditHead { sequence: head.sequence, hash: head.hash.0 };
    let entry = store.audit_entry(head.sequence).await?;
    if entry == Some(remembered) || store.answered_audit_head().await? == Some(remembered) {
        return Ok(None);
    }
    let here = match entry {
        None => "ends before it".to_owned(),
        Some(entry) => format!("has {} there", hex::encode_prefixed(entry.hash)),
    };
    Ok(Some(format!(
        "the journal remembers entry {} of the audit log as {}, the log of this database {here}: a restored or a \
         second database. Run `portcullis reconcile --repair`",
        head.sequence, head.hash
    )))
}

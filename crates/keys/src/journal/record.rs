//! What the journal remembers, and the form that it has on a line.

use alloy_primitives::B256;
use portcullis_core::id::{ExternalId, TenantId, WithdrawalId};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::JournalId;
use crate::keystore::{KeystoreId, sha256};

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalRecord {
    /// The first line: whose memory this is.
    Begin(Begin),
    /// Bytes were signed and are about to leave.
    Attempt(AttemptRecord),
    /// A slot was found consumed without having made a payment.
    Release(ReleaseRecord),
    /// How far the audit log had come.
    AuditHead(AuditHead),
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// The version of the format.
    pub version: u32,
    /// The journal's name.
    pub journal: JournalId,
    /// The keystore that it belongs to.
    pub keystore: KeystoreId,
    /// When it began.
    pub at: Timestamp,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRecord {
    /// Where.
    #[serde(with = "SlotForm")]
    pub slot: Slot,
    /// What the slot was opened for.
    pub purpose: Purpose,
    /// How its payload travels.
    pub rail: Rail,
    /// Whether it does what the slot was opened for, or cancels.
    pub kind: AttemptKind,
    /// What it does.
    pub payload_digest: B256,
    /// The transaction's hash.
    pub hash: B256,
    /// What it pays, or voids, in order; nothing when it cancels or fills a gap.
    pub payments: Vec<JournaledPayment>,
    /// When.
    pub at: Timestamp,
}

/// One payment, with all that finds it again when the database has forgotten it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournaledPayment {
    /// The withdrawal.
    pub withdrawal: WithdrawalId,
    /// Its payout number.
    #[serde(with = "NumberForm")]
    pub number: PayoutNumber,
    /// Its ref.
    #[serde(rename = "ref", with = "RefForm")]
    pub reference: PaymentRef,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's own id of it.
    pub external_id: ExternalId,
}

/// A payment may ride another slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRecord {
    /// The payment.
    #[serde(with = "NumberForm")]
    pub number: PayoutNumber,
    /// The slot that it leaves.
    #[serde(with = "SlotForm")]
    pub slot: Slot,
    /// Why it is sure that the slot did not pay it.
    pub evidence: ReleaseEvidence,
    /// When this was written.
    pub at: Timestamp,
}

/// Final evidence, read from the chain by the signer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseEvidence {
    /// The block that consumed the slot.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// The transaction that consumed it.
    pub transaction_hash: B256,
    /// What that transaction did.
    pub cause: EvidenceCause,
    /// Whether it lay at the conservative depth: always on the direct rail.
    pub is_final: bool,
}

/// How a slot came to be consumed without paying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceCause {
    /// By a zero self-transfer.
    Canceled,
    /// By the payload, which reverted.
    Reverted,
    /// By a call of the vault that paid others and not this one: its number is free.
    ItemFailed,
    /// By a transaction that was never signed for it, with another payload and no zero self-transfer: somebody else's.
    Foreign,
}

/// The head of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The entry's place in the log.
    pub sequence: u64,
    /// Its hash.
    pub hash: B256,
    /// When it was seen.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Slot", deny_unknown_fields)]
struct SlotForm {
    chain_id: u64,
    sender: alloy_primitives::Address,
    nonce: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PayoutNumber", deny_unknown_fields)]
struct NumberForm {
    epoch: u64,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PaymentRef")]
struct RefForm(B256);

/// A line without its own hash. Field order is the order of the bytes under the hash.
#[derive(Serialize)]
struct Outgoing<'a> {
    line: u64,
    previous: B256,
    record: &'a JournalRecord,
}

/// A line as it was read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// Its place, from 0.
    #[serde(rename = "line")]
    pub(super) place: u64,
    /// The hash of the line before it; zero before the first.
    pub(super) previous: B256,
    /// What it says.
    pub(super) record: JournalRecord,
    /// The hash over all of the above, as it is written.
    pub(super) hash: B256,
}

const HASH_FIELD: &[u8] = b",\"hash\":\"";

/// Writes a line behind `out` and returns its hash: SHA-256 over the JSON object that the line is without
/// its last member, `hash`.
pub(super) fn write_line(
    out: &mut Vec<u8>,
    line: u64,
    previous: B256,
    record: &JournalRecord,
) -> B256 {
    let body = serde_json::to_vec(&Outgoing { line, previous, record })
        .expect("plain data has a JSON form");
    let hash = sha256(&body);
    out.extend_from_slice(body.strip_suffix(b"}").expect("an object ends with a brace"));
    out.extend_from_slice(HASH_FIELD);
    out.extend_from_slice(format!("{hash}\"}}\n").as_bytes());
    hash
}

/// Reads a line, without its newline, and checks it against its own hash.
pub(super) fn read_line(bytes: &[u8]) -> Result<Line, String> {
    // `,"hash":"` and `0x`, 64 digits, `"}`.
    let tail = HASH_FIELD.len().saturating_add(68);
    let at = bytes.len().checked_sub(tail).ok_or("it is too short")?;
    let (body, tail) = bytes.split_at(at);
    if !tail.starts_with(HASH_FIELD) {
        return Err("its hash is not where it belongs".to_owned());
    }
    let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if sha256(&[body, b"}"].concat()) != line.hash {
        return Err("it does not match its hash".to_owned());
    }
    Ok(line)
}

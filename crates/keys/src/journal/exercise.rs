//! What every journal has to do, wherever its lines are. One suite for all of them.

use alloy_primitives::{B256, U256};
use portcullis_core::slot::{AttemptKind, Purpose, Rail};

use super::*;
use crate::fixtures::{Bench, CHAIN, NOW, payment};
use crate::servers::mariadb::MariaDb;

/// Payment `sequence` in the slot of that nonce.
pub(super) fn attempt(bench: &Bench, nonce: u64, sequence: u64) -> AttemptRecord {
    let payment = payment(sequence);
    AttemptRecord {
        slot: bench.slot(nonce),
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        kind: AttemptKind::Payload,
        payload_digest: B256::with_last_byte(1),
        hash: B256::from(U256::from(nonce)),
        payments: vec![JournaledPayment {
            withdrawal: payment.withdrawal,
            number: payment.number,
            reference: payment.reference,
            tenant: payment.tenant,
            external_id: payment.external_id,
        }],
        at: NOW,
    }
}

pub(super) fn release(bench: &Bench, nonce: u64, sequence: u64) -> JournalRecord {
    JournalRecord::Release(ReleaseRecord {
        number: payment(sequence).number,
        slot: bench.slot(nonce),
        evidence: ReleaseEvidence {
            block_number: 9,
            block_hash: B256::with_last_byte(2),
            transaction_hash: B256::with_last_byte(3),
            cause: EvidenceCause::Canceled,
            is_final: true,
        },
        at: NOW,
    })
}

pub(super) fn head(sequence: u64) -> JournalRecord {
    let hash = B256::with_last_byte(4);
    JournalRecord::AuditHead(AuditHead { sequence, hash, at: NOW })
}

/// A place for journals.
enum Site {
    File,
    Sql(MariaDb),
}

impl Site {
    /// A new keystore, and no journal yet.
    async fn bench(&self) -> Bench {
        if let Self::Sql(server) = self {
            server.empty_journal().await;
        }
        Bench::new()
    }

    async fn open(&self, bench: &Bench) -> Result<Journal, JournalError> {
        match self {
            Self::File => Journal::open(&mut bench.keystore(), NOW),
            Self::Sql(server) => {
                let mut keyring = Keyring::from(bench.keystore());
                Journal::open_shared(&server.options(), &mut keyring, None, NOW).await
            }
        }
    }

    /// As if nothing had ever been written.
    async fn lose(&self, bench: &Bench) {
        match self {
            Self::File => std::fs::remove_file(bench.journal_path()).expect("our own file"),
            Self::Sql(server) => server.empty_journal().await,
        }
    }
}

#[tokio::test]
async fn a_file() {
    exercise(&Site::File).await;
}

#[tokio::test]
async fn a_database() {
    exercise(&Site::Sql(MariaDb::with_journal().await)).await;
}

async fn exercise(site: &Site) {
    what_was_appended_is_there_after_a_restart(site).await;
    what_is_signed_again_is_the_same_attempt(site).await;
    a_large_append_is_whole(site).await;
    only_a_keystore_that_has_not_signed_begins_a_journal(site).await;
    the_journal_of_other_keys_is_refused(site).await;
}

async fn what_is_signed_again_is_the_same_attempt(site: &Site) {
    let bench = site.bench().await;
    let mut journal = site.open(&bench).await.expect("begun");
    for _ in 0..2 {
        let again = [JournalRecord::Attempt(attempt(&bench, 7, 1))];
        journal.append(&again).await.expect("appended");
    }
    let reader = journal.reader();
    assert_eq!(reader.lines(), 3, "both lines are kept");
    assert_eq!(reader.attempt_hashes(bench.slot(7)), [B256::with_last_byte(7)]);
}

async fn what_was_appended_is_there_after_a_restart(site: &Site) {
    let bench = site.bench().await;
    let mut journal = site.open(&bench).await.expect("begun");
    let attempts = [attempt(&bench, 7, 1), attempt(&bench, 9, 2)].map(JournalRecord::Attempt);
    journal.append(&attempts).await.expect("appended");
    journal.append(&[release(&bench, 7, 1), head(3)]).await.expect("appended");
    let id = journal.id();
    drop(journal);
    let journal = site.open(&bench).await.expect("it opens again");
    assert_eq!(journal.id(), id);
    let reader = journal.reader();
    assert_eq!(reader.lines(), 5);
    assert_eq!(reader.highest_nonce(CHAIN, bench.senders[0]), Some(9));
    assert_eq!(reader.highest_nonce(CHAIN, bench.senders[1]), None);
    assert_eq!(reader.highest_nonce(1, bench.senders[0]), None);
    let nonces: Vec<u64> =
        reader.slots(CHAIN, bench.senders[0]).iter().map(|(slot, _)| slot.nonce).collect();
    assert_eq!(nonces, [7, 9]);
    assert_eq!(reader.attempt_hashes(bench.slot(7)), [B256::with_last_byte(7)]);
    assert!(reader.attempt_hashes(bench.slot(8)).is_empty());
    let ride = |nonce, released| Ride {
        slot: bench.slot(nonce),
        rail: Rail::Direct,
        released,
        is_final: released,
    };
    let rides = |sequence| reader.payment(payment(sequence).number).map(|known| known.rides);
    assert_eq!(rides(1), Some(vec![ride(7, true)]));
    assert_eq!(rides(2), Some(vec![ride(9, false)]));
    assert_eq!(rides(3), None);
    assert_eq!(reader.audit_head().map(|head| head.sequence), Some(3));
    let mut seen = Vec::new();
    reader.for_each_slot(|slot, entry| seen.push((slot, entry.payments.clone())));
    let number = |sequence| payment(sequence).number;
    assert_eq!(seen, [(bench.slot(7), vec![number(1)]), (bench.slot(9), vec![number(2)])]);
    let records = reader.records_since(2, 2).await.expect("readable");
    assert_eq!(
        records,
        [(2, JournalRecord::Attempt(attempt(&bench, 9, 2))), (3, release(&bench, 7, 1))]
    );
    assert!(reader.records_since(5, 10).await.expect("readable").is_empty());
}

async fn a_large_append_is_whole(site: &Site) {
    let bench = site.bench().await;
    let mut journal = site.open(&bench).await.expect("begun");
    let records: Vec<JournalRecord> =
        (0..2_500).map(|nonce| JournalRecord::Attempt(attempt(&bench, nonce, nonce))).collect();
    journal.append(&records).await.expect("appended");
    drop(journal);
    let reader = site.open(&bench).await.expect("it opens again").reader();
    assert_eq!(reader.lines(), 2_501);
    let found = reader.records_since(1, 2_500).await.expect("readable");
    assert!(found.iter().map(|(_, record)| record).eq(&records));
}

async fn only_a_keystore_that_has_not_signed_begins_a_journal(site: &Site) {
    let bench = site.bench().await;
    let id = site.open(&bench).await.expect("begun").id();
    assert_eq!(site.open(&bench).await.expect("it opens").id(), id);
    bench.keystore().mark_signed(id, NOW).expect("marked");
    assert_eq!(site.open(&bench).await.expect("it opens").id(), id);
    site.lose(&bench).await;
    let opened = site.open(&bench).await;
    assert!(matches!(opened, Err(JournalError::Missing { journal, .. }) if journal == id));
}

async fn the_journal_of_other_keys_is_refused(site: &Site) {
    let bench = site.bench().await;
    let first = site.open(&bench).await.expect("begun").id();
    site.lose(&bench).await;
    drop(site.open(&bench).await.expect("begun anew"));
    bench.keystore().mark_signed(first, NOW).expect("marked");
    let opened = site.open(&bench).await;
    assert!(
        matches!(opened, Err(JournalError::OtherJournal { expected, .. }) if expected == first)
    );
    if let Site::Sql(_) = site {
        let other = site.open(&Bench::new()).await;
        assert!(matches!(other, Err(JournalError::OtherKeystore { .. })), "{other:?}");
    }
}

use std::fs;
use std::io::Write;

use alloy_primitives::U256;
use portcullis_core::slot::{AttemptKind, Purpose, Rail};

use super::record::{read_line, write_line};
use super::*;
use crate::fixtures::{Bench, CHAIN, NOW, payment};
use crate::keystore::Keystore;

fn attempt(bench: &Bench, nonce: u64, sequence: u64) -> AttemptRecord {
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

fn release(bench: &Bench, nonce: u64, sequence: u64) -> JournalRecord {
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

fn head(sequence: u64) -> JournalRecord {
    let hash = B256::with_last_byte(4);
    JournalRecord::AuditHead(AuditHead { sequence, hash, at: NOW })
}

/// A journal with five lines: its beginning, two attempts, a release, an audit head.
fn filled(bench: &Bench) -> Journal {
    let mut journal = bench.journal();
    let attempts = [attempt(bench, 7, 1), attempt(bench, 9, 2)].map(JournalRecord::Attempt);
    journal.append(&attempts).expect("appended");
    journal.append(&[release(bench, 7, 1), head(3)]).expect("appended");
    journal
}

fn reopen(bench: &Bench) -> Result<Journal, JournalError> {
    Journal::open(&mut bench.keystore(), NOW)
}

#[test]
fn what_is_signed_again_is_the_same_attempt() {
    let bench = Bench::new();
    let mut journal = bench.journal();
    for _ in 0..2 {
        journal.append(&[JournalRecord::Attempt(attempt(&bench, 7, 1))]).expect("appended");
    }
    let reader = journal.reader();
    assert_eq!(reader.lines(), 3, "both lines are kept");
    assert_eq!(reader.attempt_hashes(bench.slot(7)), [B256::with_last_byte(7)]);
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let bench = Bench::new();
    let before = filled(&bench);
    let id = before.id();
    drop(before);
    let journal = bench.journal();
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
    let records = reader.records_since(2, 2).expect("readable");
    assert_eq!(
        records,
        [(2, JournalRecord::Attempt(attempt(&bench, 9, 2))), (3, release(&bench, 7, 1))]
    );
    assert!(reader.records_since(5, 10).expect("readable").is_empty());
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_broke() {
    let bench = Bench::new();
    drop(filled(&bench));
    let whole = fs::read(bench.journal_path()).expect("readable");
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    for length in last..whole.len() {
        fs::write(bench.journal_path(), &whole[..length]).expect("our own file");
        let mut journal = reopen(&bench).expect("a torn line is no damage");
        assert_eq!(journal.reader().lines(), 4, "cut at {length}");
        assert_eq!(fs::metadata(bench.journal_path()).expect("there").len(), last as u64);
        journal.append(&[head(4)]).expect("it goes on behind the last whole line");
        drop(journal);
        let journal = reopen(&bench).expect("the chain holds");
        assert_eq!(journal.reader().audit_head().map(|head| head.sequence), Some(4));
    }
}

#[test]
fn every_other_damage_is_refused() {
    let bench = Bench::new();
    drop(filled(&bench));
    let text = fs::read_to_string(bench.journal_path()).expect("it is text");
    let lines: Vec<&str> = text.lines().collect();
    let join = |lines: &[&str]| lines.join("\n") + "\n";
    let edited = |at: usize| {
        let mut copy: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        copy[at] = copy[at].replacen("\"at\":1", "\"at\":2", 1);
        assert_ne!(copy[at], lines[at]);
        copy.join("\n") + "\n"
    };
    let mut cases: Vec<(String, u64)> = (0..5).map(|at| (edited(at), at as u64)).collect();
    cases.push((join(&[lines[0], lines[2], lines[3], lines[4]]), 1));
    cases.push((join(&[lines[0], lines[1], lines[3], lines[2], lines[4]]), 2));
    cases.push((join(&[lines[0], lines[1], lines[1], lines[2]]), 2));
    cases.push((join(&lines[1..]), 0));
    cases.push((format!("{text}\n"), 5));
    cases.push((format!("{text}rubbish\n"), 5));
    cases.push((text.replace(' ', "").replacen("\"line\":2", "\"line\": 2", 1), 2));
    for (damaged, at) in cases {
        fs::write(bench.journal_path(), &damaged).expect("our own file");
        let opened = reopen(&bench);
        let Err(JournalError::Damaged { line, .. }) = opened else {
            panic!("line {at}: {opened:?}");
        };
        assert_eq!(line, at);
        let now = fs::read_to_string(bench.journal_path()).expect("it is text");
        assert_eq!(now, damaged, "nothing is cut from a damaged file");
    }
}

#[test]
fn a_line_made_to_fit_itself_does_not_fit_the_chain() {
    let bench = Bench::new();
    drop(filled(&bench));
    let text = fs::read_to_string(bench.journal_path()).expect("it is text");
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    let second = read_line(&lines[1]).expect("whole");
    let mut forged = Vec::new();
    let hash = write_line(&mut forged, 1, second.previous, &head(1));
    assert_ne!(hash, second.hash);
    lines[1] = forged[..forged.len() - 1].to_vec();
    let mut file = fs::File::create(bench.journal_path()).expect("our own file");
    for line in &lines {
        file.write_all(line).and_then(|()| file.write_all(b"\n")).expect("our own file");
    }
    let opened = reopen(&bench);
    assert!(matches!(opened, Err(JournalError::Damaged { line: 2, .. })), "{opened:?}");
}

#[test]
fn a_second_opener_is_refused() {
    let bench = Bench::new();
    let first = bench.journal();
    let second = reopen(&bench);
    assert!(matches!(second, Err(JournalError::Locked { .. })), "{second:?}");
    drop(first);
    assert!(reopen(&bench).is_ok());
}

#[test]
fn only_a_keystore_that_has_not_signed_begins_a_journal() {
    let bench = Bench::new();
    let mut stale = bench.keystore();
    let id = bench.journal().id();
    bench.keystore().mark_signed(id, NOW).expect("marked");
    assert_eq!(bench.journal().id(), id);
    let content = fs::read(bench.journal_path()).expect("readable");
    fs::write(bench.journal_path(), b"").expect("our own file");
    assert!(matches!(reopen(&bench), Err(JournalError::Damaged { .. })), "an emptied one");
    fs::remove_file(bench.journal_path()).expect("our own file");
    let opened = reopen(&bench);
    assert!(matches!(opened, Err(JournalError::Missing { journal, .. }) if journal == id));
    // Nor does one that was opened before it had signed.
    assert_eq!(stale.signed_with(), None);
    assert!(matches!(Journal::open(&mut stale, NOW), Err(JournalError::Missing { .. })));
    assert!(!bench.journal_path().exists());
    fs::write(bench.journal_path(), content).expect("our own file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(bench.journal_path(), mode).expect("our own file");
    assert_eq!(bench.journal().id(), id);
}

#[test]
fn another_journal_is_refused() {
    let (bench, other) = (Bench::new(), Bench::new());
    drop((bench.journal(), other.journal()));
    fs::copy(other.journal_path(), bench.journal_path()).expect("our own files");
    assert!(matches!(reopen(&bench), Err(JournalError::OtherKeystore { .. })));
    fs::remove_file(bench.journal_path()).expect("our own file");
    let first = bench.journal().id();
    fs::remove_file(bench.journal_path()).expect("our own file");
    drop(bench.journal());
    bench.keystore().mark_signed(first, NOW).expect("marked");
    let opened = reopen(&bench);
    assert!(
        matches!(opened, Err(JournalError::OtherJournal { expected, .. }) if expected == first)
    );
}

#[test]
fn a_beginning_that_a_crash_cut_short_begins_again() {
    let bench = Bench::new();
    drop(bench.journal());
    let whole = fs::read(bench.journal_path()).expect("readable");
    for length in [0, 1, whole.len() - 1] {
        fs::write(bench.journal_path(), &whole[..length]).expect("our own file");
        assert_eq!(bench.journal().reader().lines(), 1);
    }
}

#[test]
fn a_file_changed_underneath_takes_nothing_more() {
    let disturbances: [fn(&Bench); 4] = [
        |bench| fs::remove_file(bench.journal_path()).expect("our own file"),
        |bench| {
            let copy = bench.directory.path().join("copy");
            fs::copy(bench.journal_path(), &copy).expect("our own files");
            fs::rename(copy, bench.journal_path()).expect("our own files");
        },
        |bench| fs::write(bench.journal_path(), b"").expect("our own file"),
        |bench| {
            let mut file =
                fs::OpenOptions::new().append(true).open(bench.journal_path()).expect("ours");
            file.write_all(b"x").expect("our own file");
        },
    ];
    for disturb in disturbances {
        let bench = Bench::new();
        let mut journal = bench.journal();
        disturb(&bench);
        let appended = journal.append(&[head(1)]);
        assert!(matches!(appended, Err(JournalError::ChangedUnderneath { .. })), "{appended:?}");
        let appended = journal.append(&[head(1)]);
        assert!(matches!(appended, Err(JournalError::Broken { .. })), "{appended:?}");
        assert_eq!(journal.reader().audit_head(), None, "readers see only what is durable");
    }
}

#[test]
fn a_journal_that_others_can_read_is_refused() {
    let bench = Bench::new();
    drop(bench.journal());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(bench.journal_path(), mode).expect("our own file");
    assert!(matches!(reopen(&bench), Err(JournalError::OpenToOthers { mode: 0o644, .. })));
}

#[test]
fn the_journal_lies_beside_the_real_keystore() {
    let bench = Bench::new();
    let link = bench.directory.path().join("link.json");
    std::os::unix::fs::symlink(bench.path(), &link).expect("our own directory");
    let mut keystore =
        Keystore::open(&link, &crate::fixtures::passphrase(), None).expect("the keystore opens");
    drop(Journal::open(&mut keystore, NOW).expect("the journal opens"));
    assert!(bench.journal_path().exists());
}

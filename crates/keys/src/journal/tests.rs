//! What only a file can suffer; `exercise` holds what every journal has to do.

use std::fs;
use std::io::Write;

use futures::executor::block_on;

use super::exercise::{attempt, head, release};
use super::record::{read_line, write_line};
use super::*;
use crate::fixtures::{Bench, NOW};
use crate::keystore::Keystore;

fn append(journal: &mut Journal, records: &[JournalRecord]) -> Result<(), JournalError> {
    block_on(journal.append(records))
}

/// A journal with five lines: its beginning, two attempts, a release, an audit head.
fn filled(bench: &Bench) -> Journal {
    let mut journal = bench.journal();
    let attempts = [attempt(bench, 7, 1), attempt(bench, 9, 2)].map(JournalRecord::Attempt);
    append(&mut journal, &attempts).expect("appended");
    append(&mut journal, &[release(bench, 7, 1), head(3)]).expect("appended");
    journal
}

fn reopen(bench: &Bench) -> Result<Journal, JournalError> {
    Journal::open(&mut bench.keystore(), NOW)
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
        append(&mut journal, &[head(4)]).expect("it goes on behind the last whole line");
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
        let appended = append(&mut journal, &[head(1)]);
        assert!(matches!(appended, Err(JournalError::ChangedUnderneath { .. })), "{appended:?}");
        let appended = append(&mut journal, &[head(1)]);
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

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::fixtures::{Bench, CHAIN, CHEAP, NOW, passphrase, second_secret};

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("keys.json");
    (directory, path)
}

fn key(byte: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([byte; 32])
}

/// Changes the content and makes digest and MAC fit again, as somebody with the passphrase could.
fn rewrite(path: &Path, change: impl FnOnce(&mut Body)) {
    let keystore = Keystore::open(path, &passphrase(), None).expect("it opens before the change");
    let mut body = keystore.body.clone();
    change(&mut body);
    document::write(path, &body, &keystore.secrets.authentication).expect("it is written");
}

fn flip(sealed: &mut Sealed, at: usize) {
    let mut bytes = sealed.0.to_vec();
    bytes[at] ^= 1;
    sealed.0 = bytes.into();
}

#[test]
fn keys_survive_a_round_trip_with_and_without_a_second_secret() {
    for second in [None, Some(second_secret(9))] {
        let (_directory, path) = place();
        let mut keystore = Keystore::create(&path, &passphrase(), second.as_ref(), CHEAP, NOW)
            .expect("a new keystore");
        let generated = keystore.generate(CHAIN, Some("hot 1"), NOW).expect("generated");
        let imported = keystore.import(31_337, key(5), None, NOW).expect("imported");
        let opened = Keystore::open(&path, &passphrase(), second.as_ref()).expect("it opens");
        assert_eq!(opened.addresses(CHAIN), [generated]);
        assert_eq!(opened.addresses(31_337), [imported]);
        let expected = SigningKey::from_slice(&[5; 32]).expect("a valid scalar");
        assert_eq!(*opened.keys[&(31_337, imported)], expected);
        let listed = Keystore::list(&path).expect("no passphrase is needed");
        let of = |chain_id, address, label: Option<&str>| KeyInfo {
            chain_id,
            address,
            label: label.map(str::to_owned),
            created_at: NOW,
        };
        assert_eq!(listed, [of(CHAIN, generated, Some("hot 1")), of(31_337, imported, None)]);
    }
}

#[test]
fn the_file_is_private_and_tells_no_secret() {
    let (_directory, path) = place();
    let mut keystore = Keystore::create(&path, &passphrase(), None, CHEAP, NOW).expect("new");
    keystore.import(CHAIN, key(0x5c), None, NOW).expect("imported");
    let mode = fs::metadata(&path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&path).expect("it is text");
    assert!(!text.contains(&"5c".repeat(8)));
    assert!(!format!("{keystore:?}").contains("5c5c"));
    let names: Vec<_> = fs::read_dir(path.parent().expect("it has one"))
        .expect("it is readable")
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    assert_eq!(names, ["keys.json"], "no temporary file stays behind");
}

#[test]
fn a_missing_folder_is_named_where_a_keystore_is_to_be_made() {
    let (directory, _) = place();
    let folder = directory.path().join("payouts");
    let path = folder.join("keys.json");
    let created = Keystore::create(&path, &passphrase(), None, CHEAP, NOW).expect_err("no folder");
    let told = created.to_string();
    assert!(matches!(created, KeystoreError::FolderMissing { .. }), "{told}");
    assert!(told.contains(&format!("the folder {} does not exist", folder.display())), "{told}");
    assert!(!told.contains("portcullis keys new"), "{told}");
    // Whoever reads asks for the keystore, wherever the path ends.
    for looked in
        [Keystore::open(&path, &passphrase(), None).map(|_| ()), Keystore::list(&path).map(|_| ())]
    {
        assert!(matches!(looked, Err(KeystoreError::Missing { .. })), "{looked:?}");
    }
    fs::create_dir(&folder).expect("our own folder");
    Keystore::create(&path, &passphrase(), None, CHEAP, NOW).expect("it is there now");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let bench = Bench::new();
    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(bench.path(), fs::Permissions::from_mode(mode)).expect("our own file");
        let opened = Keystore::open(&bench.path(), &passphrase(), None).expect_err("refused");
        assert!(matches!(opened, KeystoreError::OpenToOthers { mode: found, .. } if found == mode));
        assert!(opened.to_string().contains("chmod 600"), "{opened}");
        let listed = Keystore::list(&bench.path());
        assert!(matches!(listed, Err(KeystoreError::OpenToOthers { .. })));
    }
}

#[test]
fn wrong_secrets_are_told_from_damage() {
    let bench = Bench::new();
    let other = SecretString::from("another");
    let opened = Keystore::open(&bench.path(), &other, None);
    assert!(matches!(opened, Err(KeystoreError::WrongPassphrase { .. })), "{opened:?}");
    let opened = Keystore::open(&bench.path(), &passphrase(), Some(&second_secret(1)));
    assert!(matches!(opened, Err(KeystoreError::SecondSecretUnneeded { .. })), "{opened:?}");
    let text = fs::read_to_string(bench.path()).expect("it is text");
    let halved = text.split_at(text.len() / 2).0.to_owned();
    let renamed = text.replace("\"chain_id\": 137", "\"chain_id\": 138");
    assert_ne!(renamed, text);
    for damaged in [halved, renamed, String::new(), "{}".to_owned(), text.replace("-keystore", "")]
    {
        fs::write(bench.path(), damaged).expect("our own file");
        for opened in [
            Keystore::open(&bench.path(), &passphrase(), None).map(|_| ()),
            Keystore::list(&bench.path()).map(|_| ()),
        ] {
            assert!(matches!(opened, Err(KeystoreError::Damaged { .. })), "{opened:?}");
        }
    }
    fs::write(bench.path(), text.replace("\"version\": 1", "\"version\": 2"))
        .expect("our own file");
    let opened = Keystore::open(&bench.path(), &passphrase(), None);
    assert!(matches!(opened, Err(KeystoreError::UnsupportedVersion { version: 2, .. })));
    fs::remove_file(bench.path()).expect("our own file");
    let opened = Keystore::open(&bench.path(), &passphrase(), None);
    assert!(matches!(opened, Err(KeystoreError::Missing { .. })));
}

#[test]
fn a_second_secret_is_needed_and_must_be_the_right_one() {
    let (_directory, path) = place();
    let second = second_secret(9);
    let mut keystore =
        Keystore::create(&path, &passphrase(), Some(&second), CHEAP, NOW).expect("new");
    keystore.generate(CHAIN, None, NOW).expect("generated");
    let opened = Keystore::open(&path, &passphrase(), None);
    assert!(matches!(opened, Err(KeystoreError::SecondSecretMissing { .. })), "{opened:?}");
    let opened = Keystore::open(&path, &passphrase(), Some(&second_secret(8)));
    assert!(matches!(opened, Err(KeystoreError::SecondSecretWrong { .. })), "{opened:?}");
    let opened = Keystore::open(&path, &SecretString::from("another"), Some(&second));
    assert!(matches!(opened, Err(KeystoreError::WrongPassphrase { .. })), "{opened:?}");
    // The passphrase's key alone does not open the data key.
    let (id, entry) = (keystore.body.id, &keystore.body.keys[0]);
    let without = FileSecrets { second: None, ..keystore.secrets };
    assert!(without.open_entry(id, entry).is_none());
}

#[test]
fn nobody_without_the_passphrase_changes_the_file_unnoticed() {
    let bench = Bench::new();
    let mut keystore = bench.keystore();
    keystore.mark_signed(JournalId::random().expect("random bytes"), NOW).expect("marked");
    // The digest is made to fit; the MAC needs the passphrase.
    let mut body = keystore.body.clone();
    body.has_signed = None;
    document::write(&bench.path(), &body, &key(0)).expect("our own file");
    assert_eq!(Keystore::list(&bench.path()).expect("whole").len(), 2);
    let opened = Keystore::open(&bench.path(), &passphrase(), None);
    assert!(matches!(opened, Err(KeystoreError::Damaged { .. })), "{opened:?}");
}

#[test]
fn every_ciphertext_is_bound_to_its_entry() {
    let changes: [fn(&mut Body); 8] = [
        |body| flip(&mut body.keys[0].private_key, 20),
        |body| flip(&mut body.keys[0].data_key, 20),
        |body| flip(&mut body.keys[0].data_key, 0),
        |body| body.keys[0].chain_id = 1,
        |body| {
            let (one, other) = (body.keys[0].address, body.keys[1].address);
            (body.keys[0].address, body.keys[1].address) = (other, one);
        },
        |body| {
            let other = body.keys[1].private_key.clone();
            body.keys[0].private_key = other;
        },
        |body| {
            let other = body.keys[1].clone();
            body.keys[0].private_key = other.private_key;
            body.keys[0].data_key = other.data_key;
        },
        |body| body.keys[0].private_key = Sealed(vec![1, 2, 3].into()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let bench = Bench::new();
        rewrite(&bench.path(), change);
        let opened = Keystore::open(&bench.path(), &passphrase(), None);
        assert!(matches!(opened, Err(KeystoreError::Damaged { .. })), "{at}: {opened:?}");
    }
    let bench = Bench::new();
    rewrite(&bench.path(), |body| body.keys[0].label = Some("renamed".to_owned()));
    assert!(Keystore::open(&bench.path(), &passphrase(), None).is_ok(), "rewriting itself is fine");
}

#[test]
fn equal_keys_have_different_ciphertexts() {
    let (one, other) = (Bench::new(), Bench::new());
    let (one, other) = (one.keystore().body, other.keystore().body);
    assert_eq!(one.keys[0].address, other.keys[0].address);
    assert_ne!(one.keys[0].private_key, other.keys[0].private_key);
    assert_ne!(one.keys[0].data_key, other.keys[0].data_key);
    assert_ne!(one.salt, other.salt);
}

#[test]
fn what_is_no_key_and_what_is_there_already_is_refused() {
    let bench = Bench::new();
    let mut keystore = bench.keystore();
    for bytes in [[0; 32], [0xff; 32]] {
        let imported = keystore.import(CHAIN, Zeroizing::new(bytes), None, NOW);
        let told = imported.expect_err("no scalar of the curve").to_string();
        assert!(told.starts_with("what was given is not a private key"), "{told}");
    }
    for chain_id in [CHAIN, 1] {
        let imported = keystore.import(chain_id, key(3), None, NOW);
        assert!(matches!(imported, Err(KeystoreError::KeyExists { chain_id: CHAIN, .. })));
    }
    for label in ["", "a\nb", &"x".repeat(65)] {
        let generated = keystore.generate(CHAIN, Some(label), NOW);
        assert!(matches!(generated, Err(KeystoreError::InvalidLabel)), "{label:?}");
    }
    assert_eq!(Keystore::list(&bench.path()).expect("whole").len(), 2);
    let again = Keystore::create(&bench.path(), &passphrase(), None, CHEAP, NOW);
    assert!(matches!(again, Err(KeystoreError::Exists { .. })));
    let (_directory, path) = place();
    let empty = Keystore::create(&path, &SecretString::from(""), None, CHEAP, NOW);
    assert!(matches!(empty, Err(KeystoreError::EmptyPassphrase)));
    for cost in [
        KdfCost { memory_kib: u32::MAX, ..CHEAP },
        KdfCost { memory_kib: 1, ..CHEAP },
        KdfCost { iterations: 0, ..CHEAP },
    ] {
        let costly = Keystore::create(&path, &passphrase(), None, cost, NOW);
        assert!(matches!(costly, Err(KeystoreError::KdfCost { .. })), "{costly:?}");
    }
}

#[test]
fn two_holders_of_one_keystore_do_not_lose_each_others_changes() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.keystore(), bench.keystore());
    let first = one.generate(CHAIN, None, NOW).expect("generated");
    let journal = JournalId::random().expect("random bytes");
    other.mark_signed(journal, NOW).expect("marked");
    let second = one.generate(CHAIN, None, NOW).expect("generated");
    let opened = bench.keystore();
    assert_eq!(opened.signed_with(), Some(journal));
    let addresses = opened.addresses(CHAIN);
    assert!(addresses.contains(&first) && addresses.contains(&second));
    let stranger = JournalId::random().expect("random bytes");
    let marked = one.mark_signed(stranger, NOW);
    assert!(matches!(marked, Err(KeystoreError::OtherJournal { .. })), "{marked:?}");
    let replacement = Bench::new();
    fs::copy(replacement.path(), bench.path()).expect("our own files");
    let generated = one.generate(CHAIN, None, NOW);
    assert!(matches!(generated, Err(KeystoreError::Replaced { .. })), "{generated:?}");
}

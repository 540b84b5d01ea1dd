//! `backup`, `restore`, `reconcile` and `doctor`, as far as they go while no node answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::administrate;
use crate::installation::{Installation, run, text};

/// An installation that has served, and the secret of its API key.
fn served() -> (Installation, String) {
    let installation = Installation::new();
    let secret = administrate(&installation);
    let server = installation.serve(&["--role", "api"]);
    server.deposit(&secret, "d-1", "10");
    assert_eq!(server.stop().0, Some(0));
    (installation, secret)
}

fn database(installation: &Installation) -> PathBuf {
    installation.root().join("data/portcullis.db")
}

/// A backup in a file of that name beside the configuration.
fn backup(installation: &Installation, name: &str) -> String {
    let file = installation.root().join(name).display().to_string();
    let told = installation.json(&["backup", &file]);
    assert_eq!(told["file"], file);
    file
}

/// The reasons of the halts in force.
fn halts(installation: &Installation) -> Vec<String> {
    let listed = installation.json(&["admin", "halt", "list"]);
    let halts = listed["halts"].as_array().expect("a list");
    halts.iter().map(|halt| halt["reason"].as_str().expect("a reason").to_owned()).collect()
}

/// The names of what lies in the data directory.
fn files(installation: &Installation) -> Vec<String> {
    let entries = fs::read_dir(installation.root().join("data")).expect("readable");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("readable"))).collect();
    names.sort();
    names
}

/// What a command that fails with JSON says on standard output and on standard error.
fn failed(installation: &Installation, arguments: &[&str], code: i32) -> (Value, Value) {
    let arguments = [arguments, &["--json"]].concat();
    let output = run(Some(&installation.config()), &arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    let errors = text(&output.stderr);
    let error = errors.lines().last().expect("an error");
    let read = |line: &str| serde_json::from_str(line).expect("JSON");
    (read(&text(&output.stdout)), read(error))
}

#[test]
fn a_backup_is_private_and_overwrites_nothing() {
    let (installation, _) = served();
    let file = backup(&installation, "one.db");
    let metadata = fs::metadata(&file).expect("written");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).expect("readable");
    let told = installation.refused(&["backup", &file], 5);
    assert!(told.contains(&file) && told.contains("exists"), "{told}");
    assert_eq!(fs::read(&file).expect("readable"), before);

    let second = installation.root().join("two.db");
    let output = run(Some(&installation.config()), &["backup", &second.display().to_string()]);
    let told = text(&output.stdout);
    for missing in ["keystore", "journal", "sealing key", "configuration"] {
        assert!(told.contains(missing), "{missing}: {told}");
    }
    let nowhere = installation.root().join("nowhere/three.db").display().to_string();
    let told = installation.refused(&["backup", &nowhere], 5);
    assert!(told.contains(&nowhere), "{told}");
}

#[test]
fn a_restored_database_takes_nothing_in_and_keeps_the_replaced_one() {
    let (installation, secret) = served();
    let file = backup(&installation, "one.db");
    let server = installation.serve(&["--role", "api"]);
    assert_eq!(server.withdraw(&secret).0, 202, "after the backup");
    let before = fs::read(database(&installation)).expect("readable");
    let told = installation.refused(&["restore", &file], 5);
    assert!(told.contains("a process serves from") && told.contains("stop it first"), "{told}");
    assert_eq!(fs::read(database(&installation)).expect("readable"), before);
    assert_eq!(server.stop().0, Some(0));

    let told = installation.json(&["restore", &file]);
    assert_eq!(told["database"], database(&installation).display().to_string());
    assert_eq!(
        (&told["epoch"], &told["next"]),
        (&json!(2), &json!("portcullis reconcile --repair"))
    );
    let kept = told["replaced_kept_as"].as_str().expect("a file");
    assert!(Path::new(kept).exists() && kept.contains("portcullis.db.replaced-"), "{kept}");
    assert_eq!(halts(&installation), ["restore"]);
    let server = installation.serve(&["--role", "api"]);
    let (status, answer) = server.withdraw(&secret);
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("INTAKE_CLOSED")));
    assert_eq!(server.stop().0, Some(0));
    assert_eq!(installation.json(&["restore", &file])["epoch"], 3, "above every known one");

    // Nothing in its place, as after the loss of a disk.
    fs::remove_file(database(&installation)).expect("ours");
    let told = installation.json(&["restore", &file]);
    assert_eq!((&told["replaced_kept_as"], &told["epoch"]), (&Value::Null, &json!(2)));
}

#[test]
fn what_lies_in_the_data_directory_is_for_its_owner_alone() {
    let (installation, _) = served();
    let file = backup(&installation, "one.db");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let server = installation.serve(&["--role", "api"]);
    let names = files(&installation);
    for name in ["api.lock", "portcullis.db", "portcullis.db-shm", "portcullis.db-wal"] {
        assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
        assert_eq!(mode(&installation.root().join("data").join(name)), 0o600, "{name}");
    }
    assert_eq!(server.stop().0, Some(0));
    // Whoever could read the backup on its way here.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
    installation.json(&["restore", &file]);
    assert_eq!(mode(&database(&installation)), 0o600);
}

#[test]
fn what_is_no_backup_of_this_deployment_is_not_restored() {
    let (installation, _) = served();
    let before = fs::read(database(&installation)).expect("readable");
    let names = files(&installation);
    let refused = |file: &str, code: i32, part: &str| {
        let told = installation.refused(&["restore", file], code);
        assert!(told.contains(part), "{part}: {told}");
        assert_eq!(fs::read(database(&installation)).expect("readable"), before);
        assert_eq!(files(&installation), names, "nothing is left of {file}");
    };
    refused(&installation.root().join("none.db").display().to_string(), 4, "none.db");
    refused(&installation.config().display().to_string(), 5, "is no database");
    refused(&installation.root().display().to_string(), 4, "cannot read");

    let fresh = Installation::new();
    let never_served = backup(&fresh, "fresh.db");
    refused(&never_served, 5, "never served");
    let (other, _) = served();
    let others = backup(&other, "other.db");
    refused(&others, 3, "seal.key_file");
    // With the same key it is still another deployment's.
    for target in [&other, &fresh] {
        let key = "secrets/seal.key";
        fs::copy(installation.root().join(key), target.root().join(key)).expect("writable");
    }
    administrate(&fresh);
    assert_eq!(fresh.serve(&["--role", "api"]).stop().0, Some(0));
    let foreign = backup(&fresh, "foreign.db");
    refused(&foreign, 5, "is of deployment");
    refused(&foreign, 5, "move that one away");
}

#[test]
fn a_backup_that_is_put_back_by_hand_is_halted_and_never_mixed() {
    let (installation, secret) = served();
    let file = backup(&installation, "one.db");
    let database = database(&installation);
    let log = installation.root().join("data/portcullis.db-wal");
    fs::copy(&file, &database).expect("writable");
    fs::write(&log, b"of another database").expect("writable");
    let before = fs::read(&database).expect("readable");
    let elsewhere = installation.root().join("two.db").display().to_string();
    for words in [
        &["serve", "--role", "api", "--listen", "127.0.0.1:0", "--log-level", "error"][..],
        &["reconcile", "--repair"],
        &["doctor"],
        &["admin", "halt", "list"],
        &["backup", &elsewhere],
    ] {
        let told = installation.refused(words, 5);
        assert!(told.contains("is a backup") && told.contains("portcullis.db-wal"), "{told}");
    }
    assert_eq!(fs::read(&database).expect("readable"), before);
    assert_eq!(fs::read(&log).expect("readable"), b"of another database");

    fs::remove_file(&log).expect("ours");
    let server = installation.serve(&["--role", "api"]);
    let (status, answer) = server.withdraw(&secret);
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("INTAKE_CLOSED")));
    assert_eq!(server.stop().0, Some(0));
    assert_eq!(halts(&installation), ["restore"]);

    // A restore does all of it, and leaves the files that it found as they were.
    fs::copy(&file, &database).expect("writable");
    fs::write(&log, b"of another database").expect("writable");
    let told = installation.json(&["restore", &file]);
    let kept = told["replaced_kept_as"].as_str().expect("a file");
    assert_eq!(fs::read(kept).expect("kept"), before);
    assert_eq!(fs::read(format!("{kept}-wal")).expect("kept"), b"of another database");
}

#[test]
fn reconcile_and_doctor_say_what_they_could_not_see() {
    let (installation, secret) = served();
    let file = backup(&installation, "one.db");
    fs::copy(&file, database(&installation)).expect("writable");
    let (told, error) = failed(&installation, &["reconcile", "--repair"], 1);
    assert_eq!(error["error"]["code"], "FAILED");
    assert_eq!((&told["repair"], &told["halts_lifted"]), (&json!(true), &json!([])));
    assert_ne!(told["remaining"], 0);
    let differences = told["differences"].as_array().expect("a list");
    let undecided = differences.iter().find(|it| it["kind"] == "undecided").expect("no node");
    assert_eq!(undecided["repaired"], false);
    assert_eq!(halts(&installation), ["restore"], "the copy was recognised, and stays halted");
    let output = run(Some(&installation.config()), &["reconcile"]);
    let lines = text(&output.stdout);
    assert!(lines.contains("undecided: network localhost"), "{lines}");
    assert!(text(&output.stderr).contains("differences remain"), "{}", text(&output.stderr));

    let (told, error) = failed(&installation, &["doctor"], 1);
    assert_eq!(error["error"]["code"], "FAILED");
    let checks = told["checks"].as_array().expect("a list");
    let check = |what: &str| {
        let check = checks
            .iter()
            .find(|check| check["what"].as_str().is_some_and(|it| it.starts_with(what)));
        check.unwrap_or_else(|| panic!("{what}: {told}"))
    };
    let verdict = |what: &str| check(what)["verdict"].clone();
    assert_eq!((verdict("halt "), verdict("localhost: provider")), (json!("fail"), json!("fail")));
    assert_eq!((verdict("ledger"), verdict("audit log")), (json!("ok"), json!("ok")));
    for (what, to_do) in [
        ("localhost: provider", "correct the url of its [[chain.provider]]"),
        ("localhost: clock", "mend the providers above or add one"),
    ] {
        assert_eq!(verdict(what), "fail");
        assert!(check(what)["detail"].to_string().contains(to_do), "{}", check(what));
    }
    assert_eq!(verdict("keystore"), "warn");
    let failures = checks.iter().filter(|check| check["verdict"] == "fail").count();
    assert_eq!(told["failures"], failures);
    let output = run(Some(&installation.config()), &["doctor"]);
    assert!(text(&output.stdout).contains("FAIL  localhost: provider"), "{}", text(&output.stdout));

    // The mark has become the halt: once that is answered, a start raises no other.
    let id = installation.json(&["admin", "halt", "list"])["halts"][0]["id"].to_string();
    installation.json(&["admin", "halt", "clear", &id, "--reason", "the node was down"]);
    let server = installation.serve(&["--role", "api"]);
    assert_eq!(server.withdraw(&secret).0, 202);
}

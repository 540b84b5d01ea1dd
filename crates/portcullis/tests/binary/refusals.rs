//! What stops a start or a command before it does harm.

use std::io::PipeWriter;
use std::process::Stdio;

use serde_json::Value;

use crate::administrate;
use crate::fake_node::empty_node;
use crate::installation::{Installation, TOKEN, asset_add, command, text};

const OTHER_KEY: &str = "5555555555555555555555555555555555555555555555555555555555555555";

#[test]
fn a_sealing_key_that_fits_nothing_stops_the_start() {
    let installation = Installation::new();
    administrate(&installation);
    let key_file = installation.root().join("secrets/seal.key");
    let old_file = installation.root().join("secrets/seal-1.key");
    std::fs::copy(&key_file, &old_file).expect("readable");
    std::fs::write(&key_file, OTHER_KEY).expect("writable");
    let serve = ["serve", "--role", "api", "--listen", "127.0.0.1:0", "--log-level", "error"];
    let told = installation.refused(&serve, 3);
    for part in ["seal.key_file = ", "seal.key_id", "[[seal.previous]]"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains(OTHER_KEY), "{told}");

    // What it asks for: the new key with a number of its own, the old one among the previous.
    let text = std::fs::read_to_string(installation.config()).expect("readable");
    let rotated = text.replace(
        "key_file = \"secrets/seal.key\"\nkey_id = 1\n",
        "key_file = \"secrets/seal.key\"\nkey_id = 2\n[[seal.previous]]\nkey_id = 1\n\
         key_file = \"secrets/seal-1.key\"\n",
    );
    assert_ne!(text, rotated);
    std::fs::write(installation.config(), rotated).expect("writable");
    let server = installation.serve(&["--role", "api"]);
    assert_eq!(server.ask("GET", "/readyz", None, None).map(|(status, _)| status), Some(200));
}

#[test]
fn a_wrong_command_line_is_json_for_a_machine() {
    let installation = Installation::new();
    for words in [
        &["serve", "--rol", "api", "--json"][..],
        &["--json", "admin", "asset", "add"],
        &["nonsense", "--json"],
        &["serve", "--listen", "here", "--json"],
    ] {
        let told = installation.refused(words, 2);
        let error: Value = serde_json::from_str(&told)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {told}"));
        assert_eq!(error["error"]["code"], "USAGE");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let told = installation.refused(&["nonsense"], 2);
    assert!(told.starts_with("error: "), "{told}");
}

#[test]
fn a_secret_that_everybody_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let installation = Installation::new();
    let key_file = installation.root().join("secrets/seal.key");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&key_file, open).expect("our own file");
    let told = installation.refused(&["config", "check"], 3);
    assert!(told.contains("seal.key_file") && told.contains("chmod 600"), "{told}");
}

#[test]
fn keys_without_a_folder_or_a_key_are_told_what_is_wrong() {
    let installation = Installation::new();
    let folder = installation.root().join("keys");
    std::fs::remove_dir(&folder).expect("it is empty");
    let told = installation.refused(&["keys", "new", "--network", "localhost"], 5);
    let expected = format!("error: the folder {} does not exist", folder.display());
    assert!(told.starts_with(&expected) && !told.contains("portcullis keys new"), "{told}");

    let file = installation.root().join("key.hex").display().to_string();
    std::fs::write(&file, "garbage").expect("writable");
    let import = ["keys", "import", "--network", "localhost", "--file", &file];
    let told = installation.refused(&import, 2);
    let expected = format!("error: --file {file}: what was given is not a private key: give 32");
    assert!(told.starts_with(&expected) && !told.contains("garbage"), "{told}");
}

#[test]
fn a_journal_whose_server_is_away_is_unavailable() {
    let installation = Installation::new();
    installation.json(&["keys", "new", "--network", "localhost"]);
    let mut text = std::fs::read_to_string(installation.config()).expect("readable");
    // Port 9 is nobody's: connections are refused.
    text.push_str(
        "\n[signer.journal]\nkind = \"mysql\"\nurl = \"mysql://app:hunter2@127.0.0.1:9/journal\"\n",
    );
    std::fs::write(installation.config(), text).expect("writable");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--log-level", "error"];
    let told = installation.refused(&serve, 4);
    assert!(told.contains("the signer's journal") && told.contains("refused"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_token_without_a_contract_is_refused_unless_forced() {
    let installation = Installation::with_node(empty_node());
    let mut words = asset_add("USDC", TOKEN, "6", ["1", "50"]);
    let told = installation.refused(&words, 5);
    assert!(told.contains("there is no contract at 0x5FbDB"), "{told}");
    let listed = installation.json(&["admin", "asset", "list"]);
    assert_eq!(listed["assets"].as_array().map(Vec::len), Some(0));
    words.push("--force");
    let added = installation.json(&words);
    assert!(added["warnings"].to_string().contains("no contract"), "{added}");
}

#[test]
fn a_process_that_does_not_sign_is_refused_what_opens_the_keys() {
    let installation = Installation::new();
    administrate(&installation);
    let text = std::fs::read_to_string(installation.config()).expect("readable");
    let strict = text.replace("[server]\n", "[server]\nstrict_credentials = true\n");
    assert_ne!(text, strict);
    std::fs::write(installation.config(), &strict).expect("writable");
    let serve = ["serve", "--role", "api,processor", "--listen", "127.0.0.1:0"];
    let told = installation.refused(&serve, 3);
    for part in ["signer.keystore", "signer.passphrase_file", "only a process with the signer role"]
    {
        assert!(told.contains(part), "{told}");
    }
    let without = strict.replace("\npassphrase_file = ", "\n# passphrase_file = ");
    let without = without.replace("\nkeystore = ", "\n# keystore = ");
    std::fs::write(installation.config(), without).expect("writable");
    let server = installation.serve(&["--role", "api"]);
    assert_eq!(server.ask("GET", "/readyz", None, None).map(|(status, _)| status), Some(200));
}

#[test]
fn a_redis_that_is_not_there_stops_nothing_and_is_named() {
    let installation = Installation::new();
    administrate(&installation);
    let mut text = std::fs::read_to_string(installation.config()).expect("readable");
    // Port 9 is nobody's: connections are refused.
    text.insert_str(0, "[redis]\nurl = \"redis://127.0.0.1:9/\"\n");
    std::fs::write(installation.config(), text).expect("writable");
    let server = installation.serve(&["--role", "api"]);
    let began = std::time::Instant::now();
    loop {
        let (status, body) = server.ask("GET", "/readyz", None, None).expect("an answer");
        assert_eq!(status, 200, "{body}");
        let is_named = body.to_string().contains("Redis does not answer");
        if is_named {
            break;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{body}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn queues_need_a_type_and_limits_may_come_from_the_configuration() {
    let installation = Installation::new();
    let told = installation.refused(&["queues", "init"], 5);
    assert!(told.contains("queue.type is local"), "{told}");
    let add = "admin asset add --network localhost --symbol POL --token native --decimals 18";
    let mut words: Vec<&str> = add.split_whitespace().collect();
    let told = installation.refused(&words, 2);
    assert!(told.contains("--min is needed, or asset.min"), "{told}");
    let text = std::fs::read_to_string(installation.config()).expect("readable");
    let limits = "[asset]\nmin = \"0.5\"\nmax = \"7\"\ndaily_max = \"20\"\n";
    std::fs::write(installation.config(), format!("{limits}{text}")).expect("writable");
    words.extend(["--max", "9"]);
    let added = installation.json(&words);
    for (key, value) in [("min", "0.5"), ("max", "9"), ("daily_max", "20")] {
        assert_eq!(added[key], value, "{key}");
    }
}

#[test]
fn the_configuration_says_where_it_came_from_and_describes_itself() {
    let installation = Installation::new();
    let printed = installation.json(&["config", "print"]);
    assert_eq!(printed["sources"]["server.listen"], "the configuration file");
    assert_eq!(printed["sources"]["server.drain_ms"], "default");
    let reference = installation.json(&["config", "reference"]);
    assert!(
        reference["reference"]
            .as_str()
            .is_some_and(|text| text.contains("queue.prefix") || text.contains("[queue]"))
    );
    let schema = installation.json(&["config", "schema"]);
    assert_eq!(schema["properties"]["redis"]["properties"]["timeout_ms"]["maximum"], 5_000);
}

/// What is written there, nobody reads.
fn closed_pipe() -> PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let installation = Installation::new();
    for words in [
        &["config", "reference"][..],
        &["config", "print"],
        &["config", "schema", "--json"],
        &["admin", "tenant", "list"],
        &["--help"],
    ] {
        let mut asked = command(Some(&installation.config()));
        let output = asked.args(words).stdout(closed_pipe()).output().expect("the binary runs");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {told}");
        assert!(!told.contains("panic"), "{words:?}: {told}");
    }
    // What failed keeps its exit code where nobody hears of it.
    for words in [&["queues", "init"][..], &["queues", "init", "--json"]] {
        let mut asked = command(Some(&installation.config()));
        asked.args(words).stdout(Stdio::null()).stderr(closed_pipe());
        let status = asked.status().expect("the binary runs");
        assert_eq!(status.code(), Some(5), "{words:?}");
    }
}

//! What stops a start or a command before it does harm.

use serde_json::Value;

use crate::administrate;
use crate::fake_node::empty_node;
use crate::installation::Installation;

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
fn a_token_without_a_contract_is_refused_unless_forced() {
    let installation = Installation::with_node(empty_node());
    let mut words: Vec<&str> =
        "admin asset add --network localhost --symbol USDC --decimals 6 --min 1 \
                                --max 50 --token 0x5FbDB2315678afecb367f032d93F642f64180aa3"
            .split_whitespace()
            .collect();
    let told = installation.refused(&words, 5);
    assert!(told.contains("there is no contract at 0x5FbDB"), "{told}");
    let listed = installation.json(&["admin", "asset", "list"]);
    assert_eq!(listed["assets"].as_array().map(Vec::len), Some(0));
    words.push("--force");
    let added = installation.json(&words);
    assert!(added["warnings"].to_string().contains("no contract"), "{added}");
}

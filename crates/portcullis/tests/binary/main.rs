//! The binary as a user runs it: a new installation, keys, administration, and a server whose node is down.

mod copies;
mod dead_letter;
mod fake_node;
mod held_keys;
mod installation;
mod mariadb;
mod queues;
mod rates;
mod refusals;

use std::io::Write;
use std::time::Instant;

use portcullis_testkit::RedisServer;
use serde_json::{Value, json};

use crate::fake_node::fake_node;
use crate::installation::{
    Installation, STOP_BOUND, TOKEN, asset_add, command, free_address, run, text,
};

/// A tenant with a key and the native asset; returns the secret.
pub(crate) fn administrate(installation: &Installation) -> String {
    let tenant = installation.json(&["admin", "tenant", "add", "acme"]);
    let again = installation.json(&["admin", "tenant", "add", "acme"]);
    assert_eq!(tenant["id"], again["id"], "the same name is the same tenant");
    let scopes = "withdrawals:read,withdrawals:write,deposits:write,accounts:read";
    let key = installation.json(&[
        "admin", "api-key", "add", "--tenant", "acme", "--name", "test", "--scopes", scopes,
    ]);
    let asset = installation.json(&asset_add("POL", "native", "18", ["0.01", "100"]));
    assert_eq!(asset["max"], "100");
    assert_eq!(asset["warnings"], json!([]));
    key["secret"].as_str().expect("shown once").to_owned()
}

#[test]
fn init_writes_private_files_and_overwrites_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let installation = Installation::new();
    let root = installation.root();
    for file in ["portcullis.toml", "secrets/seal.key", "secrets/keystore-passphrase"] {
        let mode = std::fs::metadata(root.join(file)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let before = std::fs::read(root.join("secrets/seal.key")).expect("readable");
    assert_eq!(installation.json(&["config", "check"])["ok"], true);
    let refused = installation.refused(&["init", "--dir", &root.display().to_string()], 5);
    assert!(refused.contains("exists already"), "{refused}");
    assert_eq!(std::fs::read(root.join("secrets/seal.key")).expect("readable"), before);
}

#[test]
fn a_wrong_configuration_stops_the_start_and_is_named() {
    let installation = Installation::new();
    let mut file =
        std::fs::OpenOptions::new().append(true).open(installation.config()).expect("writable");
    file.write_all(b"[loggg]\nlevel = 1\n").expect("writable");
    let told = installation.refused(&["serve"], 3);
    assert!(
        told.contains("loggg (the configuration file) is unknown: did you mean log?"),
        "{told}"
    );
    let told = installation.refused(&["serve", "--json"], 3);
    let error: Value = serde_json::from_str(&told).expect("JSON for a machine");
    assert_eq!(error["error"]["code"], "CONFIGURATION");
}

#[test]
fn keys_are_made_imported_and_listed_and_never_shown() {
    let installation = Installation::new();
    assert_eq!(installation.json(&["keys", "list"])["keys"], json!([]));
    let made = installation.json(&[
        "keys",
        "new",
        "--network",
        "localhost",
        "--count",
        "2",
        "--label",
        "payouts",
    ]);
    assert_eq!(made["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["keys"][0]["label"], "payouts");

    // The private key 1, whose address is known everywhere.
    let private_key = format!("{:064x}", 1);
    let file = installation.root().join("key.hex");
    std::fs::write(&file, format!("0x{private_key}\n")).expect("writable");
    let file = file.display().to_string();
    let import = ["keys", "import", "--network", "localhost", "--file", &file];
    let imported = installation.json(&import);
    let address = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
    assert_eq!(imported["keys"][0]["address"], address);
    let refused = installation.refused(&import, 5);
    assert!(!refused.contains(&private_key), "{refused}");

    let listed = run(Some(&installation.config()), &["keys", "list"]);
    let shown = text(&listed.stdout);
    assert!(shown.contains(address) && shown.contains("localhost"), "{shown}");
    assert!(!shown.contains(&private_key), "{shown}");
    let stored = std::fs::read_to_string(installation.root().join("keys/keystore.json"));
    assert!(!stored.expect("readable").contains(&private_key));
}

#[test]
fn administration_answers_machines_and_refuses_what_is_wrong() {
    let installation = Installation::new();
    let secret = administrate(&installation);
    let keys = installation.json(&["admin", "api-key", "list", "--tenant", "acme"]);
    assert!(!keys.to_string().contains(&secret), "a secret is shown once");
    let id = keys["keys"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(installation.json(&["admin", "api-key", "revoke", &id])["revoked"], true);
    installation.refused(&["admin", "api-key", "revoke", &id], 5);

    let told = installation.refused(
        &["admin", "api-key", "add", "--tenant", "acmee", "--name", "x", "--scopes", "a"],
        2,
    );
    assert!(told.contains("withdrawals:read"), "{told}");
    let told = installation.refused(&["admin", "api-key", "list", "--tenant", "nobody"], 5);
    assert!(told.contains("there are acme"), "{told}");

    let added = installation.json(&asset_add("USDC", TOKEN, "6", ["1", "50"]));
    let warnings = added["warnings"].to_string();
    assert!(warnings.contains("could not be compared"), "the node is down: {warnings}");
    assert!(warnings.contains("no [[chain.cap]]"), "{warnings}");
    let told = installation.refused(&asset_add("USDC", TOKEN, "18", ["1", "50"]), 5);
    assert!(told.contains("registered with other values"), "{told}");
    let listed = installation.json(&["admin", "asset", "list"]);
    assert_eq!(listed["assets"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_schema_is_shown_and_brought_up_to_date() {
    let installation = Installation::new();
    let before = installation.json(&["migrate", "status"]);
    assert_eq!(before["current"], 0);
    assert_ne!(before["pending"], 0);
    assert_eq!(installation.json(&["migrate"])["applied"], before["pending"]);
    let after = installation.json(&["migrate", "status"]);
    assert_eq!((&after["pending"], &after["current"]), (&json!(0), &after["known"]));
}

#[test]
fn a_server_accepts_while_its_node_is_down_and_stops_gracefully() {
    let installation = Installation::new();
    installation.json(&["keys", "new", "--network", "localhost"]);
    let secret = administrate(&installation);
    let server = installation.serve(&[]);

    let (status, ready) = server.ask("GET", "/readyz", None, None).expect("an answer");
    assert_eq!(status, 200, "a node that is down stops no intake: {ready}");

    server.deposit(&secret, "d-1", "10");
    let (status, answer) = server.withdraw(&secret);
    assert_eq!(status, 202, "{answer}");
    let (status, again) = server.withdraw(&secret);
    assert!((200..300).contains(&status), "{status} {again}");
    assert_eq!(answer["id"], again["id"]);
    let (status, metrics) = server.ask("GET", "/metrics", None, None).expect("an answer");
    assert_eq!(status, 200);
    assert!(metrics.to_string().contains("portcullis_http_requests_total"), "{metrics}");

    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("every line is JSON");
        for name in ["timestamp", "level", "service", "correlationId", "message"] {
            assert!(line[name].is_string(), "{name} is missing: {line}");
        }
    }
    assert!(!log.contains(&secret), "a secret is in the log");

    let server = installation.serve(&[]);
    let path = format!("/v1/withdrawals/{}", answer["id"].as_str().expect("an id"));
    let (status, found) = server.call("GET", &path, &secret, &json!({}));
    assert_eq!((status, &found["id"]), (200, &answer["id"]), "it survives the restart");
}

#[test]
fn a_second_process_with_all_roles_on_one_file_is_refused() {
    let installation = Installation::new();
    installation.json(&["keys", "new", "--network", "localhost"]);
    let first = installation.serve(&[]);
    let told = installation.refused(&["serve", "--listen", "127.0.0.1:0"], 5);
    assert!(told.contains("one such process serves an embedded database"), "{told}");
    let (status, _) = first.ask("GET", "/readyz", None, None).expect("the first goes on");
    assert_eq!(status, 200);
    assert_eq!(first.stop().0, Some(0));
    assert_eq!(installation.serve(&[]).stop().0, Some(0), "what it held is free again");
}

#[test]
fn a_role_alone_serves_probes_and_no_api() {
    let installation = Installation::new();
    let server = installation.serve(&["--role", "monitor"]);
    let (status, _) = server.ask("GET", "/readyz", None, None).expect("an answer");
    assert_eq!(status, 200);
    let (status, _) = server.ask("GET", "/metrics", None, None).expect("an answer");
    assert_eq!(status, 200);
    let (status, _) = server.ask("GET", "/v1/networks", None, None).expect("an answer");
    assert_eq!(status, 404);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn the_api_alone_needs_no_keystore() {
    let installation = Installation::new();
    let secret = administrate(&installation);
    let server = installation.serve(&["--role", "api"]);
    let (status, networks) = server.call("GET", "/v1/networks", &secret, &json!({}));
    assert_eq!(status, 200, "{networks}");
    assert!(networks.to_string().contains("localhost"), "{networks}");
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn an_open_request_holds_the_stop_only_so_long() {
    let installation = Installation::new();
    installation.set_drain_ms(100);
    let secret = administrate(&installation);
    let server = installation.serve(&["--role", "api"]);
    let open = server.half_a_request(&secret);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("some requests were still open"), "{log}");
    drop(open);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let installation = Installation::new();
    installation.set_drain_ms(120_000);
    let secret = administrate(&installation);
    let server = installation.serve(&["--role", "api"]);
    let open = server.half_a_request(&secret);
    server.terminate();
    let asked = Instant::now();
    while !server.log().contains("stopping: work in hand is finished first") {
        assert!(asked.elapsed() < STOP_BOUND, "the first signal was not heard");
        std::thread::yield_now();
    }
    let (code, log) = server.stop();
    assert_eq!(code, Some(1), "{log}");
    drop(open);
}

#[test]
fn a_signer_without_keys_says_how_to_make_them() {
    let installation = Installation::new();
    let told =
        installation.refused(&["serve", "--listen", "127.0.0.1:0", "--log-level", "error"], 5);
    assert!(told.contains("portcullis keys new"), "{told}");
}

#[test]
fn decimals_that_the_token_does_not_have_are_refused() {
    let installation = Installation::with_node(fake_node(6));
    let told = installation.refused(&asset_add("USDC", TOKEN, "18", ["1", "50"]), 5);
    assert!(told.contains("has 6 decimals, not 18"), "{told}");
    assert_eq!(installation.json(&["admin", "asset", "list"])["assets"], json!([]));
    let added = installation.json(&asset_add("USDC", TOKEN, "6", ["1", "50"]));
    assert!(!added["warnings"].to_string().contains("compared"), "{added}");
}

#[test]
fn what_a_token_says_of_itself_is_shown_and_remembered_by_redis() {
    let redis = RedisServer::start();
    let installation = Installation::with_node(fake_node(6));
    installation.json(&asset_add("USDX", TOKEN, "6", ["1", "50"]));
    let listed = |environment: &[(&str, String)]| -> Value {
        let mut command = command(Some(&installation.config()));
        command.args(["admin", "asset", "list", "--on-chain", "--json"]);
        let output = command.envs(environment.iter().cloned()).output().expect("the binary runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["assets"][0].clone()
    };
    let with_redis = ("REDIS_URL", redis.url());
    let away = ("PORTCULLIS__CHAIN__0__PROVIDER__0__URL", format!("http://{}", free_address()));
    let first = listed(std::slice::from_ref(&with_redis));
    assert_eq!((&first["symbol"], &first["chain_symbol"]), (&json!("USDX"), &json!("USDC")));
    assert_eq!(first["chain_decimals"], 6);
    let remembered = listed(&[with_redis, away.clone()]);
    assert_eq!(remembered["chain_symbol"], "USDC", "{remembered}");
    let asked = listed(&[away]);
    assert!(asked["chain_error"].is_string(), "without Redis the node is asked: {asked}");
}

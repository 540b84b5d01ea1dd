//! Keys that are held elsewhere, through the command line: a token of `SoftHSM2`, and a secret in moto's Secrets Manager.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_testkit::Moto;
use serde_json::{Value, json};

use crate::installation::{Installation, command, text};

/// The private key 1, whose address is known everywhere, for the curve secp256k1.
const PRIVATE_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAAAAAAAAAAGhRANCAAR5vmZ++dy7rFWgYpXOhwsHApv82y3OKNlZ
8oFbFvgXmEg62ncmo8RlXaT7/A4RCKj9F7RIpoVUGZxH0I/7ENS4
-----END PRIVATE KEY-----
";
const ADDRESS: &str = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
const PIN: &str = "924613";

/// What the binary needs of the environment, which is empty otherwise.
type Environment = Vec<(&'static str, String)>;

fn output_of(installation: &Installation, environment: &Environment, arguments: &[&str]) -> Output {
    command(Some(&installation.config()))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .output()
        .expect("the binary runs")
}

/// The exit code, and all that was said.
fn run(
    installation: &Installation,
    environment: &Environment,
    arguments: &[&str],
) -> (Option<i32>, String) {
    let output = output_of(installation, environment, arguments);
    (output.status.code(), [text(&output.stdout), text(&output.stderr)].concat())
}

fn json_of(installation: &Installation, environment: &Environment, arguments: &[&str]) -> Value {
    let output = output_of(installation, environment, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

/// Writes another `[signer]` in the place of the one of `init`, and gives back the rest as it was.
fn set_signer(installation: &Installation, signer: &str) {
    let file = std::fs::read_to_string(installation.config()).expect("readable");
    let (before, rest) = file.split_once("[signer]").expect("init writes it");
    let (_old, after) = rest.split_once("[engine]").expect("init writes it");
    let changed = format!("{before}{signer}\n[engine]{after}");
    std::fs::write(installation.config(), changed).expect("writable");
}

fn token_in(home: &Path) -> Environment {
    let tokens = home.join("tokens");
    std::fs::create_dir(&tokens).expect("an empty folder");
    let configuration = home.join("softhsm2.conf");
    let settings = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&configuration, settings).expect("our own folder");
    let key = home.join("key.pem");
    std::fs::write(&key, PRIVATE_KEY).expect("our own folder");
    let key = key.display().to_string();
    for arguments in [
        &["--init-token", "--free", "--label", "portcullis", "--pin", PIN, "--so-pin", "817263"][..],
        &["--import", &key, "--token", "portcullis", "--label", "hot", "--id", "a1", "--pin", PIN],
    ] {
        let done = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", &configuration)
            .output()
            .expect("SoftHSM2 is installed: `cargo xtask test` installs it, or install softhsm2");
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
    vec![("SOFTHSM2_CONF", configuration.display().to_string())]
}

fn module() -> PathBuf {
    ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"]
        .iter()
        .map(|folder| Path::new(folder).join("libsofthsm2.so"))
        .find(|path| path.is_file())
        .expect("SoftHSM2 is installed: `cargo xtask test` installs it, or install softhsm2")
}

#[test]
fn a_token_is_listed_gets_a_journal_and_serves() {
    let installation = Installation::new();
    let environment = token_in(&installation.root());
    let section = |pin: &str, more: &str| {
        format!(
            "[signer]\nkind = \"pkcs11\"\n[signer.pkcs11]\nmodule = \"{}\"\ntoken = \"portcullis\"\npin = \"{pin}\"\n\
             [[signer.pkcs11.key]]\nlabel = \"hot\"\nnetwork = \"localhost\"\n{more}",
            module().display()
        )
    };
    set_signer(&installation, &section(PIN, ""));
    let listed = json_of(&installation, &environment, &["keys", "list"]);
    assert_eq!(listed["keys"][0]["address"], ADDRESS);
    let (code, told) = run(&installation, &environment, &["keys", "new", "--network", "localhost"]);
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains("their holder's own tools"), "{told}");
    let (code, told) = run(&installation, &environment, &["serve", "--listen", "127.0.0.1:0"]);
    assert_ne!(code, Some(0), "{told}");
    assert!(told.contains("portcullis keys journal"), "{told}");

    let begun = json_of(&installation, &environment, &["keys", "journal"]);
    let id = begun["journal"].as_str().expect("its name").to_owned();
    let (code, told) = run(&installation, &environment, &["keys", "journal"]);
    assert_ne!(code, Some(0), "{told}");
    assert!(told.contains(&id), "{told}");
    let (code, told) = run(&installation, &environment, &["serve", "--listen", "127.0.0.1:0"]);
    assert_ne!(code, Some(0), "{told}");
    assert!(told.contains("signer.journal.id"), "{told}");

    let named = format!("[signer.journal]\nid = \"{id}\"\n");
    set_signer(&installation, &section(PIN, &named));
    let (_, told) = run(&installation, &environment, &["doctor"]);
    assert!(told.contains("keys: 1 by pkcs11"), "{told}");
    let server = installation.serve_with(&environment, &[]);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("keys and journal are open") && log.contains("pkcs11"), "{log}");
    assert!(!log.contains(PIN), "{log}");

    set_signer(&installation, &section("000000", &named));
    let (code, told) = run(&installation, &environment, &["keys", "list"]);
    assert_ne!(code, Some(0), "{told}");
    assert!(told.contains("refuses the PIN") && !told.contains("000000"), "{told}");
}

#[test]
fn a_secret_is_made_listed_rotated_and_serves() {
    let (installation, moto) = (Installation::new(), Moto::start());
    let environment: Environment = vec![
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ];
    let section = |more: &str| {
        format!(
            "[signer]\nkind = \"secrets-manager\"\nsecond_secret = \"{}\"\n[signer.aws]\nregion = \"eu-central-1\"\n\
             endpoint = \"{}\"\nrequest_timeout_ms = 20000\ncall_timeout_ms = 60000\n\
             [signer.secret]\nname = \"portcullis/hot\"\nwrapping = \"operator\"\n{more}",
            "07".repeat(32),
            moto.endpoint()
        )
    };
    set_signer(&installation, &section(""));
    let made = json_of(&installation, &environment, &["keys", "new", "--network", "localhost"]);
    let file = installation.root().join("key.hex");
    std::fs::write(&file, format!("{:064x}", 1)).expect("writable");
    let file = file.display().to_string();
    let import = ["keys", "import", "--network", "localhost", "--file", &file];
    let imported = json_of(&installation, &environment, &import);
    assert_eq!(imported["keys"][0]["address"], ADDRESS);
    assert_eq!(run(&installation, &environment, &import).0, Some(5), "it is there already");
    json_of(&installation, &environment, &["keys", "rotate"]);
    let listed = json_of(&installation, &environment, &["keys", "list"]);
    let addresses: Vec<&Value> =
        listed["keys"].as_array().expect("a list").iter().map(|key| &key["address"]).collect();
    assert_eq!(addresses, [&made["keys"][0]["address"], &json!(ADDRESS)]);

    let begun = json_of(&installation, &environment, &["keys", "journal"]);
    let named = format!("[signer.journal]\nid = {}\n", begun["journal"]);
    set_signer(&installation, &section(&named));
    let server = installation.serve_with(&environment, &[]);
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("keys and journal are open") && log.contains("secrets-manager"), "{log}");
}

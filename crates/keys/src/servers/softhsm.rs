//! `SoftHSM2`: a PKCS#11 token in a folder, for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use secrecy::SecretString;
use tempfile::TempDir;

use super::installed;

pub(crate) const TOKEN: &str = "portcullis";
pub(crate) const PIN: &str = "924613";
const SO_PIN: &str = "817263";

/// Leads a process to its own tokens, and says that it is one of its own.
const HOME: &str = "PORTCULLIS_SOFTHSM_HOME";
const CONFIGURATION: &str = "SOFTHSM2_CONF";

pub(crate) const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
pub(crate) const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Runs `body` in a process of its own, with a new token. The library and the variable that leads it to its tokens are one
/// for a process. `test` is the whole name of the calling test.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce(&Path)) {
    if let Some(home) = std::env::var_os(HOME) {
        body(Path::new(&home));
        return;
    }
    let home = TempDir::new().expect("a temporary folder");
    let configuration = prepare(home.path());
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture"])
        .env(HOME, home.path())
        .env(CONFIGURATION, configuration)
        .output()
        .expect("this test starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A folder with one token.
fn prepare(home: &Path) -> PathBuf {
    let tokens = tokens(home);
    std::fs::create_dir(&tokens).expect("an empty folder");
    let configuration = home.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n",
        tokens.display()
    );
    std::fs::write(&configuration, text).expect("our own folder");
    let made = Command::new(installed("SoftHSM2", "softhsm2", &["/usr/bin/softhsm2-util"]))
        .args(["--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", SO_PIN])
        .env(CONFIGURATION, &configuration)
        .output()
        .expect("softhsm2-util starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    configuration
}

/// Where the tokens are.
pub(crate) fn tokens(home: &Path) -> PathBuf {
    home.join("tokens")
}

/// The library.
pub(crate) fn module() -> PathBuf {
    installed(
        "SoftHSM2",
        "softhsm2",
        &[
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib64/pkcs11/libsofthsm2.so",
        ],
    )
}

/// Works on the token as its user, and lets go of the library afterwards.
pub(crate) fn on_token<T>(work: impl FnOnce(&cryptoki::session::Session) -> T) -> T {
    let library = Pkcs11::new(module()).expect("the library loads");
    library
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .expect("the library starts");
    let slots = library.get_slots_with_initialized_token().expect("it has slots");
    let session = library.open_rw_session(slots[0]).expect("a session");
    session.login(UserType::User, Some(&SecretString::from(PIN))).expect("the right PIN");
    let done = work(&session);
    drop(session);
    library.finalize().expect("it stops");
    done
}

/// A new key pair on the token.
pub(crate) fn new_pair(session: &cryptoki::session::Session, label: &str, curve: &[u8]) {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [
        Attribute::Token(true),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        label.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label,
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).expect("a key pair");
}

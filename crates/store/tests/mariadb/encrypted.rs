//! The way to a server through TLS, with certificates that the test makes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use portcullis_core::time::Timestamp;
use portcullis_store::{Store, StoreError};
use portcullis_testkit::{MariaDb, TestClock};

use crate::fixture::Fixture;

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed with MariaDB");
    assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

/// An authority of that name, as `NAME.pem`.
fn make_authority(folder: &Path, name: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("req -x509 {key} -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"),
    );
}

/// The arguments of a server whose certificate that authority gave.
fn certified(folder: &Path, authority: &str) -> [String; 2] {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!(
            "req {key} -keyout server.key -out server.csr -subj /CN=database \
             -addext subjectAltName=DNS:database.example.com"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in server.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
             -copy_extensions copyall -days 2 -out server.pem"
        ),
    );
    let file = |name: &str| folder.join(name).display().to_string();
    [format!("--ssl-cert={}", file("server.pem")), format!("--ssl-key={}", file("server.key"))]
}

async fn opened(url: &str, parameters: &str) -> Result<Store, StoreError> {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_795_190_400_000)));
    // Opening is tried for a second, and no longer.
    Store::open(&Fixture::options(&format!("{url}{parameters}"), 1_000, 1), clock).await
}

#[tokio::test]
async fn the_way_to_a_server_is_encrypted_and_its_authority_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["ours", "theirs"] {
        make_authority(folder.path(), name);
    }
    let arguments = certified(folder.path(), "ours");
    let server = MariaDb::start_with(&arguments).expect("starts");
    let url = server.create_database("encrypted").expect("creates");
    // From now on the server itself refuses whoever comes in plain text.
    server.execute("mysql", "ALTER USER 'portcullis'@'%' REQUIRE SSL").expect("alters");
    let authority = |name: &str| folder.path().join(format!("{name}.pem")).display().to_string();
    for parameters in [
        "?ssl-mode=REQUIRED".to_owned(),
        format!("?ssl-mode=VERIFY_CA&ssl-ca={}", authority("ours")),
    ] {
        let store = opened(&url, &parameters).await.unwrap_or_else(|error| panic!("{error}"));
        store.migrate().await.expect("writes");
        store.close().await;
    }
    for (parameters, why) in [
        ("?ssl-mode=DISABLED".to_owned(), "plain text"),
        (format!("?ssl-mode=VERIFY_CA&ssl-ca={}", authority("theirs")), "another authority"),
        (format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", authority("ours")), "another host"),
    ] {
        let refused = opened(&url, &parameters).await.map(|_store| ());
        assert!(refused.as_ref().is_err_and(StoreError::is_unavailable), "{why}: {refused:?}");
    }
}

//! An installation whose database is a MariaDB server.

use portcullis_testkit::MariaDb;
use serde_json::json;

use crate::administrate;
use crate::installation::{Installation, run, text};

/// What a command says that does not get as far as its work.
fn refused(installation: &Installation, arguments: &[&str]) -> String {
    let output = run(Some(&installation.config()), arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_schema_that_is_not_ours_is_refused_and_brought_up_to_date_by_hand() {
    let server = MariaDb::shared();
    let url = server.create_database("by_hand").expect("a database");
    let installation = Installation::new();
    installation.set_database(&format!("url = \"{url}\"\nauto_migrate = false"));
    let before = installation.json(&["migrate", "status"]);
    assert_eq!(before["current"], 0);
    assert_eq!(before["pending"], before["known"]);
    for arguments in [&["admin", "tenant", "list"][..], &["serve"]] {
        let told = refused(&installation, arguments);
        assert!(told.contains("portcullis migrate up"), "{told}");
    }
    assert_eq!(installation.json(&["migrate", "up"])["applied"], before["pending"]);
    let after = installation.json(&["migrate", "status"]);
    assert_eq!((&after["pending"], &after["current"]), (&json!(0), &after["known"]));
    administrate(&installation);
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', TRUE, X'00', 0)";
    server.execute("by_hand", newer).expect("inserts");
    for arguments in [&["admin", "tenant", "list"][..], &["serve"], &["migrate", "up"]] {
        let told = refused(&installation, arguments);
        assert!(told.contains("start the newer binary"), "{told}");
    }
}

#[test]
fn a_server_takes_requests_in_and_keeps_its_password() {
    let url = MariaDb::shared().create_database("taken_in").expect("a database");
    let installation = Installation::new();
    installation.set_database(&format!("url = \"{url}\"\nslow_query_ms = 1"));
    let printed = run(Some(&installation.config()), &["config", "print"]);
    assert!(text(&printed.stdout).contains("url = \"[redacted]\""), "{}", text(&printed.stdout));
    let secret = administrate(&installation);
    installation.take_keys_away();
    let server = installation.serve(&["--role", "api"]);
    let deposit =
        json!({"external_id": "d-1", "network": "localhost", "asset": "POL", "amount": "10"});
    let (status, answer) = server.call("POST", "/v1/accounts/user-1/deposits", &secret, &deposit);
    assert!((200..300).contains(&status), "{status} {answer}");
    let withdrawal = json!({
        "external_id": "w-1", "account_id": "user-1", "network": "localhost", "asset": "POL",
        "amount": "1.5", "to_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    });
    let (status, answer) = server.call("POST", "/v1/withdrawals", &secret, &withdrawal);
    assert_eq!(status, 202, "{answer}");
    let (status, again) = server.call("POST", "/v1/withdrawals", &secret, &withdrawal);
    assert!((200..300).contains(&status), "{status} {again}");
    assert_eq!(answer["id"], again["id"]);
    let (_, metrics) = server.ask("GET", "/metrics", None, None).expect("an answer");
    assert!(metrics.to_string().contains("portcullis_store_statements_total"), "{metrics}");
    assert_eq!(server.stop().0, Some(0));
    let file = installation.root().join("backup.db").display().to_string();
    let told = refused(&installation, &["backup", &file]);
    assert!(told.contains("mariadb-dump"), "{told}");
    assert_eq!(installation.json(&["admin", "audit", "verify"])["balances"], 1);
}

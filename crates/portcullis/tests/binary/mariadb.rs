//! An installation whose database is a MariaDB server.

use portcullis_testkit::MariaDb;
use serde_json::{Value, json};

use crate::administrate;
use crate::installation::{Installation, Server, run, text};

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

/// A deposit while somebody has the table, for less than a request waits.
fn wait_on_a_table(server: &Server, secret: &str) {
    let holding = std::thread::spawn(|| {
        let hold = "LOCK TABLES deposits WRITE; DO SLEEP(1); UNLOCK TABLES";
        MariaDb::shared().execute("taken_in", hold)
    });
    let asleep = "SELECT count(*) FROM information_schema.processlist \
                  WHERE db = 'taken_in' AND info LIKE 'DO SLEEP%'";
    while MariaDb::shared().query("taken_in", asleep).expect("answers").trim() == "0" {
        assert!(!holding.is_finished(), "it was not seen to hold the table");
    }
    server.deposit(secret, "slow-1", "1");
    holding.join().expect("no panic").expect("it held the table");
}

#[test]
fn the_second_process_with_all_roles_and_one_identity_is_told_what_to_do() {
    let url = MariaDb::shared().create_database("two_on_one_host").expect("a database");
    let installation = Installation::new();
    installation.set_database(&format!("url = \"{url}\""));
    installation.json(&["keys", "new", "--network", "localhost"]);
    let first = installation.serve(&[]);
    let told = installation.refused(&["serve", "--listen", "127.0.0.1:0"], 5);
    assert!(told.contains("a data.dir of its own") && !told.contains("embedded"), "{told}");
    assert_eq!(first.stop().0, Some(0));
}

#[test]
fn a_server_takes_requests_in_and_keeps_its_password() {
    let url = MariaDb::shared().create_database("taken_in").expect("a database");
    let installation = Installation::new();
    installation.set_database(&format!("url = \"{url}\"\nslow_query_ms = 100"));
    let printed = run(Some(&installation.config()), &["config", "print"]);
    assert!(text(&printed.stdout).contains("url = \"[redacted]\""), "{}", text(&printed.stdout));
    let secret = administrate(&installation);
    installation.take_keys_away();
    let server = installation.serve(&["--role", "api"]);
    server.deposit(&secret, "d-1", "10");
    let (status, answer) = server.withdraw(&secret);
    assert_eq!(status, 202, "{answer}");
    let (status, again) = server.withdraw(&secret);
    assert!((200..300).contains(&status), "{status} {again}");
    assert_eq!(answer["id"], again["id"]);
    wait_on_a_table(&server, &secret);
    let (_, metrics) = server.ask("GET", "/metrics", None, None).expect("an answer");
    for counter in ["portcullis_store_statements_total", "portcullis_store_slow_statements_total"] {
        assert!(metrics.to_string().contains(counter), "{counter} is not in {metrics}");
    }
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let slow: Vec<Value> = lines.filter(|line| line["message"] == "a slow statement").collect();
    assert!(slow.iter().all(|line| line["elapsed_ms"].as_u64() >= Some(100)), "{slow:?}");
    let is_of_it = |line: &Value| line["statement"].to_string().contains("deposits");
    assert!(slow.iter().any(is_of_it), "{slow:?}");
    assert!(!log.contains("slow-1"), "a statement is logged without its values");
    assert!(!log.contains(&url), "{log}");
    let file = installation.root().join("backup.db").display().to_string();
    let told = refused(&installation, &["backup", &file]);
    assert!(told.contains("mariadb-dump"), "{told}");
    assert_eq!(installation.json(&["admin", "audit", "verify"])["balances"], 1);
}

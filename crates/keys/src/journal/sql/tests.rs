//! What only a database can suffer, and what two signers do to each other.

use std::collections::BTreeSet;

use portcullis_core::intent::SigningIntent;
use portcullis_testkit::{Cut, SqlProxy};
use sqlx::Executor;

use super::*;
use crate::fixtures::{Bench, NOW, caps, clock, deployment, sealing};
use crate::journal::exercise::{attempt, head};
use crate::journal::{Journal, JournalReader};
use crate::keyring::{Keyring, KmsKeys, KmsOptions};
use crate::keystore::KeystoreId;
use crate::servers::mariadb::MariaDb;
use crate::servers::moto::{access, quick};
use crate::signer::{Signer, SigningRefusal};

#[test]
fn statements_are_bounded_in_rows_and_bytes() {
    let lines = |count: u64, length: usize| -> Vec<(u64, String)> {
        (0..count).map(|place| (place, "x".repeat(length))).collect()
    };
    let sizes = |lines: &[(u64, String)]| -> Vec<usize> {
        parts(lines).into_iter().map(<[_]>::len).collect()
    };
    assert!(sizes(&[]).is_empty());
    assert_eq!(sizes(&lines(1, 10)), [1]);
    assert_eq!(sizes(&lines(1_001, 10)), [500, 500, 1]);
    assert_eq!(sizes(&lines(3, BYTES_WRITTEN)), [1, 1, 1]);
    assert_eq!(sizes(&lines(4, BYTES_WRITTEN / 2)), [2, 2]);
}

#[test]
fn a_journal_on_another_host_is_spoken_to_over_tls() {
    let dialled = |url: &str| {
        let options = SqlJournalOptions {
            url: url.into(),
            statement_timeout: std::time::Duration::from_secs(1),
            tries_max: 1,
        };
        SqlDial::new(&options).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = dialled("mysql://signer:secret@10.0.0.7/journal?ssl-mode=DISABLED");
    let refused = refused.expect_err("no TLS");
    assert!(refused.contains("TLS") && !refused.contains("secret"), "{refused}");
    for url in [
        "mysql://signer@10.0.0.7/journal",
        "mysql://signer@10.0.0.7/journal?ssl-mode=REQUIRED",
        "mysql://signer@127.0.0.1:3307/journal?ssl-mode=DISABLED",
        "mysql://signer@db.example/journal?ssl-mode=DISABLED&socket=/run/mysqld/mysqld.sock",
    ] {
        dialled(url).unwrap_or_else(|refused| panic!("{url}: {refused}"));
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_that_refuses() {
    let server = MariaDb::with_journal().await;
    let away = open(&Bench::new(), &MariaDb::options_at(1)).await.expect_err("nobody listens");
    assert!(matches!(away, JournalError::Away { .. }) && away.is_passing(), "{away}");
    assert!(away.to_string().contains("Connection refused"), "{away}");
    let stranger = MariaDb::options_of("nobody", server.port);
    let refused = open(&Bench::new(), &stranger).await.expect_err("there is no such account");
    assert!(matches!(refused, JournalError::Sql { .. }) && !refused.is_passing(), "{refused}");
}

async fn open(bench: &Bench, options: &SqlJournalOptions) -> Result<Journal, JournalError> {
    Journal::open_shared(options, &mut bench.keystore().into(), None, NOW).await
}

/// Another process with a copy of the keystore, as far as the journal can tell.
async fn signer(bench: &Bench, options: &SqlJournalOptions) -> Signer {
    let journal = open(bench, options).await.expect("the journal opens");
    Signer::new(bench.keystore(), journal, sealing(), deployment(), vec![caps()], clock())
        .expect("they fit together")
}

async fn sign(
    signer: &Signer,
    intent: SigningIntent,
) -> Result<portcullis_core::intent::SignedAttempt, SigningRefusal> {
    signer.sign(vec![intent]).await.remove(0)
}

async fn lines(server: &MariaDb) -> u64 {
    JournalReader::open_shared(&server.options()).await.expect("whole").lines()
}

#[tokio::test]
async fn two_signers_see_each_others_records() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let one = signer(&bench, &server.options()).await;
    let other = signer(&bench, &server.options()).await;
    let paid = sign(&one, bench.pay(7, 1)).await.expect("in order");
    // The same slot for another payment, and the same payment in another slot.
    let refused = sign(&other, bench.pay(7, 2)).await.expect_err("the slot is used");
    assert!(matches!(
        refused,
        SigningRefusal::SlotUsed { .. } | SigningRefusal::SlotOfOthers { .. }
    ));
    let refused = sign(&other, bench.pay(8, 1)).await.expect_err("it is paid elsewhere");
    assert!(matches!(refused, SigningRefusal::PaymentElsewhere { .. }), "{refused}");
    assert_eq!(other.journal().attempt_hashes(bench.slot(7)), [paid.hash]);
    // What is the same may be signed by either.
    assert_eq!(sign(&other, bench.pay(7, 1)).await.expect("the same").hash, paid.hash);
    sign(&other, bench.pay(9, 3)).await.expect("in order");
    assert!(one.journal().slot(bench.slot(9)).is_none());
    one.catch_up().await.expect("the database answers");
    assert!(one.journal().slot(bench.slot(9)).is_some());
    other.record_audit_head(5, B256::ZERO).await.expect("appended");
    one.record_audit_head(6, B256::ZERO).await.expect("appended");
    assert_eq!(one.journal().lines(), 6);
    // The other has read the log before, and writes down what it saw afterwards.
    other.record_audit_head(5, B256::ZERO).await.expect("the other's stands");
    assert_eq!(other.journal().audit_head().map(|head| head.sequence), Some(6));
    assert_eq!(other.journal().lines(), 6);
    // A log that was restored is shorter, and everybody knows.
    other.record_audit_head(5, B256::ZERO).await.expect("appended");
    assert_eq!(other.journal().audit_head().map(|head| head.sequence), Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_signers_at_once_only_one_pays() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let signers =
        [signer(&bench, &server.options()).await, signer(&bench, &server.options()).await];
    let mut paid = 0;
    for round in 0..25_u64 {
        let calls = [0, 1].map(|half: u64| {
            let signer = signers[usize::try_from(half).expect("small")].clone();
            let intents: Vec<SigningIntent> =
                (0..4).map(|one| bench.pay(round * 8 + half * 4 + one, round * 4 + one)).collect();
            tokio::spawn(async move { signer.sign(intents).await })
        });
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(call.await.expect("it does not panic"));
        }
        for one in 0..4 {
            let signed = outcomes.iter().filter(|outcomes| outcomes[one].is_ok()).count();
            assert_eq!(signed, 1, "round {round}: {outcomes:?}");
            paid += signed;
        }
    }
    assert_eq!(paid, 100);
    assert_eq!(lines(&server).await, 101);
}

#[tokio::test]
async fn a_signer_that_stands_still_in_an_append_holds_the_others_up_for_seconds_only() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let signer = signer(&bench, &server.options()).await;
    let dial = SqlDial::new(&server.options()).expect("a URL");
    let mut stopped = dial.connect().await.expect("the database answers");
    stopped.execute("BEGIN").await.expect("it begins");
    let half = "INSERT INTO journal_lines VALUES (1, 'of one that was stopped')";
    stopped.execute(half).await.expect("the next place is free");
    sign(&signer, bench.pay(7, 1)).await.expect("the server lets go of the place");
    assert!(stopped.execute("COMMIT").await.is_err(), "it wakes too late");
    assert_eq!(lines(&server).await, 2);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_out_about() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let proxy = SqlProxy::before(server.port).await;
    let through = MariaDb::options_at(proxy.port());
    let signer = signer(&bench, &through).await;
    for (nonce, cut) in [(1, Cut::AfterCommit), (2, Cut::BeforeCommit)] {
        proxy.set(cut);
        let signed = sign(&signer, bench.pay(nonce, nonce)).await.expect("it is found out");
        assert_eq!(proxy.cut(), Cut::Never, "it was cut");
        assert_eq!(signer.journal().attempt_hashes(bench.slot(nonce)), [signed.hash]);
        assert_eq!(lines(&server).await, nonce + 1, "once and no more");
    }
    // Nobody is there to ask: nothing leaves, and what is there is known when somebody is.
    proxy.set(Cut::Always);
    let mut journal = open(&bench, &MariaDb::options_at(server.port)).await.expect("it opens");
    let hasty = SqlJournalOptions { tries_max: 2, ..through };
    drop(open(&bench, &hasty).await.expect_err("nobody is there"));
    proxy.set(Cut::Never);
    journal.append(&[head(1)]).await.expect("appended");
    signer.catch_up().await.expect("the database answers");
    assert_eq!(signer.journal().lines(), 4);
}

#[tokio::test]
async fn without_the_database_nothing_leaves() {
    let (mut server, bench) = (MariaDb::with_journal().await, Bench::new());
    let options = SqlJournalOptions { tries_max: 2, ..server.options() };
    let signer = signer(&bench, &options).await;
    sign(&signer, bench.pay(1, 1)).await.expect("in order");
    server.kill();
    let refused = sign(&signer, bench.pay(2, 2)).await.expect_err("nobody remembers it");
    assert!(matches!(refused, SigningRefusal::Journal { .. }), "{refused}");
    assert!(signer.catch_up().await.is_err());
    assert!(!format!("{refused}").contains("change-me"));
    server.start_again();
    sign(&signer, bench.pay(2, 2)).await.expect("the database is back");
    assert_eq!(lines(&server).await, 3);
}

#[tokio::test]
async fn a_lost_answer_is_settled_before_the_next_append() {
    let (mut server, bench) = (MariaDb::with_journal().await, Bench::new());
    let proxy = SqlProxy::before(server.port).await;
    let options = SqlJournalOptions { tries_max: 1, ..MariaDb::options_at(proxy.port()) };
    let mut journal = open(&bench, &options).await.expect("it opens");
    proxy.set(Cut::BeforeCommit);
    let once = [JournalRecord::Attempt(attempt(&bench, 1, 1))];
    let unsure = journal.append(&once).await;
    assert!(matches!(unsure, Err(JournalError::Unsure { .. })), "{unsure:?}");
    assert_eq!(journal.reader().lines(), 1, "readers see only what is durable");
    // The server ends and comes back; the transaction is gone with it.
    server.kill();
    server.start_again();
    journal.catch_up().await.expect("the server is back");
    journal.append(&once).await.expect("appended");
    assert_eq!(lines(&server).await, 2);
    assert!(!format!("{journal:?}").contains("change-me"));
}

#[tokio::test]
async fn an_account_that_may_do_more_is_refused() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let mut root = server.root().await;
    for (user, grant) in [
        ("updating", "SELECT, INSERT, UPDATE"),
        ("deleting", "SELECT, INSERT, DELETE"),
        ("dropping", "SELECT, INSERT, DROP"),
        ("all", "ALL PRIVILEGES"),
    ] {
        let script = format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'change-me';
             GRANT {grant} ON portcullis_journal.* TO '{user}'@'%';"
        );
        root.execute(sqlx::AssertSqlSafe(script)).await.expect("the account is made");
        let opened = open(&bench, &MariaDb::options_of(user, server.port)).await;
        let Err(error @ JournalError::Privilege { .. }) = opened else {
            panic!("{user}: {opened:?}");
        };
        assert!(error.to_string().contains("journal.sql"), "{error}");
    }
    // The documented account can only add and read.
    let journal = open(&bench, &server.options()).await.expect("it may do enough");
    let dial = SqlDial::new(&server.options()).expect("a URL");
    let mut connection = dial.connect().await.expect("it answers");
    for statement in [
        "UPDATE journal_lines SET content = ''",
        "DELETE FROM journal_lines",
        "DROP TABLE journal_lines",
        "TRUNCATE journal_slots",
        "ALTER TABLE journal_rides DROP PRIMARY KEY",
        "REPLACE INTO journal_lines VALUES (0, '')",
        "INSERT INTO journal_lines VALUES (0, '') ON DUPLICATE KEY UPDATE content = ''",
    ] {
        let done = connection.execute(statement).await;
        let error = done.expect_err(statement).to_string();
        assert!(error.contains("denied"), "{statement}: {error}");
    }
    assert_eq!(journal.reader().lines(), 1);
}

#[tokio::test]
async fn slots_and_rides_are_taken_once_whatever_a_signer_believes() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let mut journal = open(&bench, &server.options()).await.expect("it opens");
    journal.append(&[JournalRecord::Attempt(attempt(&bench, 1, 1))]).await.expect("appended");
    // A signer that has forgotten what it has read.
    let mut forgetful = open(&bench, &server.options()).await.expect("it opens");
    forgetful.index = std::sync::Arc::default();
    for (nonce, sequence) in [(1, 2), (2, 1)] {
        let other = [JournalRecord::Attempt(attempt(&bench, nonce, sequence))];
        let appended = forgetful.append(&other).await;
        assert!(matches!(appended, Err(JournalError::Damaged { .. })), "{appended:?}");
    }
    assert_eq!(lines(&server).await, 2, "nothing of it was written");
    journal.append(&[JournalRecord::Attempt(attempt(&bench, 2, 2))]).await.expect("appended");
}

#[tokio::test]
async fn what_was_changed_behind_its_back_is_noticed() {
    let (server, bench) = (MariaDb::with_journal().await, Bench::new());
    let mut journal = open(&bench, &server.options()).await.expect("it opens");
    let records: Vec<JournalRecord> =
        (1..5).map(|nonce| JournalRecord::Attempt(attempt(&bench, nonce, nonce))).collect();
    journal.append(&records).await.expect("appended");
    let mut root = server.root().await;
    let kept: Vec<(u64, String)> =
        sqlx::query_as("SELECT line, content FROM portcullis_journal.journal_lines ORDER BY line")
            .fetch_all(&mut root)
            .await
            .expect("readable");
    for (what, line) in [
        (
            "UPDATE portcullis_journal.journal_lines SET content = REPLACE(content, '\"at\":1', '\"at\":2') WHERE line = 3",
            3,
        ),
        ("DELETE FROM portcullis_journal.journal_lines WHERE line = 2", 2),
        ("DELETE FROM portcullis_journal.journal_lines WHERE line = 0", 0),
    ] {
        root.execute(what).await.expect("the superuser may");
        let opened = open(&bench, &server.options()).await;
        let Err(JournalError::Damaged { line: found, .. }) = opened else {
            panic!("{what}: {opened:?}");
        };
        assert_eq!(found, line, "{what}");
        root.execute("DELETE FROM portcullis_journal.journal_lines").await.expect("emptied");
        for (line, content) in &kept {
            sqlx::query("INSERT INTO portcullis_journal.journal_lines VALUES (?, ?)")
                .bind(line)
                .bind(content)
                .execute(&mut root)
                .await
                .expect("put back");
        }
        assert!(open(&bench, &server.options()).await.is_ok(), "what was there is whole");
    }
    root.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.expect("set");
    let opened = open(&bench, &server.options()).await.expect_err("not durable").to_string();
    assert!(opened.contains("innodb_flush_log_at_trx_commit"), "{opened}");
    root.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await.expect("set");
    root.execute("ALTER TABLE portcullis_journal.journal_slots DROP PRIMARY KEY")
        .await
        .expect("set");
    let opened = open(&bench, &server.options()).await;
    assert!(matches!(opened, Err(JournalError::Unprepared { .. })), "{opened:?}");
}

#[tokio::test]
async fn keys_that_are_held_elsewhere_need_their_journal_named() {
    let server = MariaDb::with_journal().await;
    let options = server.options();
    let none = KmsOptions { keys: Vec::new(), concurrency: 1 };
    let kms = KmsKeys::open(&access(1, &quick()), none).await.expect("nothing is asked");
    let mut keyring = Keyring::of_kms(kms, deployment());
    let opened = Journal::open_shared(&options, &mut keyring, None, NOW).await;
    assert!(matches!(opened, Err(JournalError::NotBegun { .. })), "{opened:?}");
    let id = Journal::begin_shared(&options, keyring.id(), NOW).await.expect("it is empty");
    let again = Journal::begin_shared(&options, keyring.id(), NOW).await;
    assert!(matches!(again, Err(JournalError::Exists { found, .. }) if found == id), "{again:?}");
    let opened = Journal::open_shared(&options, &mut keyring, None, NOW).await;
    assert!(matches!(opened, Err(JournalError::Unnamed { found, .. }) if found == id));
    let opened = Journal::open_shared(&options, &mut keyring, Some(id), NOW).await;
    assert_eq!(opened.expect("it is named").id(), id);
    server.empty_journal().await;
    let opened = Journal::open_shared(&options, &mut keyring, Some(id), NOW).await;
    assert!(matches!(opened, Err(JournalError::Missing { .. })), "{opened:?}");
    let other = Journal::begin_shared(&options, keyring.id(), NOW).await.expect("it is empty");
    let opened = Journal::open_shared(&options, &mut keyring, Some(id), NOW).await;
    assert!(matches!(opened, Err(JournalError::OtherJournal { found, .. }) if found == other));
    let ids: BTreeSet<String> =
        [deployment(), portcullis_core::id::DeploymentId::from_bytes([2; 16])]
            .map(|it| KeystoreId::of_deployment(it).to_string())
            .into();
    assert_eq!(ids.len(), 2);
}

//! What is so of a server alone: many writers at a time, its own clock, a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_core::time::{Clock, Timestamp};
use portcullis_store::intake::{Intake, Submitted};
use portcullis_store::withdrawal::WithdrawalFilter;
use portcullis_store::{Store, StoreError, StoreOptions, TimeSource};
use portcullis_testkit::{MariaDb, TestClock};

use crate::DATABASE;
use crate::fixture::{CHAIN, Fixture, PATIENCE_MS};
use crate::rail::{LEASE_MS, NONCE_FIRST, sender, slot_at};

/// A process whose own clock is off by so much, on the server's time.
async fn process(fixture: &Fixture, off_ms: i64) -> Store {
    let server =
        fixture.number("SELECT CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(3)) * 1000 AS SIGNED)").await;
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(server + off_ms)));
    let options =
        StoreOptions { time: TimeSource::Database, ..Fixture::options(fixture.url(), 5_000, 2) };
    Store::open(&options, clock).await.expect("opens")
}

#[tokio::test]
async fn a_lease_means_the_same_to_processes_whose_clocks_differ() {
    let fixture = Fixture::open().await;
    let (right, ahead) = (process(&fixture, 0).await, process(&fixture, 90_000).await);
    let behind = process(&fixture, -90_000).await;
    let names = ["sender:1".to_owned()];
    let held = right.acquire_leases(&names, "right", LEASE_MS).await.expect("answers");
    for other in [&ahead, &behind] {
        assert_eq!(other.acquire_leases(&names, "other", LEASE_MS).await, Ok(Vec::new()));
        let apart = other.now().millis_since(right.now()).abs();
        assert!(apart < 30_000, "they agree on the time: {apart} ms");
    }
    behind.release_leases(&held).await.expect("gives back");
    let taken = ahead.acquire_leases(&names, "other", LEASE_MS).await.expect("answers");
    assert_eq!(taken[0].fence, 2);
    let off = taken[0].expires_at.millis_since(right.now()) - LEASE_MS;
    assert!(off.abs() < 30_000, "it ends by the server's clock: {off} ms");
}

#[tokio::test]
async fn a_clock_that_is_off_is_measured_and_tells_no_time() {
    let fixture = Fixture::open().await;
    let right = process(&fixture, 0).await;
    for off_ms in [-90_000, 90_000] {
        let store = process(&fixture, off_ms).await;
        store.read_clock().await.expect("answers");
        let told = store.clock_offset_ms().expect("a server has a clock of its own");
        assert!((told - off_ms).abs() < 30_000, "it is off by {told} ms");
        let apart = store.clock().now().millis_since(right.clock().now()).abs();
        assert!(apart < 30_000, "they agree on the time: {apart} ms");
    }
    assert_eq!(fixture.store.clock_offset_ms(), None, "its time is told by the test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_processes_that_accept_at_once_give_each_number_once() {
    let fixture = Arc::new(Fixture::open().await);
    let mut callers = Vec::new();
    for process in 0..4 {
        let account = format!("account-{}", process % 2);
        fixture.fund(&account, 1_000).await;
        let intake = Intake::new(fixture.another(10_000).await, Arc::clone(&fixture.keys));
        for caller in 0..3 {
            let (fixture, intake, account) =
                (Arc::clone(&fixture), intake.clone(), account.clone());
            callers.push(tokio::spawn(async move {
                for number in 0..20 {
                    let name = format!("w{process}-{caller}-{number}");
                    let request = fixture.submission(&name, &account, 1);
                    let outcome = intake.submit(request, PATIENCE_MS).await;
                    assert!(matches!(outcome, Ok(Submitted::Accepted(_))), "{outcome:?}");
                }
            }));
        }
    }
    for caller in callers {
        caller.await.expect("each is accepted");
    }
    assert_eq!(fixture.all().await.len(), 240);
    fixture.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_row_that_two_insert_the_second_finds_the_firsts() {
    let fixture = Arc::new(Fixture::open().await);
    for round in 0..10 {
        let deposits = (0..4).map(|_| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move {
                let new = fixture.deposit_of(&format!("new-{round}"), 5);
                fixture.store.deposit(&fixture.keys, &new).await
            })
        });
        for deposit in deposits.collect::<Vec<_>>() {
            deposit.await.expect("does not panic").expect("opens the account, or finds it open");
        }
    }
    fixture.store.check_ledger().await.expect("adds up");
    assert_eq!(fixture.number("SELECT count(*) FROM accounts").await, 10);
}

/// Whoever was told that the engine is halted finds that nothing is bound afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_bound_once_a_halt_is_raised() {
    for round in 0..6_u64 {
        let fixture = Arc::new(Fixture::open().await);
        fixture.register(3).await;
        fixture.fund("alice", 1_000).await;
        let requests = (0..60).map(|n| fixture.submission(&format!("w{n}"), "alice", 1)).collect();
        fixture.intake.submit_many(requests, PATIENCE_MS).await.expect("accepted");
        assert_eq!(fixture.validate_all().await, 60);
        let queued = fixture.store.queued(CHAIN, 60).await.expect("reads");
        let is_over = Arc::new(AtomicBool::new(false));
        let mut signers = Vec::new();
        for index in 0..3_u8 {
            let own: Vec<_> =
                queued.iter().skip(usize::from(index) * 20).take(20).cloned().collect();
            let (fixture, is_over) = (Arc::clone(&fixture), Arc::clone(&is_over));
            signers.push(tokio::spawn(async move {
                let lease = fixture.sender_lease(index).await;
                for (record, nonce) in own.iter().zip(NONCE_FIRST..) {
                    let was_over = is_over.load(Ordering::SeqCst);
                    let new = fixture.new_slot(slot_at(index, nonce), &[record.id]);
                    match fixture.store.bind(std::slice::from_ref(&lease), &[new]).await {
                        Ok(()) => assert!(!was_over, "bound after the halt"),
                        Err(StoreError::Halted { .. }) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5 + 9 * round)).await;
        fixture.store.raise_halt("tamper", "a test").await.expect("raises");
        is_over.store(true, Ordering::SeqCst);
        let bound = fixture.number("SELECT count(*) FROM bindings").await;
        for signer in signers {
            signer.await.expect("stops at the halt");
        }
        assert_eq!(fixture.number("SELECT count(*) FROM bindings").await, bound);
        assert_eq!(fixture.store.senders(CHAIN).await.map(|all| all.len()), Ok(3));
        assert_eq!(sender(0), slot_at(0, 0).sender);
    }
}

#[tokio::test]
async fn lists_come_from_the_replica_and_from_the_database_while_that_is_away() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 10).await;
    let record = fixture.accept("w", "alice", 1).await;
    let (replica_url, _folder) = DATABASE.fresh();
    let replica = crate::migrations::open(&replica_url).await.expect("opens");
    replica.migrate().await.expect("migrates");
    let clock: Arc<dyn Clock> = Arc::new(fixture.clock.clone());
    let listed = async |replica_url: String| {
        let replica_url = Some(replica_url);
        let options = StoreOptions { replica_url, ..Fixture::options(fixture.url(), 2_000, 2) };
        let store = Store::open(&options, Arc::clone(&clock)).await.expect("opens");
        let known = store.withdrawal(fixture.tenant, record.id).await.expect("reads");
        assert!(known.is_some(), "one withdrawal is read from the database itself");
        let filter = WithdrawalFilter { limit: 9, ..WithdrawalFilter::default() };
        let page = store.list_withdrawals(fixture.tenant, &filter).await.expect("lists");
        page.records.len()
    };
    assert_eq!(listed(replica_url).await, 0, "that one has nothing yet");
    assert_eq!(listed("mysql://nobody@127.0.0.1:1/portcullis".into()).await, 1);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_never_cut_off() {
    let fixture = Fixture::open().await;
    let id = portcullis_core::id::TenantId::from_bytes([5; 16]);
    let refused = fixture.store.create_tenant(id, &"x".repeat(300), "test").await;
    assert!(matches!(refused, Err(StoreError::Database { .. })), "{refused:?}");
    assert_eq!(fixture.number("SELECT count(*) FROM tenants").await, 1);
}

#[tokio::test]
async fn an_account_that_changes_no_tables_starts_where_nothing_is_missing() {
    let fixture = Fixture::open().await;
    let known = fixture.store.schema_status().await.expect("reads").known;
    let name = fixture.url().rsplit('/').next().expect("a database");
    let account = format!(
        "CREATE USER 'rows'@'%' IDENTIFIED BY 'rows'; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO 'rows'@'%'"
    );
    MariaDb::shared().execute("mysql", &account).expect("an account");
    let url = fixture.url().replace("portcullis:portcullis@", "rows:rows@");
    let store = crate::migrations::open(&url).await.expect("opens");
    assert_eq!(store.migrate().await, Ok(known));
    store.check_schema().await.expect("it is served");
    fixture.sql("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 3").await;
    let edited = store.migrate().await.expect_err("what was applied is not what we have");
    assert!(edited.to_string().contains("migration 3 was previously applied"), "{edited}");
    fixture.sql(format!("DELETE FROM _sqlx_migrations WHERE version = {known}")).await;
    let missing = store.migrate().await.expect_err("it may not apply what is missing");
    assert!(missing.to_string().contains("denied"), "{missing}");
}

#[tokio::test]
async fn a_server_is_copied_with_its_own_tools() {
    let fixture = Fixture::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let refused = fixture.store.back_up(&folder.path().join("copy.db")).await;
    let refused = refused.expect_err("it is no file").to_string();
    assert!(refused.contains("mariadb-dump"), "{refused}");
    assert_eq!(fixture.store.is_copy().await, Ok(false));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_and_its_password_is_not_told() {
    let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(0)));
    let options = Fixture::options("mysql://app:secret@127.0.0.1:1/portcullis", 500, 1);
    assert!(!format!("{options:?}").contains("secret"));
    let error = Store::open(&options, clock).await.expect_err("nobody listens there");
    assert!(error.is_unavailable(), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_with_the_cause() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = (silent.local_addr().expect("it is bound").port(), silent);
    for (who, port, cause) in [
        ("app:secret", 1, "Connection refused"),
        ("portcullis:secret", MariaDb::shared().port(), "Access denied"),
        ("app:secret", silent.0, "it gave no answer within 500 ms"),
    ] {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let url = format!("mysql://{who}@127.0.0.1:{port}/portcullis");
        let opened = Store::open(&Fixture::options(&url, 500, 1), clock).await;
        let error = opened.expect_err(cause);
        assert!(error.is_unavailable(), "{error}");
        let told = error.to_string();
        assert!(told.contains(cause) && !told.contains("pool timed out"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
}

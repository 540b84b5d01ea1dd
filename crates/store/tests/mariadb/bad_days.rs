//! Bad days of a server: killed and started again in the middle of a thousand payments, transactions that wait for each
//! other, rows that somebody holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use portcullis_core::slot::{AttemptKind, SlotStage};
use portcullis_core::withdrawal::StateCode;
use portcullis_store::cancel::CancelOutcome;
use portcullis_store::intake::{Intake, IntakeError, Submission, Submitted};
use portcullis_store::lease::Lease;
use portcullis_store::send::SendResult;
use portcullis_store::slot::{NewAttempt, NewSlot, OpenSlot};
use portcullis_store::{Store, StoreError};
use portcullis_testkit::{Cut, MariaDb, SqlProxy};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS, pass};
use crate::rail::{
    LEASE_MS, NONCE_FIRST, block, blocks, bound, inclusion, sender, signed, slot_at,
};

const PAYMENTS: usize = 1_000;
const SENDERS: u8 = 3;

/// What the workers share.
struct Yard {
    fixture: Fixture,
    is_over: AtomicBool,
    /// Steps that the database did not answer, or answered with doubt.
    unavailable: AtomicU32,
    unknown: AtomicU32,
}

impl Yard {
    /// Whatever a step met of the bad day is counted; anything else is a fault of the store.
    fn note<T>(&self, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            Err(error) if error.is_unavailable() => {
                self.unavailable.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_outcome_unknown() => {
                self.unknown.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.is_lost_race() => {}
            Err(error) => panic!("{error}"),
        }
        None
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }
}

async fn submit(yard: Arc<Yard>, intake: Intake, requests: Vec<Submission>) {
    for request in requests {
        loop {
            let met = match intake.submit(request.clone(), PATIENCE_MS).await {
                Ok(Submitted::Accepted(_) | Submitted::Existing(_)) => break,
                Err(IntakeError::Unavailable) => &yard.unavailable,
                Err(IntakeError::OutcomeUnknown) => &yard.unknown,
                other => panic!("{other:?}"),
            };
            met.fetch_add(1, Ordering::SeqCst);
            yard.pause().await;
        }
    }
}

async fn validate(yard: Arc<Yard>, store: Store) {
    while yard.goes_on() {
        yard.note(store.validate(40, &pass).await);
        yard.pause().await;
    }
}

async fn sign(yard: Arc<Yard>, store: Store, index: u8) {
    while yard.goes_on() {
        if let Some(lease) =
            lease_of(&yard, &store, &format!("sender:{CHAIN}:{}", sender(index))).await
        {
            yard.note(bind_some(&yard, &store, &lease, index).await);
            yard.note(sign_some(&store, &lease, index).await);
        }
        yard.pause().await;
    }
}

async fn lease_of(yard: &Yard, store: &Store, name: &str) -> Option<Lease> {
    let leases = store.acquire_leases(&[name.to_owned()], name, LEASE_MS).await;
    yard.note(leases)?.pop()
}

async fn bind_some(yard: &Yard, store: &Store, lease: &Lease, index: u8) -> Result<(), StoreError> {
    let queued = store.queued(CHAIN, 60).await?;
    let senders = store.senders(CHAIN).await?;
    let next = senders.iter().find(|(address, _)| *address == sender(index)).map(|it| it.1);
    let next = next.unwrap_or(NONCE_FIRST);
    // Each takes another part of the queue, and now and then the same.
    let own = queued.iter().skip(usize::from(index) * 20).take(20);
    let slots: Vec<NewSlot> = own
        .zip(next..)
        .map(|(record, nonce)| yard.fixture.new_slot(slot_at(index, nonce), &[record.id]))
        .collect();
    if slots.is_empty() {
        return Ok(());
    }
    store.bind(std::slice::from_ref(lease), &slots).await
}

async fn sign_some(store: &Store, lease: &Lease, index: u8) -> Result<(), StoreError> {
    let open = store.unsigned_slots(CHAIN, &[sender(index)]).await?;
    let attempts: Vec<NewAttempt> = open
        .iter()
        .map(|open| NewAttempt {
            slot_id: open.id,
            signed: signed(open.slot, AttemptKind::Payload, 1),
        })
        .collect();
    store.commit_attempts(std::slice::from_ref(lease), &attempts, &[]).await
}

async fn send(yard: Arc<Yard>, store: Store, claim: &'static str) {
    while yard.goes_on() {
        let claimed = store.claim_sendable(CHAIN, claim, 30, 200).await;
        if let Some(claimed) = yard.note(claimed) {
            let results: Vec<SendResult> = claimed
                .iter()
                .map(|sendable| SendResult {
                    slot_id: sendable.slot_id,
                    hash: sendable.hash,
                    outcome: "accepted".into(),
                    accepted: true,
                    due_at: yard.fixture.now().plus_millis(2_000),
                })
                .collect();
            yard.note(store.record_sends(claim, &results).await);
        }
        yard.pause().await;
    }
}

/// Everything that was sent is in the one block, and that is deep.
async fn monitor(yard: Arc<Yard>, store: Store) {
    while yard.goes_on() {
        if let Some(lease) = lease_of(&yard, &store, &format!("monitor:{CHAIN}")).await {
            yard.note(include_some(&store, &lease).await);
            yard.note(store.confirm(&lease, (CHAIN, 200), 50, 50).await);
            yard.note(finalize_some(&store, &lease).await);
        }
        yard.pause().await;
    }
}

async fn include_some(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    let far: Vec<_> = (0..SENDERS).map(|index| (sender(index), u64::from(u32::MAX))).collect();
    let open = store.consumed_slots(CHAIN, &far, 60).await?;
    let seen: Vec<_> = open.iter().filter(|it| it.stage == SlotStage::Sent).map(seen_of).collect();
    store.include(lease, &seen).await
}

fn seen_of(open: &OpenSlot) -> portcullis_store::chain::Inclusion {
    inclusion(&bound(open), &signed(open.slot, AttemptKind::Payload, 1), block(101, 0))
}

async fn finalize_some(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    store.end_paid(lease, (CHAIN, 200, crate::rail::block_at(200)), 50, 50).await.map(|_| ())
}

async fn killed_thrice(server: &mut MariaDb, yard: &Yard) {
    for round in 0..3_u64 {
        tokio::time::sleep(Duration::from_millis(700 + 400 * round)).await;
        server.kill().expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again().expect("it recovers");
        yard.fixture.clock.advance(500);
    }
}

/// How far everything is, and whether it has ended.
async fn wait_for_the_end(yard: &Yard) {
    let begun = Instant::now();
    loop {
        yard.fixture.clock.advance(200);
        let filter = portcullis_store::withdrawal::WithdrawalFilter {
            status: Some(StateCode::Confirmed),
            limit: 100_000,
            ..Default::default()
        };
        let store = &yard.fixture.store;
        let paid = store.withdrawals(yard.fixture.tenant, &filter).await;
        let paid = paid.map_or(0, |paid| paid.iter().filter(|it| is_final(it)).count());
        if paid == PAYMENTS {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(4), "{paid} of {PAYMENTS} are paid");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn is_final(record: &portcullis_store::withdrawal::WithdrawalRecord) -> bool {
    matches!(record.state, portcullis_core::withdrawal::State::Confirmed { is_final: true, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_amid_a_thousand_payments_loses_and_repeats_none() {
    let mut server =
        tokio::task::spawn_blocking(MariaDb::start).await.expect("starts").expect("starts");
    let url = server.create_database("payments").expect("creates");
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = Fixture::open_at(url, folder, 5_000, 6).await;
    fixture.register(SENDERS).await;
    for account in ["alice", "bob"] {
        fixture.fund(account, 1_000).await;
    }
    fixture.advance(blocks(100, 102)).await.expect("begins");
    let mut requests: Vec<Vec<Submission>> = vec![Vec::new(); 8];
    for number in 0..PAYMENTS {
        let payer = if number % 2 == 0 { "alice" } else { "bob" };
        requests[number % 8].push(fixture.submission(&format!("w{number}"), payer, 1));
    }
    let (one, two) = (fixture.another(5_000).await, fixture.another(5_000).await);
    let intakes = [fixture.intake.clone(), Intake::new(two.clone(), Arc::clone(&fixture.keys))];
    let yard = Arc::new(Yard {
        fixture,
        is_over: AtomicBool::new(false),
        unavailable: AtomicU32::new(0),
        unknown: AtomicU32::new(0),
    });
    let mut workers = Vec::new();
    for (number, requests) in requests.into_iter().enumerate() {
        let intake = intakes[number % 2].clone();
        workers.push(tokio::spawn(submit(Arc::clone(&yard), intake, requests)));
    }
    for store in [one.clone(), two.clone()] {
        workers.push(tokio::spawn(validate(Arc::clone(&yard), store)));
    }
    for index in 0..SENDERS {
        let store = if index == 0 { one.clone() } else { two.clone() };
        workers.push(tokio::spawn(sign(Arc::clone(&yard), store, index)));
    }
    workers.push(tokio::spawn(send(Arc::clone(&yard), one.clone(), "one")));
    workers.push(tokio::spawn(send(Arc::clone(&yard), two.clone(), "two")));
    workers.push(tokio::spawn(monitor(Arc::clone(&yard), one)));
    killed_thrice(&mut server, &yard).await;
    wait_for_the_end(&yard).await;
    yard.is_over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("met nothing but the bad day");
    }
    let met = (yard.unavailable.load(Ordering::SeqCst), yard.unknown.load(Ordering::SeqCst));
    println!("steps that were refused: {}, commits whose answer was lost: {}", met.0, met.1);
    assert!(met.0 > 0, "the server was never missed");
    yard.fixture.check().await;
    let twice = "SELECT count(*) FROM (SELECT withdrawal_id FROM bindings GROUP BY withdrawal_id \
                 HAVING count(*) <> 1) AS counted";
    assert_eq!(yard.fixture.number(twice).await, 0, "each rode one slot");
    assert_eq!(yard.fixture.number("SELECT count(*) FROM attempts").await, 1_000);
    assert_eq!(yard.fixture.number("SELECT count(*) FROM withdrawals").await, 1_000);
    assert_eq!(yard.fixture.number("SELECT count(*) FROM alarms").await, 0);
    assert_eq!(yard.fixture.store.take_damage(), [], "no picture was torn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_told_as_that_and_found_by_the_next_try() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let server = MariaDb::shared().port();
    let proxy = SqlProxy::before(server).await;
    let url = fixture.url().replace(&format!(":{server}/"), &format!(":{}/", proxy.port()));
    let options = Fixture::options(&url, 5_000, 2);
    let store = Store::open(&options, Arc::new(fixture.clock.clone())).await.expect("opens");
    let intake = Intake::new(store, Arc::clone(&fixture.keys));
    for (name, cut, is_there) in [("w1", Cut::AfterCommit, 1), ("w2", Cut::BeforeCommit, 0)] {
        let request = fixture.submission(name, "alice", 1);
        let counted = format!("SELECT count(*) FROM withdrawals WHERE external_id = '{name}'");
        proxy.set(cut);
        let outcome = intake.submit(request.clone(), PATIENCE_MS).await;
        assert!(matches!(outcome, Err(IntakeError::OutcomeUnknown)), "{cut:?}: {outcome:?}");
        assert_eq!(proxy.cut(), Cut::Never, "it was cut");
        assert_eq!(fixture.number(&counted).await, is_there, "{cut:?}");
        let again = intake.submit(request, PATIENCE_MS).await.expect("the way is whole again");
        assert_eq!(matches!(again, Submitted::Existing(_)), is_there == 1, "{again:?}");
        assert_eq!(fixture.number(&counted).await, 1, "{cut:?}");
    }
    fixture.check().await;
}

pub(crate) async fn session(fixture: &Fixture) -> MySqlConnection {
    let mut session = MySqlConnection::connect(fixture.url()).await.expect("connects");
    session.execute("BEGIN").await.expect("begins");
    session
}

pub(crate) async fn run(session: &mut MySqlConnection, statement: &str) {
    let outcome = session.execute(AssertSqlSafe(statement.to_owned())).await;
    outcome.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// How often the server has ended a transaction for the sake of another.
async fn deadlocks(fixture: &Fixture) -> i64 {
    let asked = "SELECT variable_value, '' FROM information_schema.global_status \
                 WHERE variable_name = 'INNODB_DEADLOCKS'";
    fixture.pairs(asked).await[0].0.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_ended_for_anothers_sake_is_run_again() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let record = fixture.accept("w", "alice", 40).await;
    let before = deadlocks(&fixture).await;
    let mut other = session(&fixture).await;
    // It has written more, so that it is the other one that is ended.
    for number in 0..200 {
        let insert = format!("INSERT INTO headers VALUES (1, {number}, X'00', X'00', 0)");
        run(&mut other, &insert).await;
    }
    run(&mut other, "SELECT id FROM deployment WHERE id = 1 FOR UPDATE").await;
    let (store, tenant) = (fixture.store.clone(), fixture.tenant);
    let canceling = tokio::spawn(async move { store.cancel(tenant, record.id, "test").await });
    // It has the withdrawal when it waits for the deployment's row, which the audit log is appended under.
    let waits = "SELECT count(*) FROM information_schema.processlist \
                 WHERE db = DATABASE() AND command = 'Execute' AND time_ms > 200 AND id <> CONNECTION_ID()";
    for _ in 0..400 {
        if fixture.number(waits).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run(&mut other, "UPDATE withdrawals SET updated_at = updated_at + 1").await;
    assert!(deadlocks(&fixture).await > before, "they waited for each other");
    run(&mut other, "ROLLBACK").await;
    let outcome = canceling.await.expect("does not panic");
    assert!(matches!(outcome, Ok(CancelOutcome::Canceled(_))), "{outcome:?}");
    fixture.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_held_for_a_while_is_only_a_delay() {
    let fixture = Fixture::open_with(1_000, 2).await;
    fixture.fund("alice", 100).await;
    let lock = fixture.lock().await;
    let begun = Instant::now();
    let intake = fixture.intake.clone();
    let request = fixture.submission("w", "alice", 1);
    let waiting = tokio::spawn(async move { intake.submit(request, PATIENCE_MS).await });
    // Longer than one wait, after which the whole transaction is rolled back and begun anew.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    lock.release().await;
    let outcome = waiting.await.expect("does not panic");
    assert!(matches!(outcome, Ok(Submitted::Accepted(_))), "{outcome:?}");
    assert!(begun.elapsed() >= Duration::from_millis(1_400));
    fixture.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_stays_held_is_unavailable_and_nothing_is_written() {
    let fixture = Fixture::open_with(1_000, 2).await;
    fixture.fund("alice", 100).await;
    let lock = fixture.lock().await;
    let outcome = fixture.store.raise_halt("tamper", "a test").await;
    assert!(outcome.as_ref().is_err_and(StoreError::is_unavailable), "{outcome:?}");
    lock.release().await;
    fixture.quiesce().await;
    assert_eq!(fixture.store.halts().await.map(|all| all.len()), Ok(0), "rolled back as a whole");
    fixture.store.raise_halt("tamper", "a test").await.expect("the lock is gone");
    fixture.check().await;
}

//! Roles as processes: a fleet whose processes are killed while they pay, a process that stood still for longer than its lease,
//! and what a process is refused.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Parser;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::sleep;
use xtask::cargo_build::{Profile, build_portcullis};
use xtask::fleet::{self, FleetArgs};
use xtask::installation::Installation;
use xtask::rail::Rail;
use xtask::server::free_address;
use xtask::service::Service;
use xtask::{testbed, toolchain};

/// The command line of a user.
#[derive(Debug, Parser)]
enum Line {
    Fleet(FleetArgs),
}

const LEASE_MS: &str = "3000";
const LEASE: &str = "monitor:31337";
/// Far above what any wait here takes.
const LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Each test has a chain: at the same time they would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn a_fleet_whose_processes_are_killed_pays_every_withdrawal_exactly_once() {
    let _turn = alone();
    let words = "xtask fleet --withdrawals 120 --rate 8 --kill-every 1500 --seed 20261128";
    let Line::Fleet(arguments) = Line::try_parse_from(words.split(' ')).unwrap();
    let report = runtime().block_on(fleet::run(&arguments)).unwrap();
    println!("{report}");
    assert_eq!((report.lost, report.paid_twice, report.doorbells_left), (0, 0, 0), "{report}");
    assert!(report.kills >= 5 && report.withdrawals > 100, "{report}");
    assert!(report.is_good(), "{report}");
}

/// Who has the lease, and how often it changed hands.
fn lease(database: &Path) -> Option<(String, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(database, flags).ok()?;
    connection.busy_timeout(Duration::from_secs(5)).ok()?;
    let query = "SELECT holder, fence FROM leases WHERE name = ?1";
    connection.query_row(query, [LEASE], |row| Ok((row.get(0)?, row.get(1)?))).ok()
}

/// Waits until the lease is as wanted.
async fn lease_when(
    database: &Path,
    what: &str,
    is_so: impl Fn(&(String, i64)) -> bool,
) -> (String, i64) {
    let waiting = async {
        loop {
            if let Some(found) = lease(database).filter(|found| is_so(found)) {
                return found;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, waiting).await;
    found.unwrap_or_else(|_| panic!("{what}: the lease is {:?}", lease(database)))
}

/// Waits until a process listens, which it does when it has begun.
async fn listens(address: SocketAddr) {
    let waiting = async {
        while TcpStream::connect(address).is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("it listens in time");
}

fn monitor(installation: &Installation, listen: SocketAddr, log: &Path) -> Service {
    let mut command = Command::new(installation.binary());
    command
        .args(["serve", "--role", "monitor", "--config"])
        .arg(installation.config())
        .args(["--listen", &listen.to_string()])
        .env("PORTCULLIS__ENGINE__LEASE_MS", LEASE_MS)
        .envs([("NO_PROXY", "127.0.0.1,localhost"), ("no_proxy", "127.0.0.1,localhost")]);
    Service::start("monitor", command, log).unwrap()
}

fn signal(service: &Service, signal: Signal) {
    let pid = i32::try_from(service.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_process_that_stood_still_for_longer_than_its_lease_writes_nothing_when_it_wakes() {
    let _turn = alone();
    runtime().block_on(stands_still());
}

async fn stands_still() {
    let binary = build_portcullis(&toolchain::workspace_root(), Profile::Dev).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (anvil, chain) = testbed::start_chain(dir, None).await.unwrap();
    let installation = Installation::at(binary, &dir.join("portcullis"));
    let listen = free_address().unwrap();
    testbed::furnish(&installation, &chain, listen, (1, Rail::Direct)).await.unwrap();
    let database = installation.database();

    let first = monitor(&installation, free_address().unwrap(), &dir.join("first.log"));
    let before = lease_when(&database, "the first one follows", |_| true).await;
    let beside = free_address().unwrap();
    let second = monitor(&installation, beside, &dir.join("second.log"));
    listens(beside).await;
    // For longer than a lease.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(lease(&database), Some(before.clone()), "two of them, and one has the lease");

    signal(&first, Signal::STOP);
    let taken = lease_when(&database, "the second one takes over", |now| now.0 != before.0).await;
    assert!(taken.1 > before.1, "with a higher fence: {taken:?} after {before:?}");
    signal(&first, Signal::CONT);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(lease(&database), Some(taken.clone()), "what woke up late took nothing back");
    assert!(first.status().is_none(), "and it lives: it just is not its turn");

    // When the other one ends, it is its turn again.
    second.stop(STOP_LIMIT).await.unwrap();
    let back = lease_when(&database, "the first one again", |now| now.0 == before.0).await;
    assert!(back.1 > taken.1, "{back:?} after {taken:?}");
    first.stop(STOP_LIMIT).await.unwrap();
    anvil.stop().await.unwrap();
}

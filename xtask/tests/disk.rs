//! Disks that are full while payments are under way: that of the database, and that of the journal. The real binary and a
//! real node, on small file systems of their own.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use xtask::anvil::Anvil;
use xtask::assets::{TestAsset, by_symbol};
use xtask::cargo_build::{Profile, build_portcullis};
use xtask::client::{Answer, ApiClient, ApiRequest};
use xtask::installation::{Installation, NETWORK};
use xtask::judge::{Promise, Verdict, observe};
use xtask::rail::Rail;
use xtask::server::{Server, free_address};
use xtask::testbed::{self, Payers, TestChain};
use xtask::toolchain;

/// Far above what any wait here takes.
const LIMIT: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const ACCOUNT: &str = "alice";

/// Set in the process that may mount.
const HAS_MOUNTS: &str = "XTASK_DISK_TEST_HAS_MOUNTS";

/// How a process with mounts of its own is started, as an ordinary user and as root. They end with it, however it ends.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount", "--"], &["--mount", "--"]];

/// Runs a test in a process that may mount file systems: this one, or another one that runs this test alone.
fn with_mounts(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(HAS_MOUNTS).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(Box::pin(body));
    }
    let may_mount = |way: &&&[&str]| {
        let script = "mount -t tmpfs -o size=1m tmpfs /tmp";
        let tried = Command::new("unshare").args(**way).args(["sh", "-c", script]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let way = WAYS.iter().find(may_mount).expect(
        "this test needs a small file system of its own: run it where `unshare --user --map-root-user --mount` and \
         `mount -t tmpfs` are permitted, or as root",
    );
    let status = Command::new("unshare")
        .args(*way)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(HAS_MOUNTS, "yes")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed: see above");
}

/// A file system of that size on a new directory.
fn mount(place: &Path, size: &str) {
    fs::create_dir_all(place).unwrap();
    let options = format!("size={size},mode=0700");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place).status();
    assert!(mounted.is_ok_and(|status| status.success()), "{} is not mounted", place.display());
}

/// Fills a file system to its last byte. The file is what to remove.
fn fill(place: &Path) -> PathBuf {
    let path = place.join("ballast");
    let mut file = File::create(&path).unwrap();
    for block in [64 * 1024, 4 * 1024, 1] {
        let bytes = vec![7; block];
        while file.write_all(&bytes).is_ok() {}
    }
    path
}

struct Scene {
    folder: TempDir,
    anvil: Anvil,
    chain: TestChain,
    installation: Installation,
    payers: Payers,
    api: ApiClient,
    usdc: Address,
    /// What was accepted.
    promises: Vec<Promise>,
}

impl Scene {
    /// With a small file system under one directory of the installation.
    async fn set(small: &str, size: &str) -> (Self, Server, PathBuf) {
        let binary = build_portcullis(&toolchain::workspace_root(), Profile::Dev).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let (anvil, chain) = testbed::start_chain(dir, None).await.unwrap();
        let home = dir.join("portcullis");
        let small = home.join(small);
        mount(&small, size);
        let installation = Installation::at(binary, &home);
        let listen: SocketAddr = free_address().unwrap();
        let furnished =
            testbed::furnish(&installation, &chain, listen, (4, Rail::Direct)).await.unwrap();
        testbed::fund(&chain, &furnished.payers).await.unwrap();
        let options = testbed::server_options(&installation, &chain, listen, dir);
        let server = Server::start(&options).unwrap();
        server.ready().await.unwrap();
        let api = ApiClient::new(listen, &furnished.secret).unwrap();
        let assets = TestAsset::all(&chain.deployment);
        let usdc = by_symbol(&assets, "USDC").unwrap().token.unwrap();
        api.deposit(ACCOUNT, "deposit", "USDC", "1000000").await.unwrap();
        let payers = furnished.payers;
        let promises = Vec::new();
        let scene = Self { folder, anvil, chain, installation, payers, api, usdc, promises };
        (scene, server, small)
    }

    /// Asks once for the next withdrawal: each has a recipient of its own, and much to be remembered.
    async fn ask(&mut self) -> Answer {
        let number = self.promises.len() + 1;
        let to = Address::left_padding_from(&((number as u64) << 32).to_be_bytes());
        let external_id = format!("payment-{number}");
        let body = json!({
            "external_id": &external_id, "account_id": ACCOUNT, "network": NETWORK, "asset": "USDC",
            "amount": "2", "to_address": to.to_checksum(None),
            "metadata": { "note": "x".repeat(3_500) },
        });
        let answer = self.api.send(&ApiRequest::post("/v1/withdrawals", &body)).await.unwrap();
        if answer.status.is_success() {
            let (token, units) = (Some(self.usdc), U256::from(2_000_000));
            self.promises.push(Promise { external_id, token, to, units });
        } else {
            // It may be repeated, as it is, and the next one is the same.
            assert_eq!(answer.status, 503, "{answer:?}");
            // Where the commit itself met the end of the disk, nobody knows: a repetition tells.
            let is_told = [Some("DATABASE_UNAVAILABLE"), Some("OUTCOME_UNKNOWN")];
            assert!(is_told.contains(&answer.code()), "{answer:?}");
            assert!(answer.is_retryable(), "{answer:?}");
        }
        answer
    }

    /// Until `/readyz` says so.
    async fn until_ready_says(&self, what: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
        let waiting = async {
            loop {
                let told = self.api.send(&ApiRequest::get("/readyz")).await.unwrap();
                if is_so(&told) {
                    return told;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let told = timeout(LIMIT, waiting).await;
        told.unwrap_or_else(|_| panic!("/readyz does not say after {LIMIT:?}: {what}"))
    }

    /// Until all that was accepted is confirmed; then the chain says that each was paid, and none twice.
    async fn all_are_paid(&self) {
        let waiting = async {
            while self.api.withdrawals_in("CONFIRMED").await.unwrap().len() < self.promises.len() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(LIMIT, waiting).await.expect("all are confirmed in time");
        let rpc = &self.chain.rpc;
        let head = rpc.block_number().await.unwrap();
        let scope = testbed::whole_scope(&self.chain, &self.payers);
        let observation = observe(rpc, &scope, 1, head).await.unwrap();
        let verdict = Verdict::of(&self.promises, &observation.payments);
        assert_eq!((verdict.lost(), verdict.paid_twice), (vec![], vec![]));
        assert_eq!(verdict.unexpected, []);
    }

    /// How often the log tells at a level of a component that is lacking.
    fn told(&self, level: &str, component: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_meant = |line: &Value| {
            let text = line.to_string();
            text.contains(&format!("\"component\":\"{component}\""))
                && text.to_ascii_lowercase().contains(&format!("\"level\":\"{level}\""))
        };
        lines.filter(is_meant).count()
    }

    /// Database, journal and chain agree, and so does the audit log.
    async fn end(self, server: Server) {
        server.stop().await.unwrap();
        for arguments in [&["reconcile"][..], &["admin", "audit", "verify"]] {
            let output = self.installation.run(arguments).unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{arguments:?}: {said} {output:?}");
        }
        self.anvil.stop().await.unwrap();
    }
}

/// What is said of a component.
fn detail<'a>(told: &'a Answer, component: &str) -> Option<&'a str> {
    let concerns = told.body["concerns"].as_array()?;
    let found = concerns.iter().find(|concern| concern["component"] == component)?;
    found["detail"].as_str()
}

#[test]
fn a_full_disk_of_the_database_stops_payments_and_loses_none() {
    let test = "a_full_disk_of_the_database_stops_payments_and_loses_none";
    with_mounts(test, async {
        let (mut scene, server, data) = Scene::set("data", "16m").await;
        for _ in 0..20 {
            assert_eq!(scene.ask().await.status, 202);
        }
        // With payments under way.
        let ballast = fill(&data);
        let mut refused = 0;
        let told = loop {
            refused += usize::from(scene.ask().await.status == 503);
            let told = scene.api.send(&ApiRequest::get("/readyz")).await.unwrap();
            if detail(&told, "disk").is_some() {
                break told;
            }
            assert!(scene.promises.len() < 3_000, "there is room on a full disk");
        };
        assert_eq!(told.status, 503, "{told:?}");
        assert!(detail(&told, "disk").is_some_and(|it| it.contains("free space")), "{told:?}");
        while refused == 0 {
            refused += usize::from(scene.ask().await.status == 503);
        }
        // It is full for longer than a transaction is tried again.
        sleep(Duration::from_secs(3)).await;
        fs::remove_file(ballast).unwrap();
        scene
            .until_ready_says("there is room", |told| {
                told.status == 200 && detail(told, "disk").is_none()
            })
            .await;
        let repeated = scene.ask().await;
        assert!(
            repeated.status.is_success(),
            "what was refused is repeated as it was: {repeated:?}"
        );
        scene.all_are_paid().await;
        let (begun, ended) = (scene.told("error", "disk"), scene.told("info", "disk"));
        assert!(begun >= 1 && begun == ended, "{begun} beginnings, {ended} ends");
        scene.end(server).await;
    });
}

#[test]
fn a_full_disk_of_the_journal_keeps_payments_waiting_and_is_mended() {
    let test = "a_full_disk_of_the_journal_keeps_payments_waiting_and_is_mended";
    with_mounts(test, async {
        let (mut scene, server, keys) = Scene::set("keys", "1m").await;
        assert_eq!(scene.ask().await.status, 202);
        scene.all_are_paid().await;
        let ballast = fill(&keys);
        for _ in 0..30 {
            assert_eq!(scene.ask().await.status, 202, "they are accepted and wait");
        }
        let told = scene
            .until_ready_says("the journal fails", |told| detail(told, "journal").is_some())
            .await;
        assert_eq!((told.status.as_u16(), &told.body["status"]), (200, &json!("degraded")));
        let why = detail(&told, "journal").unwrap();
        assert!(why.contains("No space left on device"), "{why}");
        // Many steps of the signer, which are told once.
        sleep(Duration::from_secs(5)).await;
        let still = scene.api.send(&ApiRequest::get("/readyz")).await.unwrap();
        assert!(detail(&still, "journal").is_some(), "{still:?}");
        fs::remove_file(ballast).unwrap();
        scene.until_ready_says("it is mended", |told| detail(told, "journal").is_none()).await;
        scene.all_are_paid().await;
        assert_eq!((scene.told("error", "journal"), scene.told("info", "journal")), (1, 1));
        let log = fs::read_to_string(scene.folder.path().join("server.log")).unwrap();
        assert!(!log.contains("the signer refused"), "not a line for each slot");
        scene.end(server).await;
    });
}

//! A new installation in a temporary directory, and a server that runs on it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Far above what a start takes, so that a slow machine fails no test.
pub(crate) const START_BOUND: Duration = Duration::from_secs(30);
pub(crate) const STOP_BOUND: Duration = Duration::from_secs(30);

/// Where the token of these tests is.
pub(crate) const TOKEN: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";

/// A running server; ended with the test, whatever the test finds.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) struct Installation {
    dir: tempfile::TempDir,
}

impl Installation {
    /// `init` against a node that nobody listens at.
    pub(crate) fn new() -> Self {
        Self::with_node(free_address())
    }

    /// `init` against the node at an address.
    pub(crate) fn with_node(node: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let installation = Self { dir };
        let root = installation.root().display().to_string();
        let url = format!("http://{node}");
        let output =
            run(None, &["init", "--dir", &root, "--rpc-url", &url, "--passphrase", "--json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        installation
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("payouts")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root().join("portcullis.toml")
    }

    pub(crate) fn set_drain_ms(&self, drain_ms: u64) {
        let text = std::fs::read_to_string(self.config()).expect("readable");
        let drained = text.replace("# drain_ms = 10000", &format!("drain_ms = {drain_ms}"));
        assert_ne!(text, drained);
        std::fs::write(self.config(), drained).expect("writable");
    }

    /// Adds lines to the section `[database]`.
    pub(crate) fn set_database(&self, lines: &str) {
        let text = std::fs::read_to_string(self.config()).expect("readable");
        let moved = text.replace("[database]\n", &format!("[database]\n{lines}\n"));
        assert_ne!(text, moved);
        std::fs::write(self.config(), moved).expect("writable");
    }

    /// Takes what opens the keys out of the configuration: beside a server, only the signer may have it.
    pub(crate) fn take_keys_away(&self) {
        let text = std::fs::read_to_string(self.config()).expect("readable");
        let opens =
            |line: &&str| line.starts_with("keystore = ") || line.starts_with("passphrase_file = ");
        assert_eq!(text.lines().filter(opens).count(), 2, "{text}");
        let kept: Vec<&str> = text.lines().filter(|line| !opens(line)).collect();
        std::fs::write(self.config(), kept.join("\n")).expect("writable");
    }

    /// Runs a command that is to succeed and returns its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let output = run(Some(&self.config()), &arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        let line = text(&output.stdout);
        assert_eq!(line.lines().count(), 1, "one line for a machine: {line}");
        serde_json::from_str(&line).expect("JSON on standard output")
    }

    pub(crate) fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = run(Some(&self.config()), arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        self.serve_with(&[], arguments)
    }

    /// With some variables in the environment.
    pub(crate) fn serve_with(&self, environment: &[(&str, String)], arguments: &[&str]) -> Server {
        // A file, not a pipe: a full pipe would hold the server up.
        let logs = (0_u32..).map(|number| self.dir.path().join(format!("server-{number}.log")));
        let log = logs.into_iter().find(|log| !log.exists()).expect("one is free");
        let stderr = std::fs::File::create(&log).expect("writable");
        let child = command(Some(&self.config()))
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, address, log };
        let started = Instant::now();
        while server.ask("GET", "/livez", None, None).is_none() {
            assert!(started.elapsed() < START_BOUND, "not alive in time: {}", server.log());
            let ended = server.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended: {}", server.log());
            server.address = server.logged_address().unwrap_or(server.address);
            std::thread::yield_now();
        }
        server
    }
}

impl Server {
    /// One request; `None` while nobody listens.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        secret: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let authorization = secret.map(|secret| format!("authorization: Bearer {secret}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            authorization.unwrap_or_default(),
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body))))
    }

    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        secret: &str,
        body: &Value,
    ) -> (u16, Value) {
        self.ask(method, path, Some(secret), Some(body)).expect("the server answers")
    }

    /// A deposit for `user-1` that is taken in.
    pub(crate) fn deposit(&self, secret: &str, external_id: &str, amount: &str) {
        let deposit = json!({
            "external_id": external_id, "network": "localhost", "asset": "POL", "amount": amount,
        });
        let (status, answer) = self.call("POST", "/v1/accounts/user-1/deposits", secret, &deposit);
        assert!((200..300).contains(&status), "{status} {answer}");
    }

    /// Asks for `w-1`, a withdrawal of `user-1`: the same each time.
    pub(crate) fn withdraw(&self, secret: &str) -> (u16, Value) {
        let withdrawal = json!({
            "external_id": "w-1", "account_id": "user-1", "network": "localhost", "asset": "POL",
            "amount": "1.5", "to_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "priority": "standard",
        });
        self.call("POST", "/v1/withdrawals", secret, &withdrawal)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is UTF-8")
    }

    /// Where it listens, once its log says so.
    fn logged_address(&self) -> Option<SocketAddr> {
        let log = self.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["message"] == "listening")?;
        line["address"].as_str()?.parse().ok()
    }

    /// A request whose body never comes. The server asks for the body when it has begun to handle it.
    pub(crate) fn half_a_request(&self, secret: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!(
            "POST /v1/withdrawals HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"HTTP/1.1 100");
        stream
    }

    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// SIGTERM, and the exit code and log that follow.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.terminate();
        let asked = Instant::now();
        let status = self.child.wait().expect("it can be waited for");
        assert!(asked.elapsed() < STOP_BOUND, "it took too long to stop");
        (status.code(), self.log())
    }
}

pub(crate) fn command(config: Option<&Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    // Nothing of this machine's environment decides a test.
    command.env_clear().stdin(Stdio::null());
    if let Some(config) = config {
        command.env("PORTCULLIS_CONFIG", config);
    }
    command
}

pub(crate) fn run(config: Option<&Path>, arguments: &[&str]) -> Output {
    command(config).args(arguments).output().expect("the binary runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The command that registers an asset with the least and the most of a payment.
pub(crate) fn asset_add<'a>(
    symbol: &'a str,
    token: &'a str,
    decimals: &'a str,
    [min, max]: [&'a str; 2],
) -> Vec<&'a str> {
    let options = [
        ["--network", "localhost"],
        ["--symbol", symbol],
        ["--token", token],
        ["--decimals", decimals],
        ["--min", min],
        ["--max", max],
    ];
    [&["admin", "asset", "add"], options.as_flattened()].concat()
}

/// An address that nobody listens at now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

//! Servers of the test's own: on free ports of the loopback, ended by the test.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_engine::{SqsOptions, SqsQueues};
use tempfile::TempDir;

/// How long a start may take on a busy machine.
const START_MOST: Duration = Duration::from_mins(1);

/// Names another executable of the SQS API.
const MOTO_VARIABLE: &str = "PORTCULLIS_MOTO";

/// A running server; it ends with this value.
pub(crate) struct Server {
    process: Child,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    folder: TempDir,
}

impl Server {
    /// An SQS API in memory.
    pub(crate) fn moto() -> Self {
        let own =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/moto/bin/moto_server");
        let program = std::env::var_os(MOTO_VARIABLE).map_or(own, PathBuf::from);
        Self::start(program, |port| vec!["-H".into(), "127.0.0.1".into(), "-p".into(), port])
    }

    pub(crate) fn redis() -> Self {
        Self::start(PathBuf::from("redis-server"), |port| {
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]
                .map(str::to_owned)
                .to_vec()
        })
    }

    fn start(program: PathBuf, arguments: impl Fn(String) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let arguments = arguments(port.to_string());
        let process = spawn(&program, &arguments, port, folder.path());
        Self { process, program, arguments, port, folder }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it has ended");
    }

    /// Starts it again where it was; it remembers nothing.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(&self.program, &self.arguments, self.port, self.folder.path());
    }

    pub(crate) fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A client of its own process.
    pub(crate) async fn queues(&self) -> SqsQueues {
        SqsQueues::new(SqsOptions {
            region: "eu-central-1".to_owned(),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            is_emulated: true,
            prefix: "test-".to_owned(),
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The test may have killed it.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn spawn(program: &Path, arguments: &[String], port: u16, folder: &Path) -> Child {
    let log = || File::create(folder.join("log")).expect("a log");
    let mut process = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{} is missing ({error}): `cargo xtask test` installs it", program.display())
        });
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = process.try_wait().expect("it can be asked");
        assert!(ended.is_none(), "{} ended: {ended:?}", program.display());
        assert!(began.elapsed() < START_MOST, "{} does not listen", program.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

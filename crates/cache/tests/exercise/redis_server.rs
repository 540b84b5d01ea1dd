//! A Redis of the test's own: on a free port of the loopback, in a folder that goes with it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a start may take on a busy machine.
const START_MOST: Duration = Duration::from_secs(20);

/// A running server; it ends with this value.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for _ in 0..3 {
            let port = free_port();
            if let Some(process) = spawn(port, &folder) {
                return Self { process, port, folder };
            }
        }
        panic!("redis-server did not start on a free port");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// SIGKILL, as a machine that goes away.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it has ended");
    }

    /// Starts it again on the same port; it remembers nothing.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.port, &self.folder).expect("the port is its own");
    }

    /// From now on it accepts connections and answers nothing.
    pub(crate) fn stop_answering(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn answer_again(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it is running");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A server that says that it is ready; `None` where it ended instead.
fn spawn(port: u16, folder: &TempDir) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is missing: `cargo xtask test` installs it (Debian: redis-server)");
    let words = BufReader::new(process.stdout.take().expect("it is piped"));
    let deadline = Instant::now() + START_MOST;
    for line in words.lines().map_while(Result::ok) {
        if line.contains("Ready to accept connections") {
            return Some(process);
        }
        if Instant::now() > deadline {
            break;
        }
    }
    let _ended = process.kill();
    let _status = process.wait();
    None
}

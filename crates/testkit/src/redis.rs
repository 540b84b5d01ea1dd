//! A Redis of the test's own: on a free port of the loopback, with nothing on a disk.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::owned::Owned;

/// Another process may take the port between our look and the server's.
const TRIES: usize = 3;

/// What Redis says when it listens.
const READY: &str = "Ready to accept connections";

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    process: Owned,
    port: u16,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start: a test that needs Redis fails by that name.
    #[must_use]
    pub fn start() -> Self {
        for _ in 0..TRIES {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            if let Some(process) = spawn(port) {
                return Self { process, port };
            }
        }
        panic!("redis-server did not start on a free port");
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// SIGKILL, as a machine that goes away.
    pub fn kill(&mut self) {
        self.process.end();
    }

    /// Starts it again on the same port; it remembers nothing.
    ///
    /// # Panics
    /// When somebody else has the port by now.
    pub fn start_again(&mut self) {
        self.process = spawn(self.port).expect("the port is its own");
    }

    /// From now on it accepts connections and answers nothing.
    pub fn stop_answering(&self) {
        self.signal(Signal::STOP);
    }

    /// After [`RedisServer::stop_answering`].
    pub fn answer_again(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).expect("it is running");
    }
}

/// A server that says that it is ready; `None` where it ended instead.
fn spawn(port: u16) -> Option<Owned> {
    let mut child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"])
        // A file of this name that somebody left behind would be read at the start.
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--dbfilename",
            &format!("portcullis-{port}.rdb"),
        ])
        .arg("--dir")
        .arg(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is missing: `cargo xtask test` installs it (Debian: redis-server)");
    let words = BufReader::new(child.stdout.take().expect("it is piped"));
    let owned = Owned(child);
    words.lines().map_while(Result::ok).any(|line| line.contains(READY)).then_some(owned)
}

//! moto: KMS, Secrets Manager and SQS as AWS answers them, in the memory of a process of the test's own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::owned::Owned;

/// Names the `moto_server` of another Python environment than the one that `cargo xtask test` makes.
const VARIABLE: &str = "PORTCULLIS_MOTO";

/// Where `cargo xtask test` installs it, below the root of the checkout.
const INSTALLED: &str = "target/tools/moto/bin/moto_server";

/// A running server; it ends with this value, and with the process that started it.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    server: Owned,
}

impl Moto {
    /// Starts one on a free port, with nothing in it.
    ///
    /// # Panics
    /// When it is not installed or does not start: a test that needs it fails by that name.
    #[must_use]
    pub fn start() -> Self {
        let (server, port) = spawn(None);
        Self { port, server }
    }

    /// Where it listens, on the loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What a client takes for the endpoint of AWS.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.server.end();
    }

    /// Starts it again where it was; it remembers nothing.
    ///
    /// # Panics
    /// As [`Moto::start`].
    pub fn start_again(&mut self) {
        (self.server, _) = spawn(Some(self.port));
    }
}

fn spawn(port: Option<u16>) -> (Owned, u16) {
    let server = std::env::var_os(VARIABLE).map_or_else(installed, PathBuf::from);
    let python = interpreter(&server);
    let mut child = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("moto_server.py"))
        .args(port.map(|port| port.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", python.to_string_lossy()));
    let output = child.stdout.take().expect("it is piped");
    let owned = Owned(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("moto's output can be read");
    let port = line.trim().parse().unwrap_or_else(|_| {
        panic!("{} has no moto that starts: see CONTRIBUTING.md", python.to_string_lossy())
    });
    (owned, port)
}

fn installed() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().and_then(Path::parent).expect("this crate lies two folders deep");
    root.join(INSTALLED)
}

/// The Python whose moto that is: the one beside it, as an environment has it, else the one that its first line names.
fn interpreter(server: &Path) -> OsString {
    let beside = server.with_file_name("python");
    if beside.is_file() {
        return beside.into();
    }
    let script = std::fs::read_to_string(server).unwrap_or_else(|error| {
        panic!(
            "moto is not at {} ({error}): `cargo xtask test` installs it, or {VARIABLE} names it",
            server.display()
        )
    });
    let Some(interpreter) = named_interpreter(&script) else {
        panic!("{} is no script of Python: {VARIABLE} names a moto_server", server.display())
    };
    OsString::from(interpreter)
}

/// `#!/usr/bin/python3`, or `#!/usr/bin/env python3`.
fn named_interpreter(script: &str) -> Option<&str> {
    let named = script.lines().next()?.strip_prefix("#!")?.split_whitespace().last()?;
    let program = Path::new(named).file_name()?.to_str()?;
    program.starts_with("python").then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_from_the_first_line() {
        for (script, named) in [
            ("#!/usr/bin/python3\nimport moto\n", Some("/usr/bin/python3")),
            ("#! /opt/moto/bin/python3.11 \n", Some("/opt/moto/bin/python3.11")),
            ("#!/usr/bin/env python3\n", Some("python3")),
            ("#!/bin/sh\nexec python3\n", None),
            ("import moto\n", None),
            ("", None),
        ] {
            assert_eq!(named_interpreter(script), named, "{script:?}");
        }
    }
}

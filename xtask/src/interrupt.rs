//! Ctrl-C, SIGTERM, and the end of the terminal.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its making on; without one, each of them ends this program at once, and leaves the
/// processes behind that it started.
#[derive(Debug)]
pub struct Interrupt {
    keyboard: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Interrupt {
    /// Begins to listen.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            keyboard: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.keyboard.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Does `work` to its end, or drops it at the first signal, with every process that it started:
/// then there is no result.
///
/// # Errors
/// Those of `work`.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let mut interrupt = Interrupt::listen()?;
    tokio::select! {
        outcome = work => outcome.map(Some),
        () = interrupt.wait() => Ok(None),
    }
}

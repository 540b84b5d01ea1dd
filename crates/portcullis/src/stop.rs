//! How the process ends: a first signal asks for it, a second one does it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;

/// The signals that ask for an end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on; until then a signal ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::failed("cannot listen for signals", &error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Passes the first signal on, and ends the process with the second.
    pub(crate) async fn obey(mut self, stop: watch::Sender<bool>) {
        let name = self.next().await;
        tracing::info!(signal = name, "stopping: work in hand is finished first");
        stop.send_replace(true);
        let name = self.next().await;
        tracing::warn!(signal = name, "ended at once; the next start goes on from the database");
        std::process::exit(1);
    }
}

/// Returns when a stop was asked for.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // When the sender is gone nobody can ask any more: that is a stop too.
    let _outcome = stop.wait_for(|is_stopping| *is_stopping).await;
}

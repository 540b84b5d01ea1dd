//! What stands between a client and its database, and cuts their connection around a commit when it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// When a connection to a database is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is not.
    Never,
    /// The next commit is not passed on.
    BeforeCommit,
    /// The next commit is passed on, and its answer is not.
    AfterCommit,
    /// No connection is made at all.
    Always,
}

/// A proxy in front of a database server; it ends with this value.
#[derive(Debug)]
pub struct SqlProxy {
    port: u16,
    cut: Arc<Mutex<Cut>>,
    listening: JoinHandle<()>,
}

impl Drop for SqlProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl SqlProxy {
    /// Listens on a free port of the loopback, before the server at that one.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let cut = Arc::new(Mutex::new(Cut::Never));
        let cuts = Arc::clone(&cut);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let cut = Arc::clone(&cuts);
                tokio::spawn(async move { Box::pin(relay(client, upstream, &cut)).await });
            }
        });
        Self { port, cut, listening }
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What becomes of the next commit.
    pub fn set(&self, cut: Cut) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }

    /// What is set: [`Cut::Never`] again once it has cut.
    #[must_use]
    pub fn cut(&self) -> Cut {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The statement as a packet has it: the command of a query, then its text.
const COMMIT: &[u8] = b"\x03COMMIT";

async fn relay(mut client: TcpStream, upstream: u16, cut: &Mutex<Cut>) {
    let now = || *cut.lock().unwrap_or_else(PoisonError::into_inner);
    if now() == Cut::Always {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                let is_commit = asked[..count].windows(COMMIT.len()).any(|part| part == COMMIT);
                let cut_now = if is_commit { now() } else { Cut::Never };
                if is_commit && cut_now != Cut::Never {
                    *cut.lock().unwrap_or_else(PoisonError::into_inner) = Cut::Never;
                }
                if cut_now == Cut::BeforeCommit {
                    return;
                }
                if server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
                if cut_now == Cut::AfterCommit {
                    let wait = Duration::from_secs(10);
                    let _answer = tokio::time::timeout(wait, server.read(&mut answered)).await;
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

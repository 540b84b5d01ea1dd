//! The listener: connections bounded in number, and in the time that a client takes for a request's head.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::stop::stopped;

/// How long nothing is accepted when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What one listener lets clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// The most connections at once; one above is closed at once.
    pub(crate) connections_max: usize,
    /// How long a client may take to send a request's head, and how long a connection may be idle.
    pub(crate) head_wait: Duration,
}

/// Answers requests until it is closed, and then those that are open.
pub(crate) async fn serve_http(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    closing: watch::Receiver<bool>,
) {
    let connections = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_wait);
    let mut is_full = false;
    let mut closed = pin!(stopped(closing));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut closed => break,
        };
        let Some(stream) = accepted else { continue };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("portcullis_http_connections_refused_total").increment(1);
            if !is_full {
                let connections_max = limits.connections_max;
                tracing::warn!(
                    connections_max,
                    "too many connections: new ones are closed (server.connections_max)"
                );
            }
            is_full = true;
            continue;
        };
        is_full = false;
        // Answers are small: waiting to fill a packet would only delay them.
        let _outcome = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// The next connection; `None` where there was none, after a pause if another try would fail as well.
async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) if is_of_one_connection(&error) => None,
        Err(error) => {
            tracing::error!(
                %error,
                "no connection can be accepted; trying again in a second: are there enough file \
                 descriptors (ulimit -n)?"
            );
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether the client went away before it was accepted: that says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;

    /// Far above what anything here takes.
    const BOUND: Duration = Duration::from_secs(20);

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

    async fn start(
        connections_max: usize,
        head_wait: Duration,
    ) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().route("/", get(|| async { "here" }));
        let (close, closing) = watch::channel(false);
        let limits = ConnectionLimits { connections_max, head_wait };
        (address, close, tokio::spawn(serve_http(listener, router, limits, closing)))
    }

    /// Sends the request and reads until the answer's body is there, or the connection ends.
    async fn answered(stream: &mut TcpStream) -> bool {
        if stream.write_all(REQUEST).await.is_err() {
            return false;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            let mut piece = [0; 512];
            match stream.read(&mut piece).await {
                Ok(read) if read > 0 => answer.extend_from_slice(&piece[..read]),
                _ => return false,
            }
        }
        true
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_ends_its_connection() {
        let (address, _close, _serving) = start(8, Duration::from_millis(20)).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.expect("it reads");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(BOUND, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection is still open");
        assert!(!rest.ends_with(b"here"));
    }

    #[tokio::test]
    async fn connections_above_the_bound_are_closed_and_room_is_given_back() {
        let (address, _close, _serving) = start(1, BOUND).await;
        let mut first = TcpStream::connect(address).await.expect("it listens");
        assert!(answered(&mut first).await);
        let mut second = TcpStream::connect(address).await.expect("the system accepts it");
        assert!(!answered(&mut second).await, "the bound is one");
        assert!(answered(&mut first).await, "the first one goes on");
        drop(first);
        let again = async {
            loop {
                let mut third = TcpStream::connect(address).await.expect("it listens");
                if answered(&mut third).await {
                    break;
                }
            }
        };
        tokio::time::timeout(BOUND, again).await.expect("there is room again");
    }

    #[tokio::test]
    async fn closing_ends_idle_connections() {
        let (address, close, serving) = start(8, BOUND).await;
        let mut idle = TcpStream::connect(address).await.expect("it listens");
        assert!(answered(&mut idle).await);
        close.send_replace(true);
        tokio::time::timeout(BOUND, serving).await.expect("in time").expect("no panic");
        assert!(!answered(&mut idle).await);
    }

    #[test]
    fn only_what_concerns_everybody_makes_a_pause() {
        let kind = |code| is_of_one_connection(&io::Error::from_raw_os_error(code));
        // ECONNABORTED and ECONNRESET; EMFILE and ENFILE. The numbers are those of Linux.
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(is_of_one_connection(&reset));
        assert!(is_of_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
        assert!(!kind(24) && !kind(23));
    }
}

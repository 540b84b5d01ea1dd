//! A client that costs little: kept connections, requests that are written already, and of the answers only their
//! status. At a thousand requests a second an ordinary client would take the processor from what it measures.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longer than any answer that is worth a figure.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 16_384;
const ACCEPTED: u16 = 202;

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub(super) struct WireRequest(Vec<u8>);

impl WireRequest {
    /// A POST of JSON with an API key.
    pub(super) fn post(address: SocketAddr, path: &str, secret: &str, body: &Value) -> Self {
        let body = body.to_string();
        let length = body.len();
        Self(
            format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {secret}\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }
}

/// Kept connections to one server, used in turn.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    address: SocketAddr,
    idle: Arc<Mutex<VecDeque<TcpStream>>>,
    free: Arc<Semaphore>,
}

impl Wire {
    /// Opens so many connections.
    ///
    /// # Errors
    /// The server does not take one.
    pub(super) async fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let mut idle = VecDeque::with_capacity(connections);
        for _ in 0..connections {
            idle.push_back(open(address).await?);
        }
        let free = Arc::new(Semaphore::new(idle.len()));
        Ok(Self { address, idle: Arc::new(Mutex::new(idle)), free })
    }

    /// Sends a request on the connection that has been idle longest, once there is one, and waits for 202. Where the server
    /// closed it for being idle, another one takes its place, as with any client; the request is the same.
    ///
    /// # Errors
    /// The server answers something else, or not at all.
    pub(super) async fn send(&self, request: &WireRequest) -> Result<()> {
        let _permit = self.free.acquire().await?;
        let idle = self.lock().pop_front();
        let mut stream = idle.context("a connection belongs to each permit")?;
        let answered = timeout(ANSWER_LIMIT, exchange(&mut stream, request)).await;
        let status = if let Some(status) = answered.context("no answer came")?? {
            status
        } else {
            stream = open(self.address).await?;
            let answered = timeout(ANSWER_LIMIT, exchange(&mut stream, request)).await;
            answered.context("no answer came")??.context("the server closed a new connection")?
        };
        self.lock().push_back(stream);
        ensure!(status == ACCEPTED, "the server answered {status}");
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<TcpStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("{address} takes no connection"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The status of the answer; `None` where the connection is closed and nothing of one came.
async fn exchange(stream: &mut TcpStream, request: &WireRequest) -> Result<Option<u16>> {
    if stream.write_all(&request.0).await.is_err() {
        return Ok(None);
    }
    let mut answer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        // A reset says no more than an end does.
        let read = stream.read_buf(&mut answer).await.unwrap_or(0);
        if read == 0 {
            ensure!(answer.is_empty(), "an answer was cut off");
            return Ok(None);
        }
        if let Some((status, length)) = head_of(&answer)? {
            while answer.len() < length {
                ensure!(stream.read_buf(&mut answer).await? > 0, "an answer was cut off");
            }
            return Ok(Some(status));
        }
    }
}

/// Status and whole length of an answer whose head is complete.
fn head_of(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("an answer does not tell its length")?;
    let whole = end.saturating_add(4).saturating_add(length);
    Ok(Some((status.context("an answer has no status")?, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end() {
        let head = b"HTTP/1.1 202 Accepted\r\nX-Any: 1\r\ncontent-Length: 5\r\n\r\n12345";
        assert_eq!(head_of(&head[..30]).unwrap(), None);
        assert_eq!(head_of(head).unwrap(), Some((202, head.len())));
        assert!(head_of(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
        assert!(head_of(b"nonsense\r\nContent-Length: 1\r\n\r\n").is_err());
    }
}

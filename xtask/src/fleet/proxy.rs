//! What stands between the fleet and an API of AWS, and misbehaves when it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What one read takes at most.
const PART_BYTES: usize = 8_192;
/// How a request for sending messages names itself, in lower case.
const SENDS: &str = "x-amz-target: amazonsqs.sendmessage";

/// How requests are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    /// They are passed on.
    #[default]
    Willing,
    /// They are refused with `ThrottlingException`, as AWS does above a quota.
    Throttling,
    /// None is answered.
    Silent,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    /// Requests that were met by such a mood.
    refused: usize,
    /// Requests that were passed on twice.
    repeated: usize,
}

/// A proxy in front of an HTTP server.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Proxy {
    /// One in front of `upstream`; where it `repeats`, everything that sends messages is passed on twice.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn before(upstream: SocketAddr, repeats: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { serve(client, upstream, repeats, &state).await });
            }
        });
        Ok(Self { address, state, listening })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set(&self, mood: Mood) {
        locked(&self.state).mood = mood;
    }

    /// How many requests were refused or left unanswered so far.
    pub(super) fn refused(&self) -> usize {
        locked(&self.state).refused
    }

    /// How many were passed on twice so far.
    pub(super) fn repeated(&self) -> usize {
        locked(&self.state).repeated
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the requests of one connection, one after the other.
async fn serve(mut client: TcpStream, upstream: SocketAddr, repeats: bool, state: &Mutex<State>) {
    while let Some(request) = read_message(&mut client).await {
        let mood = {
            let mut state = locked(state);
            state.refused += usize::from(state.mood != Mood::Willing);
            state.mood
        };
        let answer = match mood {
            Mood::Silent => std::future::pending().await,
            Mood::Throttling => Some(throttled()),
            Mood::Willing => pass_on(&request, upstream).await,
        };
        let Some(mut answer) = answer else { return };
        if repeats && mood == Mood::Willing && head_of(&request).contains(SENDS) {
            let Some(again) = pass_on(&request, upstream).await else { return };
            locked(state).repeated += 1;
            answer = again;
        }
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn throttled() -> Vec<u8> {
    let body = r#"{"__type":"ThrottlingException","message":"You have exceeded the rate."}"#;
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn pass_on(request: &[u8], upstream: SocketAddr) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    server.write_all(request).await.ok()?;
    read_message(&mut server).await
}

/// A head and as many bytes as it says; `None` when the other side is gone.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        if is_whole(&bytes) {
            return Some(bytes);
        }
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = head_of(bytes);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    bytes.len() >= end.saturating_add(4).saturating_add(length)
}

/// In lower case: names of headers are written either way.
fn head_of(bytes: &[u8]) -> String {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each request with how many came before.
    async fn counting_server() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for count in 0.. {
                let (mut client, _) = listener.accept().await.unwrap();
                read_message(&mut client).await.unwrap();
                let body = count.to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                client.write_all([head, body].concat().as_bytes()).await.unwrap();
            }
        });
        address
    }

    async fn asked(proxy: &Proxy, target: &str) -> String {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let request =
            format!("POST / HTTP/1.1\r\nX-Amz-Target: {target}\r\nContent-Length: 2\r\n\r\n{{}}");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_message(&mut client).await.unwrap();
        String::from_utf8(answer).unwrap().split("\r\n\r\n").nth(1).unwrap().to_owned()
    }

    #[tokio::test]
    async fn what_sends_is_passed_on_twice_and_nothing_else_is() {
        let proxy = Proxy::before(counting_server().await, true).await.unwrap();
        assert_eq!(asked(&proxy, "AmazonSQS.ReceiveMessage").await, "0");
        assert_eq!(asked(&proxy, "AmazonSQS.SendMessageBatch").await, "2");
        assert_eq!((proxy.repeated(), proxy.refused()), (1, 0));
        proxy.set(Mood::Throttling);
        assert!(asked(&proxy, "AmazonSQS.SendMessageBatch").await.contains("ThrottlingException"));
        proxy.set(Mood::Willing);
        assert_eq!(asked(&proxy, "AmazonSQS.ReceiveMessage").await, "3");
        assert_eq!((proxy.repeated(), proxy.refused()), (1, 1));
    }
}

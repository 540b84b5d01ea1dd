//! What stands between a client and its server in tests, and misbehaves when it is told to.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How requests over HTTP are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They are passed on.
    Willing,
    /// So many are answered with AWS's error of that code; then they are passed on.
    Refusing(&'static str, u32),
    /// None is answered.
    Silent,
}

/// A proxy in front of an HTTP server.
#[derive(Debug)]
pub(crate) struct HttpProxy {
    pub(crate) port: u16,
    mood: Arc<Mutex<Mood>>,
    /// How many requests came, and the most that were under way at once.
    seen: Arc<Mutex<Seen>>,
    listening: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u32,
    pub(crate) at_once: u32,
    pub(crate) at_once_max: u32,
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl HttpProxy {
    pub(crate) async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let mood = Arc::new(Mutex::new(Mood::Willing));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (moods, counts) = (Arc::clone(&mood), Arc::clone(&seen));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mood, seen) = (Arc::clone(&moods), Arc::clone(&counts));
                tokio::spawn(async move { serve(client, upstream, &mood, &seen).await });
            }
        });
        Self { port, mood, seen, listening }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forget_seen(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::default();
    }
}

/// Serves the requests of one connection, one after the other.
async fn serve(mut client: TcpStream, upstream: u16, mood: &Mutex<Mood>, seen: &Mutex<Seen>) {
    while let Some(request) = read_message(&mut client).await {
        count(seen, |seen| {
            seen.requests += 1;
            seen.at_once += 1;
            seen.at_once_max = seen.at_once_max.max(seen.at_once);
        });
        let answer = answer(&request, upstream, mood).await;
        count(seen, |seen| seen.at_once -= 1);
        let Some(answer) = answer else { return };
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn count(seen: &Mutex<Seen>, change: impl FnOnce(&mut Seen)) {
    change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn answer(request: &[u8], upstream: u16, mood: &Mutex<Mood>) -> Option<Vec<u8>> {
    let now = {
        let mut mood = mood.lock().unwrap_or_else(PoisonError::into_inner);
        let now = *mood;
        if let Mood::Refusing(code, left) = now {
            *mood = if left > 1 { Mood::Refusing(code, left - 1) } else { Mood::Willing };
        }
        now
    };
    match now {
        Mood::Silent => std::future::pending().await,
        Mood::Refusing(code, _) => {
            let body = format!("{{\"__type\":\"{code}\",\"message\":\"as the test says\"}}");
            let head = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            Some([head, body].concat().into_bytes())
        }
        Mood::Willing => {
            let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
            server.write_all(request).await.ok()?;
            read_message(&mut server).await
        }
    }
}

/// A head and as many bytes as it says.
async fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4_096];
    loop {
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let whole = end + 4 + content_length(&bytes[..end]);
            if bytes.len() >= whole {
                return Some(bytes);
            }
        }
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

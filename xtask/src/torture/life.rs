//! The life of a role's process, in any crew: when it is ready, how it is ended, and what is noted of its end.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::role::Role;
use super::tally::Book;
use crate::service::Service;

/// The exit code of a process that says: something is out of reach, try again. So ends one that is
/// started while another one stands still in the middle of a transaction.
pub(crate) const TRY_AGAIN: i32 = 4;

const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const READY_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the server's own limit for open requests.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Waits for the first 200 of `/readyz`, and gives what it says.
///
/// # Errors
/// There is none within a minute: the message holds the reasons.
pub(crate) async fn ready(role: Role, address: SocketAddr) -> Result<String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PROBE_LIMIT)
        .build()
        .context("cannot set up an HTTP client")?;
    let url = format!("http://{address}/readyz");
    let begun = Instant::now();
    loop {
        let said = match client.get(&url).send().await {
            Ok(response) => {
                let is_ready = response.status().is_success();
                let text = response.text().await.unwrap_or_default();
                if is_ready {
                    return Ok(text);
                }
                text
            }
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        if begun.elapsed() > READY_LIMIT {
            bail!("{} is not ready after {READY_LIMIT:?}: {said}", role.name());
        }
        sleep(PROBE_INTERVAL).await;
    }
}

/// Notes the end of a process that nobody ended.
pub(crate) async fn note_end(book: &Book, service: &Service) {
    let text = format!("{:#}", service.failure().await);
    let code = service.status().and_then(|status| status.code());
    book.note(|tally| match code {
        Some(TRY_AGAIN) => tally.started_again += 1,
        _ => tally.failures.push(text),
    });
}

/// Ends a process with SIGKILL, and counts that.
pub(crate) async fn kill(book: &Book, role: Role, service: Service) {
    if service.status().is_some() {
        note_end(book, &service).await;
        return;
    }
    match service.kill().await {
        Ok(()) => book.note(|tally| tally.kill(role.name())),
        Err(error) => book.note(|tally| tally.failures.push(format!("{error:#}"))),
    }
}

/// Ends a process with SIGTERM, and notes it if it does not end well.
pub(crate) async fn stop(book: &Book, role: Role, service: Service) {
    if service.status().is_some() {
        note_end(book, &service).await;
        return;
    }
    if let Err(error) = service.stop(STOP_LIMIT).await {
        let text = format!("{} at its stop: {error:#}", role.name());
        book.note(|tally| tally.failures.push(text));
    }
}

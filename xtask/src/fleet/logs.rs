//! What the processes of a fleet say: in their logs, and on `/readyz`.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::time::{Instant, sleep};

const PROBE_LIMIT: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(150);
/// Far above what it takes until a process notices.
const LIMIT: Duration = Duration::from_secs(45);
const DAY_SECONDS: i64 = 86_400;

/// The logs, from some moment on.
#[derive(Debug)]
pub(super) struct Logs(Vec<(PathBuf, u64)>);

impl Logs {
    /// From now on.
    pub(super) fn from_now(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self(paths.into_iter().map(|path| (length(&path), path)).map(|(at, it)| (it, at)).collect())
    }

    /// A line that says all of `words`.
    fn line_with(&self, words: &[&str]) -> Option<String> {
        self.0.iter().find_map(|(path, from)| {
            let mut bytes = Vec::new();
            let mut file = File::open(path).ok()?;
            file.seek(SeekFrom::Start(*from)).ok()?;
            file.read_to_end(&mut bytes).ok()?;
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)))?;
            Some(line.to_owned())
        })
    }

    /// Waits for a line that says all of `words`.
    ///
    /// # Errors
    /// Nobody says so.
    pub(super) async fn said(&self, words: &[&str]) -> Result<String> {
        until(|| async { self.line_with(words) })
            .await
            .with_context(|| format!("no log says {words:?}"))
    }
}

/// Waits until one of `apis` names the component on `/readyz` and says `word` of it, and gives all that it says.
///
/// # Errors
/// None does.
pub(super) async fn readyz_names(
    apis: &[SocketAddr],
    component: &str,
    word: &str,
) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(PROBE_LIMIT).build()?;
    let look = async || {
        for api in apis {
            let Ok(answer) = client.get(format!("http://{api}/readyz")).send().await else {
                continue;
            };
            let Ok(body) = answer.json::<Value>().await else { continue };
            let concerns = body["concerns"].as_array().cloned().unwrap_or_default();
            let found = concerns.iter().find(|concern| concern["component"] == component);
            let detail = found.and_then(|concern| concern["detail"].as_str());
            if let Some(detail) = detail.filter(|detail| detail.contains(word)) {
                return Some(detail.to_owned());
            }
        }
        None
    };
    until(look).await.with_context(|| format!("no /readyz names {component} {word}"))
}

async fn until<T>(look: impl AsyncFn() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = look().await;
        if found.is_some() || begun.elapsed() > LIMIT {
            return found;
        }
        sleep(INTERVAL).await;
    }
}

/// By how many seconds the clock of one log's newest line is ahead of another's, across midnight too.
///
/// # Errors
/// A log has no line with a time.
pub(super) fn seconds_ahead(one: &Path, other: &Path) -> Result<i64> {
    let ahead = newest_second(one)? - newest_second(other)?;
    Ok((ahead + DAY_SECONDS / 2).rem_euclid(DAY_SECONDS) - DAY_SECONDS / 2)
}

fn newest_second(log: &Path) -> Result<i64> {
    let text = fs::read_to_string(log)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let newest = lines.filter_map(|line| second_of_day(line["timestamp"].as_str()?)).next_back();
    newest.with_context(|| format!("{} tells no time", log.display()))
}

/// Of `2026-11-28T23:59:07.123Z`.
fn second_of_day(timestamp: &str) -> Option<i64> {
    let mut parts = timestamp.split_once('T')?.1.get(..8)?.split(':').map(str::parse::<i64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3_600 + next()? * 60 + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_later_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        fs::write(&path, "redis is away\n").unwrap();
        let logs = Logs::from_now([path.clone(), folder.path().join("not-yet.log")]);
        assert_eq!(logs.line_with(&["redis"]), None);
        fs::write(&path, "redis is away\nthe queues\nredis is back\n").unwrap();
        assert_eq!(logs.line_with(&["redis", "back"]).as_deref(), Some("redis is back"));
        fs::write(folder.path().join("not-yet.log"), "new\n").unwrap();
        assert_eq!(logs.line_with(&["new"]).as_deref(), Some("new"));
    }

    #[test]
    fn clocks_are_compared_across_midnight() {
        let folder = tempfile::tempdir().unwrap();
        let log = |name: &str, time: &str| {
            let path = folder.path().join(name);
            let line = format!("{{\"timestamp\":\"2026-11-28T{time}.5Z\",\"message\":\"x\"}}\n");
            fs::write(&path, format!("{line}not json\n")).unwrap();
            path
        };
        let (late, early) = (log("late", "00:01:00"), log("early", "23:59:30"));
        assert_eq!(seconds_ahead(&late, &early).unwrap(), 90);
        assert_eq!(seconds_ahead(&early, &late).unwrap(), -90);
        fs::write(&late, "nothing\n").unwrap();
        assert!(seconds_ahead(&late, &early).is_err());
    }
}

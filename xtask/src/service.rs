//! A child process that runs until it is told to end, with its output in a file.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How many lines of its log a process that failed shows.
const TAIL_LINES: usize = 15;

/// A running process. Dropping it kills the process.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    pid: u32,
    log: PathBuf,
    signals: mpsc::UnboundedSender<Signal>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Service {
    /// Starts `command` outside of the terminal's foreground group (Ctrl-C is ours to pass on, in
    /// the right order); its output is appended to `log`.
    ///
    /// # Errors
    /// It cannot be started, or the log cannot be written.
    pub fn start(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().with_context(|| format!("{name} has no process id"))?;
        let (signals, mut wanted) = mpsc::unbounded_channel();
        let (tell, ended) = watch::channel(None);
        tokio::spawn(async move {
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    signal = wanted.recv() => match signal {
                        Some(signal) => signal_child(&child, signal),
                        // Nobody holds the service any more: the child ends with `child`.
                        None => return,
                    },
                }
            };
            if let Ok(status) = status {
                // Nobody may be waiting for it.
                let _unheard = tell.send(Some(status));
            }
        });
        Ok(Self { name, pid, log: log.to_path_buf(), signals, ended })
    }

    /// The process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits until the process ends, and tells it as an error with the end of its log.
    pub fn failure(&self) -> impl Future<Output = anyhow::Error> + Send + use<> {
        let (mut ended, name, log) = (self.ended.clone(), self.name, self.log.clone());
        async move {
            let how = match ended.wait_for(Option::is_some).await {
                Ok(status) => status.map(|status| status.to_string()),
                Err(_) => None,
            };
            let how = how.unwrap_or_else(|| "an unknown status".to_owned());
            anyhow::anyhow!("{name} ended by itself with {how}; {}", log_end(&log))
        }
    }

    /// Ends it with SIGTERM and waits for it.
    ///
    /// # Errors
    /// It ended with a failure, or had to be killed after `limit`.
    pub async fn stop(mut self, limit: Duration) -> Result<()> {
        // A process that is gone already is told below.
        let _gone = self.signals.send(Signal::TERM);
        if let Ok(status) = timeout(limit, Self::wait(&mut self.ended)).await {
            let status = status?;
            ensure!(status.success(), "{} ended with {status}; {}", self.name, log_end(&self.log));
            return Ok(());
        }
        let name = self.name;
        self.kill().await?;
        bail!("{name} did not end within {limit:?} of SIGTERM and was killed")
    }

    /// Ends it with SIGKILL, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// It had ended by itself before, or its end cannot be seen.
    pub async fn kill(mut self) -> Result<()> {
        let _gone = self.signals.send(Signal::KILL);
        let status = Self::wait(&mut self.ended).await?;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status);
        ensure!(
            killed == Some(Signal::KILL.as_raw()),
            "{} had ended by itself with {status}; {}",
            self.name,
            log_end(&self.log)
        );
        Ok(())
    }

    async fn wait(ended: &mut watch::Receiver<Option<ExitStatus>>) -> Result<ExitStatus> {
        let status = *ended.wait_for(Option::is_some).await?;
        status.context("the end of a process could not be seen")
    }
}

/// The child has not been waited for, so its id cannot belong to another process yet.
fn signal_child(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may be ending at this moment, which is then seen by `wait`.
        let _ending = kill_process(pid, signal);
    }
}

/// The end of a log, for an error message.
#[must_use]
pub fn log_end(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let lines: Vec<&str> = match &text {
        Ok(text) => text.lines().collect(),
        Err(_) => Vec::new(),
    };
    if lines.is_empty() {
        return format!("it wrote nothing to {}", log.display());
    }
    let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
    format!("its log, {}, ends so:\n{}", log.display(), tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Service {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Service::start("the script", command, log).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let service = shell("echo first; echo why >&2; exit 3", &folder.path().join("log"));
        let told = service.failure().await.to_string();
        assert!(told.contains("the script ended by itself with exit status: 3"), "{told}");
        assert!(told.ends_with("first\nwhy"), "{told}");
        assert!(service.status().is_some());
        assert!(service.kill().await.is_err());
    }

    #[tokio::test]
    async fn a_process_is_stopped_and_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let polite = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let limit = Duration::from_secs(10);
        let service = shell(polite, &log);
        while !fs::read_to_string(&log).unwrap().contains("ready") {
            tokio::task::yield_now().await;
        }
        assert_eq!(service.status(), None);
        service.stop(limit).await.unwrap();

        shell("while :; do sleep 0.01; done", &log).kill().await.unwrap();
        let rude = shell("exit 0", &log);
        rude.failure().await;
        rude.stop(limit).await.unwrap();
    }
}

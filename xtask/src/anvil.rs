//! A development chain in a process of its own: anvil, on loopback only.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::chain::Rpc;

/// How long a start may take; a large state file has to be read first.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How long anvil may take to write its state and end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What anvil writes, with its address, once it listens.
const LISTENING: &str = "Listening on ";
/// How much of the log a failed start shows, in bytes.
const LOG_TAIL_BYTES: usize = 2_000;

/// How to start anvil.
#[derive(Clone, Debug)]
pub struct AnvilOptions {
    /// The executable, from [`crate::toolchain::anvil_binary`].
    pub binary: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    /// The chain id that it answers with.
    pub chain_id: u64,
    /// Time between blocks in milliseconds; `None` mines each transaction at once.
    pub block_time_ms: Option<u64>,
    /// Where the chain is read from at the start, if the file exists, and written to at a stop.
    pub state_file: Option<PathBuf>,
    /// Seconds between further writes of the state file, for a stop that was not one.
    pub state_interval_s: Option<u64>,
    /// With a state file: how many of the newest blocks can be asked about their state ("the nonce
    /// at block n"), also after a restart. `None` leaves anvil its own way: a restarted chain
    /// refuses such questions for every older block. Each block costs a copy of all accounts in
    /// the file (measured with 7,500 accounts: 2.6 MB a block), so not all are kept.
    pub historical_states: Option<u32>,
    /// Number of unlocked dev accounts, each with 10,000 coins.
    pub accounts: u32,
    /// The words that the dev accounts come from; `None` takes anvil's well-known ones.
    pub mnemonic: Option<String>,
    /// Gas of a block.
    pub gas_limit: u64,
    /// Half the distance, in blocks, from the head to the block that answers to `finalized`.
    pub slots_in_an_epoch: u64,
    /// Where anvil's own output goes: emptied at the start and once it listens.
    pub log: PathBuf,
    /// Further arguments, put last.
    pub extra: Vec<String>,
}

impl AnvilOptions {
    /// Chain 31337 on a free port, a block per transaction, 60 M gas a block, `finalized` 12 blocks
    /// behind the head (the depth at which the localhost chain counts as final), nothing kept.
    #[must_use]
    pub fn new(binary: PathBuf, log: PathBuf) -> Self {
        Self {
            binary,
            port: None,
            chain_id: 31_337,
            block_time_ms: None,
            state_file: None,
            state_interval_s: None,
            historical_states: Some(64),
            accounts: 10,
            mnemonic: None,
            gas_limit: 60_000_000,
            slots_in_an_epoch: 6,
            log,
            extra: Vec::new(),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["--host", "127.0.0.1", "--no-cors", "--color", "never", "--hardfork", "osaka"]
                .map(str::to_owned)
                .into();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--port", self.port.unwrap_or(0).to_string());
        option("--chain-id", self.chain_id.to_string());
        option("--accounts", self.accounts.to_string());
        option("--gas-limit", self.gas_limit.to_string());
        option("--slots-in-an-epoch", self.slots_in_an_epoch.to_string());
        // Old states that do not fit in memory: beside the log, not in the user's home.
        option("--cache-path", self.log.with_extension("states").display().to_string());
        if let Some(mnemonic) = &self.mnemonic {
            option("--mnemonic", mnemonic.clone());
        }
        if let Some(block_time_ms) = self.block_time_ms {
            option("--block-time", seconds_text(block_time_ms));
        }
        if let Some(state_file) = &self.state_file {
            option("--state", state_file.display().to_string());
            if let Some(state_interval_s) = self.state_interval_s {
                option("--state-interval", state_interval_s.to_string());
            }
            if let Some(states) = self.historical_states {
                option("--prune-history", states.to_string());
                arguments.push("--preserve-historical-states".to_owned());
            }
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// Milliseconds as a decimal number of seconds: 1500 is `1.500`.
fn seconds_text(time_ms: u64) -> String {
    format!("{}.{:03}", time_ms / 1_000, time_ms % 1_000)
}

/// A running anvil. Dropping it kills the process, without writing its state: call
/// [`Anvil::stop`] where the state matters.
#[derive(Debug)]
pub struct Anvil {
    child: Child,
    pid: u32,
    rpc_url: String,
}

impl Anvil {
    /// Starts anvil and waits until it answers.
    ///
    /// # Errors
    /// The executable cannot be run, it ended (the message holds the end of its log), or it did
    /// not listen within a minute.
    pub async fn start(options: AnvilOptions) -> Result<Self> {
        for path in options.state_file.iter().chain([&options.log]) {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
            }
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&options.log)
            .with_context(|| format!("cannot write {}", options.log.display()))?;
        log.set_len(0)?;
        let mut command = Command::new(&options.binary);
        command
            .args(options.arguments())
            .env_remove("ANVIL_IP_ADDR")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            // Ctrl-C in a terminal goes to the whole foreground group. The chain has to outlive
            // the server that uses it, so it stands outside that group.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", options.binary.display()))?;
        let pid = child.id().context("anvil ended before it had a process id")?;

        let address = timeout(START_LIMIT, listening_address(&mut child, &options.log))
            .await
            .unwrap_or_else(|_| bail!("anvil did not listen within {START_LIMIT:?}"))
            .with_context(|| format!("its log ends so: {}", log_tail(&options.log)))?;
        let rpc_url = format!("http://{address}");
        let rpc = Rpc::new(&rpc_url)?;
        let chain_id = rpc.chain_id().await?;
        ensure!(
            chain_id == options.chain_id,
            "anvil answers for chain {chain_id}, not {}: its state file is of another chain",
            options.chain_id
        );
        // From here on it would write a line per request; and its greeting shows private keys.
        rpc.set_logging(false).await?;
        log.set_len(0)?;
        Ok(Self { child, pid, rpc_url })
    }

    /// The address of its JSON-RPC, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn rpc_url(&self) -> &str {
        &self.rpc_url
    }

    /// The process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has: a chain that is gone explains everything that then fails.
    ///
    /// # Errors
    /// The operating system refuses the question.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for the state of anvil")
    }

    /// Ends it with SIGTERM, upon which it writes its state file, and waits.
    ///
    /// # Errors
    /// It had ended by itself, ended with a failure, or had to be killed after ten seconds: in
    /// each case the state file may be an older one.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("anvil had ended before it was stopped, with {status}");
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} is not a process id", self.pid))?;
        // The child has not been waited for, so its id cannot belong to another process yet.
        kill_process(pid, Signal::TERM).context("cannot send SIGTERM to anvil")?;
        if let Ok(status) = timeout(STOP_LIMIT, self.child.wait()).await {
            let status = status.context("cannot wait for anvil")?;
            ensure!(status.success(), "anvil ended with {status}: its state may be an old one");
            Ok(())
        } else {
            self.child.kill().await.context("cannot kill anvil")?;
            bail!(
                "anvil did not end within {STOP_LIMIT:?} and was killed: its state may be an old one"
            )
        }
    }
}

/// Waits until anvil has written the address that it listens on. Its own word is taken for it, not
/// an answer on the port: that could come from another node.
async fn listening_address(child: &mut Child, log: &Path) -> Result<String> {
    loop {
        let status = child.try_wait()?;
        let text = fs::read_to_string(log).unwrap_or_default();
        if let Some(address) = announced_address(&text) {
            return Ok(address.to_owned());
        }
        if let Some(status) = status {
            bail!("anvil ended with {status}");
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The address in a complete line `Listening on 127.0.0.1:41234`.
fn announced_address(log: &str) -> Option<&str> {
    let complete = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    complete.filter_map(|line| line.strip_prefix(LISTENING)).next_back().map(str::trim)
}

/// The end of anvil's log, for an error message.
fn log_tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let tail = bytes.get(bytes.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
    match String::from_utf8_lossy(tail).trim() {
        "" => format!("it wrote nothing to {}", log.display()),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> AnvilOptions {
        AnvilOptions::new(PathBuf::from("anvil"), PathBuf::from("anvil.log"))
    }

    #[test]
    fn it_listens_on_loopback_and_is_told_what_was_asked_for() {
        let options = AnvilOptions {
            port: Some(8_545),
            block_time_ms: Some(1_500),
            state_file: Some(PathBuf::from("state.json")),
            extra: vec!["--order".to_owned(), "fifo".to_owned()],
            ..options()
        };
        let line = options.arguments().join(" ");
        assert!(line.starts_with("--host 127.0.0.1 "), "{line}");
        assert!(line.contains(" --port 8545 --chain-id 31337 "), "{line}");
        assert!(line.contains(" --block-time 1.500 --state state.json "), "{line}");
        assert!(
            line.ends_with(" --prune-history 64 --preserve-historical-states --order fifo"),
            "{line}"
        );
    }

    #[test]
    fn what_was_not_asked_for_is_not_said() {
        let options = AnvilOptions { state_interval_s: Some(5), ..options() };
        let line = options.arguments().join(" ");
        for absent in ["--block-time", "--state", "--mnemonic", "--preserve", "--prune"] {
            assert!(!line.contains(absent), "{line}");
        }
    }

    #[test]
    fn a_free_port_is_left_to_the_system() {
        assert!(options().arguments().join(" ").contains(" --port 0 "));
    }

    #[test]
    fn only_a_complete_line_tells_the_address() {
        let greeting = "Chain ID\n\n31337\n";
        assert_eq!(announced_address(greeting), None);
        assert_eq!(announced_address("Listening on 127.0.0.1:41"), None);
        let complete = format!("{greeting}Listening on 127.0.0.1:41234\neth_chainId\n");
        assert_eq!(announced_address(&complete), Some("127.0.0.1:41234"));
    }

    #[test]
    fn seconds_are_written_without_rounding() {
        for (time_ms, text) in [(1_000, "1.000"), (1_500, "1.500"), (50, "0.050"), (2_007, "2.007")]
        {
            assert_eq!(seconds_text(time_ms), text);
        }
    }
}

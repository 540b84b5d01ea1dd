//! The chain of a run, which is killed and goes on from its last whole state: for everybody who
//! listens, the blocks since are gone, and so are the transactions that waited.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::dump::{self, Unfit};
use super::tally::{Book, CHAIN};
use crate::anvil::{Anvil, AnvilOptions};
use crate::chain::Rpc;
use crate::contracts::TestTokens;
use crate::judge::{Scope, observe};
use crate::testbed::{BLOCK_TIME_MS, CONFIRMATIONS, TestChain};
use crate::{testnet, toolchain};

/// The most blocks that a crash may undo. One more may come between the last look at the chain and
/// its end; 12 blocks count as final on the localhost chain, and no reorg may reach those.
const ROLLBACK_MAX: u64 = 9;
/// How many blocks newer a state has to be to take the place of the one before: the deeper part of
/// the reorgs comes from this.
const STRIDE_BLOCKS: std::ops::RangeInclusive<u64> = 4..=9;
/// Blocks whose states are kept; more than a process that stood still has missed.
const STATES_KEPT: u32 = 40;
const LOOK_INTERVAL: Duration = Duration::from_millis(150);
/// How long a state that is new enough may take to come.
const FRESH_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const STARTS_MAX: u32 = 20;
const START_PAUSE: Duration = Duration::from_millis(250);

/// A state that the chain can go on from.
#[derive(Clone, Debug)]
struct Kept {
    head: u64,
    hash: B256,
    bytes: Arc<Vec<u8>>,
}

#[derive(Debug)]
struct Running {
    anvil: Option<Anvil>,
    kept: Option<Kept>,
    /// Counts the restarts: what was read before one says nothing about the chain after it.
    branch: u64,
    stride: StdRng,
    newest_from: u64,
}

/// The chain.
#[derive(Debug)]
pub(super) struct Node {
    options: AnvilOptions,
    state: PathBuf,
    running: Mutex<Running>,
    book: Book,
    pub(super) chain: TestChain,
}

impl Node {
    /// Starts it with one-second blocks and the test tokens.
    ///
    /// # Errors
    /// Anvil cannot be installed or started, or the tokens cannot be deployed.
    pub(super) async fn start(
        dir: &Path,
        address: SocketAddr,
        seed: u64,
        book: Book,
    ) -> Result<Self> {
        let root = toolchain::workspace_root();
        let state = dir.join("chain.json");
        let options = AnvilOptions {
            port: Some(address.port()),
            block_time_ms: Some(BLOCK_TIME_MS),
            state_file: Some(state.clone()),
            state_interval_s: Some(1),
            historical_states: Some(STATES_KEPT),
            ..AnvilOptions::new(toolchain::anvil_binary(&root)?, dir.join("anvil.log"))
        };
        let anvil = Anvil::start(options.clone()).await.context("the chain did not start")?;
        let rpc = Rpc::new(anvil.rpc_url())?;
        let tokens = TestTokens::load(&root)?;
        let record = dir.join("tokens.json");
        let (deployment, is_new) = testnet::ensure_test_tokens(&rpc, &tokens, &record).await?;
        let running = Running {
            anvil: Some(anvil),
            kept: None,
            branch: 0,
            stride: StdRng::seed_from_u64(seed),
            newest_from: 0,
        };
        let chain = TestChain { rpc, deployment, is_new };
        Ok(Self { options, state, running: Mutex::new(running), book, chain })
    }

    /// From now on only states from `block` on are kept: the chain never goes back behind it.
    pub(super) async fn never_behind(&self, block: u64) {
        let mut running = self.running.lock().await;
        running.kept = None;
        running.newest_from = block;
    }

    /// Keeps the chain's states as they are written. Never ends.
    pub(super) async fn keep_states(&self) -> std::convert::Infallible {
        let mut last = None;
        loop {
            sleep(LOOK_INTERVAL).await;
            let now = dump::stamp(&self.state);
            if now.is_none() || now == last {
                continue;
            }
            let branch = self.running.lock().await.branch;
            let path = self.state.clone();
            match spawn_blocking(move || dump::read(&path)).await {
                Ok(Ok((head, bytes))) => {
                    last = now;
                    // A node that does not answer now has a later state to offer.
                    let _unasked = self.offer(branch, head, bytes).await;
                }
                // Anvil writes it about once a second: the next look finds another one.
                Ok(Err(Unfit::Mixed(_))) => {
                    last = now;
                    self.book.note(|tally| tally.mixed_states += 1);
                }
                Ok(Err(Unfit::Torn)) | Err(_) => self.book.note(|tally| tally.torn_states += 1),
            }
        }
    }

    async fn offer(&self, branch: u64, head: u64, bytes: Vec<u8>) -> Result<()> {
        let mut running = self.running.lock().await;
        if running.branch != branch || head < running.newest_from {
            return Ok(());
        }
        let hash = self.hash_of(head).await?;
        running.kept = Some(Kept { head, hash, bytes: Arc::new(bytes) });
        running.newest_from = head.saturating_add(running.stride.random_range(STRIDE_BLOCKS));
        Ok(())
    }

    async fn hash_of(&self, block: u64) -> Result<B256> {
        let blocks = self.chain.rpc.full_blocks(block, block).await?;
        Ok(blocks.first().context("the node did not give a block that it has")?.hash)
    }

    /// Waits until a state is kept that a crash may go back to.
    ///
    /// # Errors
    /// There is none after half a minute, or the node fails.
    pub(super) async fn fresh_state(&self) -> Result<()> {
        self.with_fresh_state().await.map(|_| ())
    }

    async fn with_fresh_state(&self) -> Result<(MutexGuard<'_, Running>, Kept)> {
        let begun = Instant::now();
        loop {
            let running = self.running.lock().await;
            let head = self.chain.rpc.block_number().await?;
            if let Some(kept) = &running.kept
                && head.saturating_sub(kept.head) <= ROLLBACK_MAX
            {
                let kept = kept.clone();
                return Ok((running, kept));
            }
            drop(running);
            ensure!(
                begun.elapsed() < FRESH_LIMIT,
                "anvil wrote no whole state of the newest {ROLLBACK_MAX} blocks for {FRESH_LIMIT:?}"
            );
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Kills it, and starts it again after `away` from its last whole state.
    ///
    /// # Errors
    /// It had ended by itself, does not start again, or goes on from another chain.
    pub(super) async fn crash(&self, away: Duration, scope: &Scope) -> Result<()> {
        let (mut running, kept) = self.with_fresh_state().await?;
        let rpc = &self.chain.rpc;
        let anvil = running.anvil.take().context("the chain does not run")?;
        let seen = rpc.block_number().await?;
        let undone = observe(rpc, scope, kept.head.saturating_add(1), seen).await?;
        let head = rpc.block_number().await?;
        end(anvil).await?;
        running.branch = running.branch.saturating_add(1);
        self.book.note(|tally| tally.kill(CHAIN));
        sleep(away).await;
        fs::write(&self.state, kept.bytes.as_slice())
            .with_context(|| format!("cannot write {}", self.state.display()))?;
        running.anvil = Some(self.start_again().await?);
        let is_same =
            rpc.block_number().await? >= kept.head && self.hash_of(kept.head).await? == kept.hash;
        ensure!(is_same, "anvil did not go on from block {} of its own chain", kept.head);
        let blocks = head.saturating_sub(kept.head);
        let is_deep = |block: u64| block.saturating_add(CONFIRMATIONS) <= head.saturating_add(1);
        let confirmed = undone.payments.iter().filter(|payment| is_deep(payment.block)).count();
        self.book.note(|tally| tally.rolled_back(blocks, undone.payments.len(), confirmed));
        Ok(())
    }

    /// Lets it stand still for `pause`: whoever asks it meanwhile waits.
    ///
    /// # Errors
    /// It had ended by itself.
    pub(super) async fn pause(&self, pause: Duration) -> Result<()> {
        let running = self.running.lock().await;
        let anvil = running.anvil.as_ref().context("the chain does not run")?;
        let pid = i32::try_from(anvil.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.context("anvil has no process id")?;
        kill_process(pid, Signal::STOP).context("cannot stop anvil for a while")?;
        sleep(pause).await;
        kill_process(pid, Signal::CONT).context("cannot let anvil go on")?;
        self.book.note(|tally| tally.chain_pauses += 1);
        Ok(())
    }

    async fn start_again(&self) -> Result<Anvil> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Anvil::start(self.options.clone()).await {
                Ok(anvil) => return Ok(anvil),
                // The port of a process that was just killed may not be free yet.
                Err(_) if tries < STARTS_MAX => sleep(START_PAUSE).await,
                Err(error) => return Err(error.context("the chain did not start again")),
            }
        }
    }

    /// Ends it properly.
    ///
    /// # Errors
    /// As [`Anvil::stop`].
    pub(super) async fn stop(&self) -> Result<()> {
        let anvil = self.running.lock().await.anvil.take();
        anvil.context("the chain does not run")?.stop().await
    }
}

/// Ends a chain with SIGKILL, and waits until it is gone.
async fn end(mut anvil: Anvil) -> Result<()> {
    if let Some(status) = anvil.ended()? {
        bail!("anvil ended by itself with {status}");
    }
    let pid = i32::try_from(anvil.pid()).ok().and_then(Pid::from_raw);
    // It has not been waited for, so its id cannot belong to another process yet.
    kill_process(pid.context("anvil has no process id")?, Signal::KILL)
        .context("cannot kill anvil")?;
    let begun = Instant::now();
    while anvil.ended()?.is_none() {
        ensure!(begun.elapsed() < END_LIMIT, "anvil is still there {END_LIMIT:?} after SIGKILL");
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

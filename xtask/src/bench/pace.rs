//! The chain's pace while something is measured: when each block came, how full it was, and about how much has
//! been paid. It asks for so little that it does not slow what it watches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::chain::{BlockOutline, Rpc};

/// How exactly the moment of a block is known.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A node that is busy may fail to answer for a moment.
const FAILURES_MAX: u32 = 10;
/// Nothing is paid for that long: then nothing more will be.
const STALL: Duration = Duration::from_mins(1);
/// Every block has this base fee, however full the one before it was: one gwei.
const BASE_FEE_WEI: u64 = 1_000_000_000;

/// How payments are counted, cheaply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// Each transaction is one.
    Transactions,
    /// Each takes so many units of a token from a holder.
    Units {
        /// The token.
        token: Address,
        /// Who pays.
        holder: Address,
        /// What each payment takes.
        units: U256,
    },
}

impl Count {
    /// Payments of so many units each: by a vault, or by wallets, one a transaction.
    pub(super) fn of(vault: Option<Address>, token: Address, units: U256) -> Self {
        vault.map_or(Self::Transactions, |holder| Self::Units { token, holder, units })
    }
}

/// A block that came while something was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenBlock {
    /// Its size.
    pub(super) outline: BlockOutline,
    /// When it was seen.
    pub(super) at: Instant,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Pace {
    seen: Arc<Mutex<Vec<SeenBlock>>>,
    counted: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// What one watch knows.
struct Watcher {
    rpc: Rpc,
    count: Count,
    /// The balance at the start.
    balance: U256,
    head: u64,
    counted: usize,
}

impl Pace {
    /// Begins with the block after the newest one.
    ///
    /// # Errors
    /// The node fails.
    pub(super) async fn start(rpc: Rpc, count: Count) -> Result<Self> {
        rpc.set_next_base_fee(BASE_FEE_WEI).await?;
        let head = rpc.block_number().await?;
        let mut watcher = Watcher { rpc, count, balance: U256::ZERO, head, counted: 0 };
        watcher.balance = watcher.balance().await?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tell, counted) = watch::channel(0);
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut failures = 0;
            while failures < FAILURES_MAX {
                match watcher.look(&notes).await {
                    Ok(()) => failures = 0,
                    Err(_) => failures += 1,
                }
                tell.send_replace(watcher.counted);
                sleep(POLL_INTERVAL).await;
            }
        });
        Ok(Self { seen, counted, task })
    }

    /// How much is paid. The channel closes when the node does not answer any more.
    pub(super) fn counted(&self) -> watch::Receiver<usize> {
        self.counted.clone()
    }

    /// Every block until now.
    pub(super) fn seen(&self) -> Vec<SeenBlock> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `wanted` is counted, and tells of each tenth on the way.
    ///
    /// # Errors
    /// Nothing is counted for a minute, or the node does not answer any more.
    pub(super) async fn wait_for(&self, wanted: usize, what: &str) -> Result<()> {
        let mut counted = self.counted();
        let mut tenths = 0;
        loop {
            let now = *counted.borrow_and_update();
            let reached = now.saturating_mul(10) / wanted.max(1);
            if reached > tenths {
                tenths = reached;
                eprintln!("{} of {wanted} {what}", now.min(wanted));
            }
            if now >= wanted {
                return Ok(());
            }
            let more = timeout(STALL, counted.wait_for(|count| *count > now)).await;
            let more = more
                .with_context(|| format!("nothing came for {STALL:?}: {now} of {wanted} {what}"))?;
            more.context("the node does not answer any more")?;
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    async fn look(&mut self, seen: &Mutex<Vec<SeenBlock>>) -> Result<()> {
        let head = self.rpc.block_number().await?;
        if head <= self.head {
            return Ok(());
        }
        let at = Instant::now();
        // First: until the next block it has a second at most.
        self.rpc.set_next_base_fee(BASE_FEE_WEI).await?;
        let outlines = self.rpc.outlines(self.head.saturating_add(1), head).await?;
        let counted = match self.count {
            Count::Transactions => outlines
                .iter()
                .fold(self.counted, |sum, outline| sum.saturating_add(outline.transactions)),
            Count::Units { units, .. } => {
                let gone = self.balance.saturating_sub(self.balance().await?);
                usize::try_from(gone.checked_div(units).unwrap_or_default()).unwrap_or(usize::MAX)
            }
        };
        let blocks = outlines.into_iter().map(|outline| SeenBlock { outline, at });
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(blocks);
        (self.head, self.counted) = (head, counted);
        Ok(())
    }

    async fn balance(&self) -> Result<U256> {
        let Count::Units { token, holder, .. } = self.count else { return Ok(U256::ZERO) };
        let balances = self.rpc.token_balance_of(token, &[holder]).await?;
        balances.first().copied().context("the node has no balance")
    }
}

/// What the blocks between the first and the last that paid have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Steady {
    /// How many blocks that are, empty ones too.
    pub(super) blocks: usize,
    /// Gas used by one, on average.
    pub(super) gas_per_block: f64,
    /// Payments of one, on average.
    pub(super) payments_per_block: f64,
    /// Seconds from one to the next, on average.
    pub(super) block_s: f64,
}

impl Steady {
    /// Leaves out the first and the last block of those from `first` to `last`; `payments` counts those of a block.
    ///
    /// # Errors
    /// Fewer than two blocks remain: that says nothing.
    pub(super) fn between(
        seen: &[SeenBlock],
        (first, last): (u64, u64),
        payments: impl Fn(&BlockOutline) -> usize,
    ) -> Result<Self> {
        let inner: Vec<&SeenBlock> = seen
            .iter()
            .filter(|it| it.outline.number > first && it.outline.number < last)
            .collect();
        ensure!(
            inner.len() >= 2,
            "everything was in {} blocks: ask for more payments, so that some blocks are neither the first nor the last",
            last.saturating_sub(first).saturating_add(1)
        );
        let begun = seen.iter().find(|it| it.outline.number == first);
        let begun = begun.context("the first block was not seen")?.at;
        let ended = inner.last().context("there are inner blocks")?.at;
        let blocks = super::machine::number(inner.len());
        let gas = inner.iter().map(|it| it.outline.gas_used).fold(0, u64::saturating_add);
        let paid = inner.iter().map(|it| payments(&it.outline)).fold(0, usize::saturating_add);
        Ok(Self {
            blocks: inner.len(),
            gas_per_block: super::machine::number(usize::try_from(gas / 1_000)?) * 1_000.0 / blocks,
            payments_per_block: super::machine::number(paid) / blocks,
            block_s: ended.duration_since(begun).as_secs_f64() / blocks,
        })
    }

    /// Gas of a payment, its share of the transaction included.
    pub(super) fn gas_per_payment(&self) -> f64 {
        if self.payments_per_block > 0.0 {
            self.gas_per_block / self.payments_per_block
        } else {
            0.0
        }
    }

    /// Payments of a second.
    pub(super) fn payments_per_s(&self) -> f64 {
        if self.block_s > 0.0 { self.payments_per_block / self.block_s } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(start: Instant, number: u64, gas_used: u64) -> SeenBlock {
        let outline = BlockOutline { number, timestamp_s: number, gas_used, transactions: 3 };
        SeenBlock { outline, at: start + Duration::from_secs(number) * 2 }
    }

    #[test]
    fn the_first_and_the_last_block_do_not_count_and_an_empty_one_does() {
        let start = Instant::now();
        let seen: Vec<SeenBlock> = [
            (6, 9_000_000),
            (7, 10_000_000),
            (8, 60_000_000),
            (9, 0),
            (10, 30_000_000),
            (11, 1_000),
        ]
        .into_iter()
        .map(|(number, gas)| block(start, number, gas))
        .collect();
        let steady = Steady::between(&seen, (7, 11), |outline| {
            usize::from(outline.gas_used > 0) * outline.transactions
        })
        .unwrap();
        assert_eq!(
            steady,
            Steady {
                blocks: 3,
                gas_per_block: 30_000_000.0,
                payments_per_block: 2.0,
                block_s: 2.0
            }
        );
        assert_eq!(steady.payments_per_s().to_string(), "1");
        assert!(Steady::between(&seen, (7, 9), |_| 0).is_err());
    }
}

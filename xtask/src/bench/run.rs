//! One run of paying: from the first request until nothing is left to do, and what the chain says of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::feed::{Fed, Order, Written, feed};
use super::machine::number;
use super::metrics::Metrics;
use super::pace::{Count, Pace, SeenBlock};
use super::points::BlockPoint;
use super::stage::Stage;
use super::work::wait_until_done;
use crate::judge::{BalanceSheet, Observation, Promise, Verdict, observe};
use crate::mariadb::MariaDb;
use crate::process::CpuTime;
use crate::server::Server;

/// What is paid, and how its progress is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    /// What is asked for.
    pub(super) orders: &'a [Order],
    /// The same as requests.
    pub(super) written: &'a Written,
    /// How many may be at the server and not paid.
    pub(super) ahead: usize,
    /// How payments are counted while it runs.
    pub(super) count: Count,
    /// What that count comes to when all are paid.
    pub(super) wanted: usize,
}

/// What was seen from the first request until nothing was left to do.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) fed: Fed,
    pub(super) begun: Instant,
    /// Until everything was accepted.
    pub(super) accepted: Duration,
    pub(super) seen: Vec<SeenBlock>,
    pub(super) cpu: CpuTime,
    pub(super) node_cpu: CpuTime,
    pub(super) own_cpu: CpuTime,
    pub(super) database_cpu: CpuTime,
    /// Of SQL.
    pub(super) statements: f64,
    pub(super) peak_kib: u64,
    pub(super) metrics: Metrics,
}

/// What the chain says of the run.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) observation: Observation,
    pub(super) wrong_balances: usize,
}

/// Where the chain was before a run.
#[derive(Debug)]
pub(super) struct Before {
    balances: BalanceSheet,
    block: u64,
}

impl Before {
    /// Looks.
    pub(super) async fn look(stage: &Stage) -> Result<Self> {
        let rpc = &stage.chain.rpc;
        let payers = stage.scope.payers();
        let balances = BalanceSheet::read(rpc, &stage.scope.tokens, &payers).await?;
        Ok(Self { balances, block: rpc.block_number().await? })
    }
}

/// Pays everything with a server that runs, and watches over it.
///
/// # Errors
/// A request is refused, the payments stop, or the server ends.
pub(super) async fn pay(stage: &Stage, server: &Server, load: &Load<'_>) -> Result<Run> {
    tokio::select! {
        run = pay_all(stage, server, load) => run,
        error = server.failure() => Err(error),
    }
}

async fn pay_all(stage: &Stage, server: &Server, load: &Load<'_>) -> Result<Run> {
    let pace = Pace::start(stage.chain.rpc.clone(), load.count).await?;
    let (node, own) = (stage.anvil.pid(), std::process::id());
    let cpu = [server.cpu_time()?, CpuTime::of(node)?, CpuTime::of(own)?, database_cpu(stage)?];
    let statements = Metrics::read(&stage.api).await?.statements();
    let begun = Instant::now();
    eprintln!("{} withdrawals over HTTP ...", load.orders.len());
    let hand_over = async {
        let fed = feed(&stage.api, load.written, load.ahead, pace.counted()).await?;
        eprintln!("all are accepted after {:.1?}", begun.elapsed());
        Ok::<_, anyhow::Error>((fed, begun.elapsed()))
    };
    let ((fed, accepted), ()) = tokio::try_join!(hand_over, pace.wait_for(load.wanted, "paid"))?;
    eprintln!("waiting until they are final ...");
    wait_until_done(stage).await?;
    let metrics = Metrics::read(&stage.api).await?;
    Ok(Run {
        fed,
        begun,
        accepted,
        seen: pace.seen(),
        cpu: server.cpu_time()? - cpu[0],
        node_cpu: CpuTime::of(node)? - cpu[1],
        own_cpu: CpuTime::of(own)? - cpu[2],
        peak_kib: server.peak_kib()?,
        database_cpu: database_cpu(stage)? - cpu[3],
        statements: metrics.statements() - statements,
        metrics,
    })
}

/// What a database server has taken of the processors; the embedded one is a part of our process.
fn database_cpu(stage: &Stage) -> Result<CpuTime> {
    stage.mariadb.as_ref().map_or(Ok(CpuTime::default()), MariaDb::cpu_time)
}

/// Reads the chain since `before`.
///
/// # Errors
/// The node fails.
pub(super) async fn judge(stage: &Stage, orders: &[Order], before: &Before) -> Result<Judged> {
    eprintln!("judging {} payments by the chain's logs ...", orders.len());
    let promises: Vec<Promise> = orders.iter().map(|order| order.promise.clone()).collect();
    let rpc = &stage.chain.rpc;
    let head = rpc.block_number().await?;
    let observation = observe(rpc, &stage.scope, before.block.saturating_add(1), head).await?;
    let verdict = Verdict::of(&promises, &observation.payments);
    let payers = stage.scope.payers();
    let after = BalanceSheet::read(rpc, &stage.scope.tokens, &payers).await?;
    let wrong = after.check_wallets(&before.balances, &promises, &payers, observation.fees_wei);
    for (token, expected, gone) in &wrong {
        let token = crate::assets::token_text(*token);
        eprintln!("wrong balance: {gone} of {token} left the payers instead of {expected}");
    }
    Ok(Judged { verdict, observation, wrong_balances: wrong.len() })
}

impl Run {
    /// Milliseconds of a processor for each of `payments`.
    pub(super) fn each_ms(time: CpuTime, payments: usize) -> f64 {
        time.total().as_secs_f64() * 1_000.0 / number(payments.max(1))
    }

    /// Size and latencies of each block from `first` to `last`.
    pub(super) fn points(&self, judged: &Judged, (first, last): (u64, u64)) -> Vec<BlockPoint> {
        let at: BTreeMap<u64, Instant> =
            self.seen.iter().map(|block| (block.outline.number, block.at)).collect();
        let mut latencies: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
        for (block, sent_at) in judged.verdict.paid.iter().zip(&self.fed.sent_at) {
            let Some(block) = block else { continue };
            let Some(mined_at) = at.get(block) else { continue };
            let latency = mined_at.saturating_duration_since(*sent_at);
            latencies.entry(*block).or_default().push(latency);
        }
        let payments = judged.per_block();
        let blocks =
            self.seen.iter().filter(|block| (first..=last).contains(&block.outline.number));
        blocks
            .map(|block| BlockPoint {
                at: block.at.saturating_duration_since(self.begun),
                outline: block.outline,
                payments: payments.get(&block.outline.number).copied().unwrap_or_default(),
                latencies: latencies.remove(&block.outline.number).unwrap_or_default(),
            })
            .collect()
    }
}

impl Judged {
    /// How many promises each block kept.
    pub(super) fn per_block(&self) -> BTreeMap<u64, usize> {
        let mut payments = BTreeMap::new();
        for block in self.verdict.paid.iter().flatten() {
            let sum: &mut usize = payments.entry(*block).or_default();
            *sum = sum.saturating_add(1);
        }
        payments
    }

    /// The first block that paid, and the last.
    ///
    /// # Errors
    /// None did.
    pub(super) fn span(&self) -> Result<(u64, u64)> {
        let paid = || self.verdict.paid.iter().flatten().copied();
        paid().min().zip(paid().max()).context("nothing was paid")
    }

    /// How many were paid.
    pub(super) fn paid(&self) -> usize {
        self.verdict.paid.iter().flatten().count()
    }

    /// Payments beyond the promises, by the token's logs or by the vault's.
    pub(super) fn paid_twice(&self) -> usize {
        self.verdict.paid_twice.len().saturating_add(self.observation.items.paid_again())
    }

    /// Whether every promise was kept once, and nothing else was done.
    pub(super) fn is_good(&self) -> bool {
        self.paid() == self.verdict.paid.len()
            && self.paid_twice() == 0
            && self.verdict.unexpected.is_empty()
            && self.observation.foreign.is_empty()
            && self.wrong_balances == 0
    }

    /// What most payments travelled with: the median over payments, not over transactions.
    pub(super) fn items_per_transaction(&self) -> usize {
        let mut sizes: BTreeMap<_, usize> = BTreeMap::new();
        for payment in &self.observation.payments {
            let size = sizes.entry(payment.tx).or_default();
            *size = size.saturating_add(1);
        }
        let mut sizes: Vec<usize> = sizes.into_values().collect();
        sizes.sort_unstable();
        let half = self.observation.payments.len() / 2;
        let mut reached: usize = 0;
        let median = sizes.iter().find(|size| {
            reached = reached.saturating_add(**size);
            reached > half
        });
        median.copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, U256};

    use super::*;
    use crate::judge::Payment;

    fn judged(txs: &[u8]) -> Judged {
        let payment = |tx: &u8| Payment {
            token: None,
            from: Address::repeat_byte(1),
            to: Address::repeat_byte(2),
            units: U256::from(1),
            block: 1,
            tx: B256::repeat_byte(*tx),
        };
        let payments = txs.iter().map(payment).collect();
        let observation = Observation { payments, ..Observation::default() };
        Judged { verdict: Verdict::default(), observation, wrong_balances: 0 }
    }

    #[test]
    fn the_usual_size_of_a_transaction_is_that_of_most_payments() {
        // Four transactions of one payment, and one of five.
        assert_eq!(judged(&[1, 2, 3, 4, 9, 9, 9, 9, 9]).items_per_transaction(), 5);
        assert_eq!(judged(&[1, 2, 3]).items_per_transaction(), 1);
        assert_eq!(judged(&[]).items_per_transaction(), 1);
    }

    #[test]
    fn payments_are_counted_by_block() {
        let paid = vec![Some(4), None, Some(5), Some(4)];
        let mut judged = judged(&[]);
        judged.verdict = Verdict { paid, ..Verdict::default() };
        assert_eq!(judged.per_block(), BTreeMap::from([(4, 2), (5, 1)]));
        assert_eq!((judged.span().unwrap(), judged.paid()), ((4, 5), 3));
        assert!(!judged.is_good(), "one was not paid");
        judged.verdict.paid.remove(1);
        assert!(judged.is_good());
        judged.wrong_balances = 1;
        assert!(!judged.is_good());
    }
}

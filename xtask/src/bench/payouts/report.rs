//! What `bench payouts` tells.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::ceiling::Ceiling;
use crate::bench::machine::{machine, mebibytes, number, rounded};
use crate::bench::metrics::Metrics;
use crate::bench::pace::Steady;
use crate::bench::points::BlockPoint;
use crate::bench::stage::Database;
use crate::latency::{Latencies, milliseconds};
use crate::process::CpuTime;
use crate::rail::Rail;

/// What was measured.
#[derive(Clone, Debug)]
pub struct PayoutsReport {
    pub(super) rail: Rail,
    pub(super) database: Database,
    /// What the same came to on SQLite just before.
    pub(super) sqlite: Option<Steady>,
    pub(super) database_cpu_ms_per_payment: f64,
    pub(super) statements: f64,
    pub(super) wallets: u16,
    pub(super) withdrawals: usize,
    pub(super) paid: usize,
    pub(super) lost: usize,
    pub(super) paid_twice: usize,
    pub(super) unexpected: usize,
    pub(super) foreign: usize,
    pub(super) failed: usize,
    pub(super) wrong_balances: usize,
    pub(super) put_off: usize,
    pub(super) items_per_transaction: usize,
    pub(super) steady: Steady,
    pub(super) ceiling: Option<Ceiling>,
    pub(super) cpu_ms_per_payment: f64,
    pub(super) cpu: CpuTime,
    pub(super) node_cpu_ms_per_payment: f64,
    pub(super) load_cpu_ms_per_payment: f64,
    pub(super) peak_kib: u64,
    pub(super) metrics: Metrics,
    pub(super) profile: &'static str,
    pub(super) points: Vec<BlockPoint>,
}

impl PayoutsReport {
    /// Whether every withdrawal was paid exactly once, and nothing else was.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.paid == self.withdrawals
            && self.lost == 0
            && self.paid_twice == 0
            && self.unexpected == 0
            && self.foreign == 0
            && self.wrong_balances == 0
    }

    /// From the first request to the first block that paid.
    fn start(&self) -> Duration {
        self.points.first().map(|point| point.at).unwrap_or_default()
    }

    /// From the first request to the last block that paid.
    fn took(&self) -> Duration {
        self.points.last().map(|point| point.at).unwrap_or_default()
    }

    fn mined(&self) -> Latencies {
        Latencies::new(self.points.iter().flat_map(|point| point.latencies.clone()).collect())
    }

    fn rpc_requests_per_payment(&self) -> f64 {
        rounded(self.metrics.rpc_requests() / number(self.paid.max(1)), 3)
    }

    fn statements_per_payment(&self) -> f64 {
        rounded(self.statements / number(self.paid.max(1)), 3)
    }

    /// Payments a second, as a part of those on SQLite.
    fn ratio_to_sqlite(&self) -> Option<f64> {
        let sqlite = self.sqlite?.payments_per_s();
        (sqlite > 0.0).then(|| self.steady.payments_per_s() / sqlite)
    }

    fn json(&self) -> Value {
        let mined = self.mined();
        let mut report = json!({
            "rail": self.rail,
            "database": self.database,
            "statements_per_payment": self.statements_per_payment(),
            "database_cpu_ms_per_payment": rounded(self.database_cpu_ms_per_payment, 3),
            "wallets": self.wallets,
            "withdrawals": self.withdrawals,
            "paid": self.paid,
            "lost": self.lost,
            "paid_twice": self.paid_twice,
            "unexpected": self.unexpected,
            "foreign": self.foreign,
            "failed_transactions": self.failed,
            "wrong_balances": self.wrong_balances,
            "put_off": self.put_off,
            "items_per_transaction": self.items_per_transaction,
            "payments_per_s": rounded(self.steady.payments_per_s(), 1),
            "payments_per_block": rounded(self.steady.payments_per_block, 1),
            "gas_per_block": rounded(self.steady.gas_per_block, 0),
            "gas_per_payment": rounded(self.steady.gas_per_payment(), 0),
            "block_s": rounded(self.steady.block_s, 3),
            "steady_blocks": self.steady.blocks,
            "start_ms": milliseconds(self.start()),
            "seconds": rounded(self.took().as_secs_f64(), 2),
            "mined_p50_ms": mined.percentile_ms(50),
            "mined_p95_ms": mined.percentile_ms(95),
            "mined_p99_ms": mined.percentile_ms(99),
            "cpu_ms_per_payment": rounded(self.cpu_ms_per_payment, 3),
            "cpu_user_ms": milliseconds(self.cpu.user),
            "cpu_system_ms": milliseconds(self.cpu.system),
            "node_cpu_ms_per_payment": rounded(self.node_cpu_ms_per_payment, 3),
            "load_cpu_ms_per_payment": rounded(self.load_cpu_ms_per_payment, 3),
            "peak_mib": mebibytes(self.peak_kib),
            "rpc_requests_per_payment": self.rpc_requests_per_payment(),
            "rpc_requests": self.metrics.rpc_by_method(),
            "profile": self.profile,
            "machine": machine(),
            "blocks": self.points.iter().map(BlockPoint::json).collect::<Vec<_>>(),
        });
        if let (Some(sqlite), Some(ratio)) = (self.sqlite, self.ratio_to_sqlite()) {
            report["sqlite_payments_per_s"] = json!(rounded(sqlite.payments_per_s(), 1));
            report["ratio_to_sqlite"] = json!(rounded(ratio, 3));
        }
        if let Some(ceiling) = &self.ceiling {
            let steady = ceiling.steady;
            report["ratio_to_ceiling"] = json!(rounded(ceiling.ratio(&self.steady), 3));
            report["ceiling_gas_per_block"] = json!(rounded(steady.gas_per_block, 0));
            report["ceiling_payments_per_block"] = json!(rounded(steady.payments_per_block, 1));
            report["ceiling_payments_per_s"] = json!(rounded(steady.payments_per_s(), 1));
            report["ceiling_block_s"] = json!(rounded(steady.block_s, 3));
            report["ceiling_steady_blocks"] = json!(steady.blocks);
        }
        report
    }
}

impl Serialize for PayoutsReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl fmt::Display for PayoutsReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<34}{value:>22}");
        row("rail", format!("{}, {} wallets", self.rail, self.wallets))?;
        row("paid once, by the chain", format!("{} of {}", self.paid, self.withdrawals))?;
        let wrong = [self.lost, self.paid_twice, self.unexpected];
        row("lost / twice / unexpected", wrong.map(|count| count.to_string()).join(" / "))?;
        row("payments of a transaction", self.items_per_transaction.to_string())?;
        let steady = &self.steady;
        row("payments a block", format!("{:.1}", steady.payments_per_block))?;
        row("block to block", format!("{:.3} s", steady.block_s))?;
        row("payments a second", format!("{:.1}", steady.payments_per_s()))?;
        row("gas a block", format!("{:.2} M", steady.gas_per_block / 1e6))?;
        row("gas a payment", format!("{:.0}", steady.gas_per_payment()))?;
        if let Some(ceiling) = &self.ceiling {
            let most = ceiling.steady;
            row("ceiling, payments a block", format!("{:.1}", most.payments_per_block))?;
            row("ceiling, block to block", format!("{:.3} s", most.block_s))?;
            row("ceiling, payments a second", format!("{:.1}", most.payments_per_s()))?;
            row("ceiling, gas a block", format!("{:.2} M", most.gas_per_block / 1e6))?;
            row("ratio to the ceiling", format!("{:.3}", ceiling.ratio(steady)))?;
        }
        if let (Some(sqlite), Some(ratio)) = (self.sqlite, self.ratio_to_sqlite()) {
            row("on SQLite, payments a second", format!("{:.1}", sqlite.payments_per_s()))?;
            row("ratio to SQLite", format!("{ratio:.3}"))?;
        }
        row("statements of SQL a payment", format!("{:.3}", self.statements_per_payment()))?;
        row("first request to first payment", format!("{:.0} ms", milliseconds(self.start())))?;
        let mined = self.mined();
        let latency = [50, 95, 99].map(|percent| format!("{:.0}", mined.percentile_ms(percent)));
        row("request to mined, p50/95/99", format!("{} ms", latency.join(" / ")))?;
        row("processor time a payment", format!("{:.3} ms", self.cpu_ms_per_payment))?;
        row("  of the node", format!("{:.3} ms", self.node_cpu_ms_per_payment))?;
        row("  of the database server", format!("{:.3} ms", self.database_cpu_ms_per_payment))?;
        row("  of this command", format!("{:.3} ms", self.load_cpu_ms_per_payment))?;
        row("requests to the node a payment", format!("{:.3}", self.rpc_requests_per_payment()))?;
        row("memory at most", format!("{:.1} MiB", mebibytes(self.peak_kib)))?;
        write!(formatter, "  {} build on {}", self.profile, machine())
    }
}

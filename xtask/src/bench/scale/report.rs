//! What `bench scale` tells.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::machine::{machine, mebibytes, number, rounded};
use crate::bench::pace::Steady;
use crate::bench::points::BlockPoint;
use crate::bench::run::{Judged, Run};
use crate::latency::Latencies;
use crate::rail::Rail;

/// Throughput may fall by a tenth.
const THROUGHPUT_RATIO_MIN: f64 = 0.9;
/// Processor time of a burst of seconds is known to about that.
const CPU_RATIO_MAX: f64 = 1.25;
/// What a finished withdrawal may take of the disk.
const ROW_BYTES_MAX: f64 = 2_048.0;

/// One burst of payments.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) run: Run,
    pub(super) judged: Judged,
    pub(super) steady: Steady,
    pub(super) points: Vec<BlockPoint>,
}

/// A burst into a table.
#[derive(Debug)]
pub(super) struct TablePoint {
    /// Finished withdrawals that were in it.
    pub(super) rows: usize,
    /// The database's file with these; 0 where there were none.
    pub(super) file_bytes: u64,
    pub(super) burst: Burst,
}

/// A burst by so many wallets.
#[derive(Debug)]
pub(super) struct SendersPoint {
    pub(super) wallets: u16,
    pub(super) burst: Burst,
}

/// What was measured.
#[derive(Debug)]
pub struct ScaleReport {
    pub(super) profile: &'static str,
    /// How the payments travelled while the table grew.
    pub(super) rail: Rail,
    pub(super) tables: Vec<TablePoint>,
    pub(super) senders: Vec<SendersPoint>,
}

/// The figures that say whether cost is flat.
#[derive(Clone, Copy, Debug)]
struct Ratios {
    throughput: f64,
    cpu: f64,
    senders_cpu: Option<f64>,
    bytes_per_row: f64,
}

impl Ratios {
    fn are_flat(&self) -> bool {
        self.throughput >= THROUGHPUT_RATIO_MIN
            && self.cpu <= CPU_RATIO_MAX
            && self.senders_cpu.is_none_or(|ratio| ratio <= CPU_RATIO_MAX)
            && self.bytes_per_row <= ROW_BYTES_MAX
    }
}

/// The last of a row of figures, by the first; 0 where there are none.
fn growth(figures: &[f64]) -> f64 {
    match figures {
        [first, .., last] if *first > 0.0 => last / first,
        _ => 0.0,
    }
}

/// Bytes that each of `rows` takes.
fn bytes_per_row(file_bytes: u64, rows: usize) -> f64 {
    let kib = usize::try_from(file_bytes / 1_024).unwrap_or(usize::MAX);
    number(kib) * 1_024.0 / number(rows.max(1))
}

impl Burst {
    fn cpu_ms(&self) -> f64 {
        Run::each_ms(self.run.cpu, self.judged.paid())
    }

    fn json(&self) -> Value {
        let latencies = self.points.iter().flat_map(|point| point.latencies.clone()).collect();
        let mined = Latencies::new(latencies);
        json!({
            "withdrawals": self.judged.verdict.paid.len(),
            "paid": self.judged.paid(),
            "lost": self.judged.verdict.lost().len(),
            "paid_twice": self.judged.paid_twice(),
            "unexpected": self.judged.verdict.unexpected.len(),
            "wrong_balances": self.judged.wrong_balances,
            "put_off": self.run.fed.put_off,
            "items_per_transaction": self.judged.items_per_transaction(),
            "payments_per_s": rounded(self.steady.payments_per_s(), 1),
            "payments_per_block": rounded(self.steady.payments_per_block, 1),
            "gas_per_block": rounded(self.steady.gas_per_block, 0),
            "block_s": rounded(self.steady.block_s, 3),
            "cpu_ms_per_payment": rounded(self.cpu_ms(), 3),
            "peak_mib": mebibytes(self.run.peak_kib),
            "mined_p50_ms": mined.percentile_ms(50),
            "mined_p95_ms": mined.percentile_ms(95),
            "blocks": self.points.iter().map(BlockPoint::json).collect::<Vec<_>>(),
        })
    }

    fn words(&self) -> String {
        format!(
            "{:.1} a second, {:.3} ms, {:.1} MiB",
            self.steady.payments_per_s(),
            self.cpu_ms(),
            mebibytes(self.run.peak_kib)
        )
    }
}

impl TablePoint {
    fn json(&self) -> Value {
        let mut point = self.burst.json();
        point["rows"] = json!(self.rows);
        if self.rows > 0 {
            point["file_mib"] = json!(mebibytes(self.file_bytes / 1_024));
            point["bytes_per_row"] = json!(rounded(bytes_per_row(self.file_bytes, self.rows), 0));
        }
        point
    }
}

impl SendersPoint {
    fn json(&self) -> Value {
        let mut point = self.burst.json();
        point["wallets"] = json!(self.wallets);
        point
    }
}

impl ScaleReport {
    /// Whether cost is flat, every withdrawal was paid exactly once, and nothing else was.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.bursts().all(|burst| burst.judged.is_good()) && self.ratios().are_flat()
    }

    fn bursts(&self) -> impl Iterator<Item = &Burst> {
        let tables = self.tables.iter().map(|point| &point.burst);
        tables.chain(self.senders.iter().map(|point| &point.burst))
    }

    fn ratios(&self) -> Ratios {
        let of_tables = |figure: fn(&Burst) -> f64| {
            growth(&self.tables.iter().map(|point| figure(&point.burst)).collect::<Vec<_>>())
        };
        let by_senders: Vec<f64> = self.senders.iter().map(|point| point.burst.cpu_ms()).collect();
        let bytes_per_row =
            self.tables.last().map_or(0.0, |point| bytes_per_row(point.file_bytes, point.rows));
        Ratios {
            throughput: of_tables(|burst| burst.steady.payments_per_s()),
            cpu: of_tables(Burst::cpu_ms),
            senders_cpu: (!by_senders.is_empty()).then(|| growth(&by_senders)),
            bytes_per_row,
        }
    }
}

impl Serialize for ScaleReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ratios = self.ratios();
        json!({
            "tables": self.tables.iter().map(TablePoint::json).collect::<Vec<_>>(),
            "senders": self.senders.iter().map(SendersPoint::json).collect::<Vec<_>>(),
            "throughput_ratio": rounded(ratios.throughput, 3),
            "cpu_ratio": rounded(ratios.cpu, 3),
            "senders_cpu_ratio": ratios.senders_cpu.map(|ratio| rounded(ratio, 3)),
            "bytes_per_row": rounded(ratios.bytes_per_row, 0),
            "flat": ratios.are_flat(),
            "profile": self.profile,
            "rail": self.rail,
            "machine": machine(),
        })
        .serialize(serializer)
    }
}

impl fmt::Display for ScaleReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(formatter, "  {name:<34}{value:>44}");
        for point in &self.tables {
            row(&format!("{} old rows", point.rows), point.burst.words())?;
        }
        for point in &self.senders {
            row(&format!("{} wallets", point.wallets), point.burst.words())?;
        }
        let bursts = || self.bursts().map(|burst| &burst.judged);
        let paid: usize = bursts().map(Judged::paid).sum();
        let withdrawals: usize = bursts().map(|judged| judged.verdict.paid.len()).sum();
        let lost: usize = bursts().map(|judged| judged.verdict.lost().len()).sum();
        let twice: usize = bursts().map(Judged::paid_twice).sum();
        row("paid once, by the chain", format!("{paid} of {withdrawals}"))?;
        row("lost / twice", format!("{lost} / {twice}"))?;
        let ratios = self.ratios();
        row("throughput, most rows by none", format!("{:.3}", ratios.throughput))?;
        row("processor time, most rows by none", format!("{:.3}", ratios.cpu))?;
        if let Some(ratio) = ratios.senders_cpu {
            row("processor time, 64 wallets by one", format!("{ratio:.3}"))?;
        }
        row("bytes of a row", format!("{:.0}", ratios.bytes_per_row))?;
        row("flat", if ratios.are_flat() { "yes" } else { "no" }.to_owned())?;
        write!(formatter, "  {} build on {}", self.profile, machine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: Ratios =
        Ratios { throughput: 0.97, cpu: 1.04, senders_cpu: Some(0.4), bytes_per_row: 900.0 };

    #[test]
    fn each_figure_alone_can_be_too_much() {
        assert!(FLAT.are_flat());
        assert!(Ratios { senders_cpu: None, ..FLAT }.are_flat());
        for steep in [
            Ratios { throughput: 0.89, ..FLAT },
            Ratios { cpu: 1.3, ..FLAT },
            Ratios { senders_cpu: Some(1.3), ..FLAT },
            Ratios { bytes_per_row: 2_049.0, ..FLAT },
        ] {
            assert!(!steep.are_flat(), "{steep:?}");
        }
    }

    #[test]
    fn growth_is_the_last_by_the_first() {
        assert_eq!(growth(&[2.0, 9.0, 3.0]).to_string(), "1.5");
        assert_eq!(growth(&[2.0]).to_string(), "0");
        assert_eq!(growth(&[0.0, 1.0]).to_string(), "0");
        assert!(!Ratios { throughput: growth(&[]), ..FLAT }.are_flat(), "nothing is not flat");
    }

    #[test]
    fn a_row_takes_its_share_of_the_file() {
        assert_eq!(bytes_per_row(10 * 1_024 * 1_024, 10_240).to_string(), "1024");
    }
}

//! What `bench api` tells.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::load::Figures;
use crate::bench::machine::machine;
use crate::rail::Rail;

/// A load at the API, and the same at the yardstick.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Beside {
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// Axum and one insert.
    pub(super) bare: Figures,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct ApiBenchReport {
    pub(super) loads: Vec<(String, Beside)>,
    /// Resident memory of the idle server.
    pub(super) idle_mib: f64,
    /// Resident memory after the loads, and at most.
    pub(super) loaded_mib: f64,
    pub(super) peak_mib: f64,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(super) ready_ms: f64,
    pub(super) rail: Rail,
    pub(super) connections: u16,
    pub(super) profile: &'static str,
}

impl ApiBenchReport {
    fn json(&self) -> Value {
        let mut report = json!({
            "idle_mib": self.idle_mib,
            "loaded_mib": self.loaded_mib,
            "peak_mib": self.peak_mib,
            "ready_ms": self.ready_ms,
            "rail": self.rail,
            "connections": self.connections,
            "profile": self.profile,
            "machine": machine(),
        });
        // The lightest load under the plain names, too.
        if let Some((_, lightest)) = self.loads.first() {
            let figures = lightest.figures;
            report["p50_ms"] = json!(figures.p50_ms);
            report["p95_ms"] = json!(figures.p95_ms);
            report["p99_ms"] = json!(figures.p99_ms);
            report["max_ms"] = json!(figures.max_ms);
            report["requests"] = json!(figures.requests);
        }
        for (name, beside) in &self.loads {
            report[name] = json!(beside);
        }
        report
    }
}

impl Serialize for ApiBenchReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl fmt::Display for ApiBenchReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "  {:<16}{:>12}{:>10}{:>10}{:>10}{:>10}",
            "load", "accepted/s", "p50 ms", "p95 ms", "p99 ms", "slowest"
        )?;
        for (name, beside) in &self.loads {
            for (name, it) in [(name.as_str(), beside.figures), ("  bare", beside.bare)] {
                writeln!(
                    formatter,
                    "  {name:<16}{:>12.1}{:>10.2}{:>10.2}{:>10.2}{:>10.2}",
                    it.per_s, it.p50_ms, it.p95_ms, it.p99_ms, it.max_ms
                )?;
            }
        }
        writeln!(
            formatter,
            "  resident memory, idle / after / at most: {:.1} / {:.1} / {:.1} MiB",
            self.idle_mib, self.loaded_mib, self.peak_mib
        )?;
        writeln!(formatter, "  cold start to ready: {:.1} ms", self.ready_ms)?;
        write!(formatter, "  {} build, {} rail, on {}", self.profile, self.rail, machine())
    }
}

//! From a report to lines.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::drawing::{Line, Picture};

/// Blocks that were seen at once are one step.
const STEP_MIN_S: f64 = 0.05;

/// One block, as a report has it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
struct Block {
    t_s: f64,
    payments: f64,
    p50_ms: f64,
    p95_ms: f64,
}

/// One run.
#[derive(Clone, Debug)]
struct Run {
    name: String,
    blocks: Vec<Block>,
}

/// Runs that are drawn together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// What the names of its pictures have behind that of the file.
    pub(super) suffix: &'static str,
    runs: Vec<Run>,
}

/// Reads the last line of what a bench printed.
///
/// # Errors
/// It is no report, or one without a series.
pub(super) fn read(text: &str) -> Result<Vec<Group>> {
    let line = text.trim_end().lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(line)
        .context("the last line is no JSON: was the bench started with --json?")?;
    let mut groups = Vec::new();
    if report.get("blocks").is_some() {
        let name = format!("{} rail, {} wallets", word(&report, "rail"), word(&report, "wallets"));
        groups.push(Group { suffix: "", runs: vec![Run { name, blocks: blocks(&report)? }] });
    }
    for (list, suffix, label, behind) in [
        ("backlogs", "", "backlog", ""),
        ("tables", "-tables", "rows", " old rows"),
        ("senders", "-senders", "wallets", " wallets"),
    ] {
        let listed = report.get(list).and_then(Value::as_array);
        let mut runs = Vec::new();
        for one in listed.into_iter().flatten() {
            let name = format!("{}{behind}", word(one, label));
            runs.push(Run { name, blocks: blocks(one)? });
        }
        if !runs.is_empty() {
            groups.push(Group { suffix, runs });
        }
    }
    ensure!(!groups.is_empty(), "it has no blocks: payouts, drain and scale have some");
    Ok(groups)
}

fn blocks(run: &Value) -> Result<Vec<Block>> {
    let blocks = run.get("blocks").context("a run has no blocks")?;
    let blocks: Vec<Block> = Vec::deserialize(blocks).context("the blocks are unknown ones")?;
    ensure!(blocks.len() >= 2, "a run of fewer than two blocks is no line");
    Ok(blocks)
}

/// A word or a number of a report.
fn word(report: &Value, name: &str) -> String {
    match report.get(name) {
        Some(Value::String(word)) => word.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Payments a second at the end of each step from block to block.
fn throughput(blocks: &[Block]) -> Vec<(f64, f64)> {
    let Some((first, others)) = blocks.split_first() else { return Vec::new() };
    let (mut since_s, mut payments) = (first.t_s, 0.0);
    let mut points = Vec::new();
    for block in others {
        payments += block.payments;
        let step_s = block.t_s - since_s;
        if step_s >= STEP_MIN_S {
            points.push((block.t_s, payments / step_s));
            (since_s, payments) = (block.t_s, 0.0);
        }
    }
    points
}

/// A latency in seconds; a block that paid nothing has none.
fn latency(blocks: &[Block], of: fn(&Block) -> f64) -> Vec<(f64, f64)> {
    let paid = blocks.iter().filter(|block| block.payments > 0.0);
    paid.map(|block| (block.t_s, of(block) / 1_000.0)).collect()
}

impl Group {
    /// Payments a second over time.
    pub(super) fn throughput(&self) -> Picture {
        let lines = self.runs.iter().enumerate().map(|(color, run)| Line {
            name: run.name.clone(),
            color,
            is_faint: false,
            points: throughput(&run.blocks),
        });
        Picture { title: "Throughput", unit: "payments a second", lines: lines.collect() }
    }

    /// From request to mined, over time.
    pub(super) fn latency(&self) -> Picture {
        let mut lines = Vec::new();
        for (color, run) in self.runs.iter().enumerate() {
            let mut add = |what: &str, is_faint: bool, of: fn(&Block) -> f64| {
                let name = format!("{}, {what}", run.name);
                lines.push(Line { name, color, is_faint, points: latency(&run.blocks, of) });
            };
            add("p50", false, |block| block.p50_ms);
            add("p95", true, |block| block.p95_ms);
        }
        Picture { title: "From request to mined", unit: "seconds", lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(t_s: f64, payments: f64) -> Block {
        Block { t_s, payments, p50_ms: 500.0, p95_ms: 1_500.0 }
    }

    #[test]
    fn throughput_is_by_the_time_from_block_to_block() {
        let seen_at_once =
            [block(1.0, 9.0), block(2.0, 100.0), block(2.01, 50.0), block(4.01, 10.0)];
        assert_eq!(throughput(&seen_at_once)[0], (2.0, 100.0));
        let (t_s, per_s) = throughput(&seen_at_once)[1];
        assert_eq!(
            (t_s.to_string(), format!("{per_s:.2}")),
            ("4.01".to_owned(), "29.85".to_owned())
        );
        assert!(throughput(&[]).is_empty());
    }

    #[test]
    fn a_block_without_payments_has_no_latency() {
        let blocks = [block(1.0, 9.0), block(2.0, 0.0), block(3.0, 1.0)];
        assert_eq!(latency(&blocks, |block| block.p95_ms), [(1.0, 1.5), (3.0, 1.5)]);
    }

    #[test]
    fn each_kind_of_report_is_understood() {
        let block = r#"{"t_s": 1.5, "number": 7, "payments": 3, "p50_ms": 1, "p95_ms": 2}"#;
        let blocks = format!(r#""blocks": [{block}, {block}]"#);
        let payouts = format!(r#"{{"rail": "vault", "wallets": 16, {blocks}}}"#);
        let groups = read(&payouts).unwrap();
        assert_eq!((groups.len(), groups[0].runs[0].name.as_str()), (1, "vault rail, 16 wallets"));
        assert_eq!(groups[0].latency().lines.len(), 2);
        let scale = format!(
            r#"{{"tables": [{{"rows": 0, {blocks}}}, {{"rows": 100000, {blocks}}}], "senders": [{{"wallets": 4, {blocks}}}]}}"#
        );
        let groups = read(&format!("words\n{scale}\n")).unwrap();
        let names: Vec<(&str, &str)> =
            groups.iter().map(|group| (group.suffix, group.runs[0].name.as_str())).collect();
        assert_eq!(names, [("-tables", "0 old rows"), ("-senders", "4 wallets")]);
        assert_eq!(groups[0].throughput().lines.len(), 2);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for text in ["", "words", r#"{"at_100": {}}"#, r#"{"blocks": []}"#, r#"{"backlogs": [{}]}"#]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

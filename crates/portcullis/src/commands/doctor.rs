//! `doctor`: looks at everything that a start does not need and a payment does, and says what to do.

mod chain;
mod files;

use std::sync::Arc;

use alloy_primitives::Address;
use portcullis_core::time::Clock;
use portcullis_engine::reconcile::what_journal_knows_more;
use serde::Serialize;
use serde_json::json;

use crate::clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Output;
use crate::signing::{read_journal, senders};
use crate::wire::Foundation;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    detail: String,
}

/// All of them, in the order in which they were made.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, verdict: Verdict, what: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Finding { verdict, what: what.into(), detail: detail.into() });
    }

    fn ok(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Verdict::Ok, what, detail);
    }

    fn warn(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Verdict::Warn, what, detail);
    }

    fn fail(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Verdict::Fail, what, detail);
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// Runs `doctor`.
pub(crate) async fn doctor(
    config: &Config,
    clock: &Arc<dyn Clock>,
    output: Output,
) -> Result<(), Failure> {
    let mut findings = Findings::default();
    let foundation = Foundation::lay(config, Arc::clone(clock)).await?;
    files::check(config, &mut findings);
    check_clock(&foundation, &mut findings);
    check_books(config, &foundation, &mut findings).await?;
    let senders = check_senders(config, &foundation, &mut findings).await;
    for (chain, configured) in foundation.chains.iter().zip(&config.chains) {
        chain::check(&foundation, chain, configured, &senders, &mut findings).await;
    }
    foundation.store.close().await;
    let (failed, warned) = (findings.count(Verdict::Fail), findings.count(Verdict::Warn));
    let mut lines: Vec<String> = findings.0.iter().map(line_of).collect();
    lines.push(format!("{} checks, {warned} warnings, {failed} failures", findings.0.len()));
    let value = json!({ "checks": findings.0, "warnings": warned, "failures": failed });
    output.show(&lines.join("\n"), &value);
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Failed(format!("{failed} checks failed: each line says what to do")))
}

/// This machine's clock against the database server's. A file has none of its own.
fn check_clock(foundation: &Foundation, findings: &mut Findings) {
    let Some(offset_ms) = foundation.store.clock_offset_ms() else { return };
    let detail = clock::told(offset_ms);
    if clock::is_off(offset_ms) {
        findings.warn("clock", format!("{detail}: set the one that is wrong"));
    } else {
        findings.ok("clock", detail);
    }
}

/// Whose keys the signer has, by chain id and address. A keystore is looked at with the other files.
async fn check_senders(
    config: &Config,
    foundation: &Foundation,
    findings: &mut Findings,
) -> Vec<(u64, Address)> {
    let signer = &config.signer;
    match senders(signer, foundation.deployment.id, &foundation.clock).await {
        Ok(senders) => {
            if !signer.holder.is_keystore() {
                findings.ok("keys", format!("{} by {}", senders.len(), signer.holder.kind()));
            }
            senders
        }
        Err(failure) => {
            if !signer.holder.is_keystore() {
                findings.fail("keys", failure.to_string());
            }
            Vec::new()
        }
    }
}

fn line_of(finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    format!("{verdict}  {}: {}", finding.what, finding.detail)
}

/// Halts, the journal against the database, the audit log and the ledger.
async fn check_books(
    config: &Config,
    foundation: &Foundation,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let store = &foundation.store;
    let failed = |error| Failure::of_store("cannot read the database", &error);
    let halts = store.halts().await.map_err(failed)?;
    if halts.is_empty() {
        findings.ok("halts", "none is in force");
    }
    for halt in halts {
        findings.fail(format!("halt {}", halt.id), format!("{}: {}", halt.reason, halt.detail));
    }
    match read_journal(config).await {
        Err(failure) => findings.fail("journal", failure.to_string()),
        Ok(journal) => match what_journal_knows_more(store, &journal).await {
            Ok(None) => findings.ok("journal", format!("{} lines, and it agrees", journal.lines())),
            Ok(Some(detail)) => findings.fail("journal", detail),
            Err(error) => findings.fail("journal", error.to_string()),
        },
    }
    match store.verify_audit().await {
        Ok(head) => {
            findings.ok("audit log", format!("{} entries", head.map_or(0, |it| it.sequence)));
        }
        Err(error) => findings.fail("audit log", error.to_string()),
    }
    match store.check_ledger().await {
        Ok(balances) => findings.ok("ledger", format!("{balances} balances are their postings")),
        Err(error) => findings.fail("ledger", error.to_string()),
    }
    Ok(())
}

//! The end of a run: what the chain says of what clients were promised.

use std::collections::BTreeSet;

use anyhow::Result;

use super::clients::Accepted;
use super::report::{Findings, TortureReport};
use super::settle::Settled;
use super::tally::Book;
use crate::assets::token_text;
use crate::chain::Rpc;
use crate::judge::{BalanceSheet, Promise, Scope, Verdict, observe};
use crate::rail::Rail;
use crate::replay::{DatabasePlace, replay};

/// What is judged, and by whom.
#[derive(Debug)]
pub(crate) struct Court<'a> {
    pub(crate) rpc: &'a Rpc,
    pub(crate) scope: &'a Scope,
    pub(crate) book: &'a Book,
    /// Everything that was ever signed there is offered to the node again.
    pub(crate) database: DatabasePlace<'a>,
}

impl Court<'_> {
    /// Judges the blocks after `start`; `before` are the balances of that time.
    ///
    /// # Errors
    /// The node fails, or the database cannot be read.
    pub(crate) async fn judge(
        &self,
        (start, before, accepted, settled): (u64, &BalanceSheet, &[Accepted], &Settled),
        rail: Rail,
        seed: u64,
    ) -> Result<TortureReport> {
        let Self { rpc, scope, .. } = self;
        let payers = scope.payers();
        let promises: Vec<Promise> = accepted.iter().map(|it| it.promise.clone()).collect();
        // Recipients are new to the chain: what they have, they have from us.
        let mut holders: BTreeSet<_> = promises.iter().map(|promise| promise.to).collect();
        holders.extend(&payers);
        let head = rpc.block_number().await?;
        let observation = observe(rpc, scope, start.saturating_add(1), head).await?;
        let verdict = Verdict::of(&promises, &observation.payments);
        let after = BalanceSheet::read(rpc, &scope.tokens, &holders).await?;
        let wrong_recipients = after.check_recipients(before, &promises, &payers);
        let wrong_payers: Vec<String> = after
            .check_wallets(before, &promises, &payers, observation.fees_wei)
            .into_iter()
            .map(|(token, expected, gone)| {
                let token = token_text(token);
                format!("{gone} of {token} left its payers instead of {expected}")
            })
            .collect();
        let replay = replay(rpc, scope, self.database).await?;
        let tally = self.book.read();
        let findings = Findings {
            promises: &promises,
            verdict: &verdict,
            observation: &observation,
            settled,
            tally: &tally,
            wrong_recipients: &wrong_recipients,
            wrong_payers: &wrong_payers,
            replay,
        };
        findings.tell_problems();
        Ok(findings.report(rail, seed))
    }
}

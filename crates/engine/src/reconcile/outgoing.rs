//! Transfers out of our senders, by the tokens' own logs: each has to be by a transaction of ours.

use alloy_primitives::Address;
use alloy_sol_types::SolEvent;
use portcullis_core::calldata::{Erc20, read_transfer};
use portcullis_evm::{LogQuery, MinedLog};

use super::{Difference, DifferenceKind, Findings, History, Ours, Reconciler, Setting};
use crate::error::EngineError;

/// Blocks whose logs are asked for at a time. Providers refuse long ranges; then it is halved.
const BLOCKS_MAX: u64 = 2_000;

impl Reconciler {
    pub(super) async fn check_transfers(
        &self,
        setting: &Setting<'_>,
        senders: &[Address],
        ours: &Ours,
        (findings, history): (&mut Findings, &mut History),
    ) -> Result<(), EngineError> {
        let chain = setting.pool.chain();
        let tokens = self.store.tokens(chain.chain_id).await?;
        history.from_block = setting.first_block;
        if tokens.is_empty() || senders.is_empty() {
            return Ok(());
        }
        let query = LogQuery {
            addresses: tokens,
            topics: vec![
                vec![Erc20::Transfer::SIGNATURE_HASH],
                senders.iter().map(Address::into_word).collect(),
            ],
            blocks: setting.first_block..=setting.agreed.head.number,
        };
        let logs = self.logs_in_ranges(setting, query, findings).await?;
        history.transfers = logs.len() as u64;
        for log in logs.iter().filter(|log| !ours.hashes.contains(&log.transaction_hash)) {
            self.check_log(setting, log, findings).await?;
        }
        Ok(())
    }

    /// A transfer by a transaction that is not ours.
    async fn check_log(
        &self,
        setting: &Setting<'_>,
        log: &MinedLog,
        findings: &mut Findings,
    ) -> Result<(), EngineError> {
        let Some(transfer) = read_transfer(&log.log) else { return Ok(()) };
        let header = setting.pool.agreed_header(&setting.agreed, log.block.number).await?;
        let header = header.filter(|header| header.hash == log.block.hash);
        let is_final = header.is_some_and(|header| setting.is_final(&header));
        let subject = format!("transaction {} log {}", log.transaction_hash, log.log_index);
        let detail = format!(
            "moves {} atomic units of {} from {} to {}",
            transfer.amount, transfer.token, transfer.from, transfer.to
        );
        let difference = Difference::new(DifferenceKind::UnknownTransfer, subject, detail)
            .resting_on(log.transaction_hash, is_final);
        if findings.is_accepted(&difference) {
            return Ok(());
        }
        let chain_id = setting.pool.chain().chain_id;
        let paid = (chain_id, Some(transfer.token), transfer.to, transfer.amount);
        findings.unexplained.insert(paid);
        findings.differences.push(difference);
        Ok(())
    }

    /// Reads logs range by range. What cannot be read even block by block is a difference; the rest of it is not read.
    pub(super) async fn logs_in_ranges(
        &self,
        setting: &Setting<'_>,
        query: LogQuery,
        findings: &mut Findings,
    ) -> Result<Vec<MinedLog>, EngineError> {
        let network = setting.pool.chain().network;
        let (mut from, last) = (*query.blocks.start(), *query.blocks.end());
        let mut span = BLOCKS_MAX;
        let mut all = Vec::new();
        while from <= last {
            let to = from.saturating_add(span.saturating_sub(1)).min(last);
            let part = LogQuery { blocks: from..=to, ..query.clone() };
            match setting.pool.logs(&part).await {
                Ok(logs) => all.extend(logs),
                Err(error) if span == 1 => {
                    let subject = format!("network {network}: logs from block {from}");
                    let detail = format!("{error}; an archive node may have them");
                    let kind = DifferenceKind::Undecided;
                    findings.differences.push(Difference::new(kind, subject, detail));
                    return Ok(all);
                }
                Err(_) => {
                    span = (span / 2).max(1);
                    continue;
                }
            }
            tracing::info!(network, to, last, "logs read");
            from = to.saturating_add(1);
        }
        Ok(all)
    }
}

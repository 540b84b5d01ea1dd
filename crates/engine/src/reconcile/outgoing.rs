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
        let head = setting.agreed.head.number;
        let recent = head.saturating_sub(chain.conservative.blocks);
        let first = ours.lowest_block.map_or(recent, |lowest| lowest.min(recent));
        history.from_block = first;
        if tokens.is_empty() || senders.is_empty() {
            return Ok(());
        }
        let mut span = BLOCKS_MAX;
        let mut from = first;
        while from <= head {
            let to = from.saturating_add(span.saturating_sub(1)).min(head);
            let query = LogQuery {
                addresses: tokens.clone(),
                topics: vec![
                    vec![Erc20::Transfer::SIGNATURE_HASH],
                    senders.iter().map(|sender| sender.into_word()).collect(),
                ],
                blocks: from..=to,
            };
            let logs = match setting.pool.logs(&query).await {
                Ok(logs) => logs,
                Err(error) if span == 1 => {
                    let subject = format!("network {}: logs from block {from}", chain.network);
                    let kind = DifferenceKind::Undecided;
                    findings.differences.push(Difference::new(kind, subject, error.to_string()));
                    return Ok(());
                }
                Err(_) => {
                    span = (span / 2).max(1);
                    continue;
                }
            };
            history.transfers = history.transfers.saturating_add(logs.len() as u64);
            for log in &logs {
                check_log(chain.chain_id, log, ours, findings);
            }
            tracing::info!(network = chain.network, to, head, "transfers compared");
            from = to.saturating_add(1);
        }
        Ok(())
    }
}

fn check_log(chain_id: u64, log: &MinedLog, ours: &Ours, findings: &mut Findings) {
    if ours.hashes.contains(&log.transaction_hash) {
        return;
    }
    let Some(transfer) = read_transfer(&log.log) else { return };
    let paid = (chain_id, Some(transfer.token), transfer.to, transfer.amount);
    findings.unexplained.insert(paid);
    let subject = format!("transaction {} log {}", log.transaction_hash, log.log_index);
    let detail = format!(
        "moves {} atomic units of {} from {} to {}",
        transfer.amount, transfer.token, transfer.from, transfer.to
    );
    findings.differences.push(Difference::new(DifferenceKind::UnknownTransfer, subject, detail));
}

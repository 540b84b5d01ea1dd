//! `eth_getLogs`.

use alloy_json_rpc::ErrorPayload;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use serde_json::Value;

use super::{Answer, View, failure, json, required, server_error};
use crate::node::{MinedTransaction, StoredBlock};

pub(super) fn logs(view: View<'_>, params: &Value) -> Answer {
    let filter: Filter = required(params, 0)?;
    let blocks = blocks(view, &filter)?;
    let logs = blocks.iter().flat_map(|block| &block.transactions).flat_map(MinedTransaction::logs);
    let wanted: Vec<&Log> = logs
        .filter(|log| filter.matches_address(log.inner.address))
        .filter(|log| filter.matches_topics(log.inner.data.topics()))
        .collect();
    json(&wanted)
}

fn blocks<'a>(view: View<'a>, filter: &Filter) -> Result<Vec<&'a StoredBlock>, ErrorPayload> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => view
            .block_of_hash(hash)
            .map(|block| vec![block])
            .ok_or_else(|| server_error("unknown block")),
        FilterBlockOption::Range { from_block, to_block } => {
            let from = view.number(from_block.unwrap_or_default())?;
            let to = view.number(to_block.unwrap_or_default())?;
            if from > to {
                return Err(failure(-32602, "invalid block range params"));
            }
            // A range that ends above the head is read up to the head.
            Ok((from..=to.min(view.head)).filter_map(|number| view.block(number)).collect())
        }
    }
}

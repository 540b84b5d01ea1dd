//! Blocks, transactions and receipts.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use serde_json::Value;

use super::{Answer, View, json, optional, required};
use crate::node::StoredBlock;

pub(super) fn by_number(view: View<'_>, params: &Value) -> Answer {
    let tag: BlockNumberOrTag = required(params, 0)?;
    let number = view.number(tag)?;
    shown(view.block(number), params)
}

pub(super) fn by_hash(view: View<'_>, params: &Value) -> Answer {
    shown(view.block_of_hash(required(params, 0)?), params)
}

fn shown(block: Option<&StoredBlock>, params: &Value) -> Answer {
    let full = optional(params, 1)?.unwrap_or(false);
    json(&block.map(|block| block.to_rpc(full)))
}

pub(super) fn receipts(view: View<'_>, params: &Value) -> Answer {
    let block = match required(params, 0)? {
        BlockId::Hash(hash) => view.block_of_hash(hash.block_hash),
        BlockId::Number(tag) => view.block(view.number(tag)?),
    };
    let receipts = block
        .map(|block| block.transactions.iter().map(|mined| &mined.receipt).collect::<Vec<_>>());
    json(&receipts)
}

pub(super) fn receipt(view: View<'_>, params: &Value) -> Answer {
    let mined = view.chain().mined(required(params, 0)?);
    let known = mined.filter(|(block, ..)| block.header.inner.number <= view.head);
    json(&known.map(|(_, _, mined)| &mined.receipt))
}

pub(super) fn transaction(view: View<'_>, params: &Value) -> Answer {
    let hash: B256 = required(params, 0)?;
    let found = if let Some((block, index, mined)) = view.chain().mined(hash) {
        let known = block.header.inner.number <= view.head;
        known.then(|| mined.transaction.to_rpc(Some((&block.header, index))))
    } else {
        let pooled = view.node.pool.transaction(hash).filter(|_| view.has_pool());
        pooled.map(|transaction| transaction.to_rpc(None))
    };
    json(&found)
}

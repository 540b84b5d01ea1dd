//! Blocks without what is in them: cheap to ask for while something is being measured.

use alloy_primitives::{Address, Bytes, U64};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rpc::{Request, Rpc};

/// A block, told by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOutline {
    /// Its number.
    pub number: u64,
    /// Unix time in seconds.
    pub timestamp_s: u64,
    /// Gas that its transactions used.
    pub gas_used: u64,
    /// How many transactions it has.
    pub transactions: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireOutline {
    number: U64,
    timestamp: U64,
    gas_used: U64,
    transactions: Vec<Value>,
}

impl Rpc {
    /// Blocks `from_block..=to_block`, without their transactions.
    ///
    /// # Errors
    /// The node fails, or does not have one of them.
    pub async fn outlines(&self, from_block: u64, to_block: u64) -> Result<Vec<BlockOutline>> {
        let ask = |number| Request::new("eth_getBlockByNumber", json!([U64::from(number), false]));
        let requests: Vec<Request> = (from_block..=to_block).map(ask).collect();
        let blocks: Vec<Option<WireOutline>> = self.batch(&requests).await?;
        let outline = |block: Option<WireOutline>| {
            let block =
                block.context("the node has no block of a number that it has named itself")?;
            Ok(BlockOutline {
                number: block.number.to(),
                timestamp_s: block.timestamp.to(),
                gas_used: block.gas_used.to(),
                transactions: block.transactions.len(),
            })
        };
        blocks.into_iter().map(outline).collect()
    }

    /// The least gas with which a call succeeds, as the node finds it.
    ///
    /// # Errors
    /// The call reverts, or the node fails.
    pub async fn estimate_gas(&self, from: Address, to: Address, data: &Bytes) -> Result<u64> {
        let call = json!([{ "from": from, "to": to, "data": data }]);
        Ok(self.call::<U64>("eth_estimateGas", call).await?.to())
    }
}

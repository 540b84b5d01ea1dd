//! The JSON-RPC methods of the node. Answers are alloy's own types, serialised by alloy.

mod block;
mod call;
mod fee;
mod log;

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_json_rpc::ErrorPayload;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use revm::state::Bytecode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::node::{Chain, NodeState, Sending, StoredBlock};

/// A JSON-RPC result.
pub(crate) type Answer = Result<Box<RawValue>, ErrorPayload>;

/// How a provider looks at the node for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Reads answer as of this many blocks ago.
    pub(crate) blocks_behind: u64,
    /// What becomes of a raw transaction.
    pub(crate) sending: Sending,
}

impl Manner {
    pub(crate) const HONEST: Self = Self { blocks_behind: 0, sending: Sending::Now };
}

/// The chain as one request sees it.
#[derive(Clone, Copy)]
struct View<'a> {
    node: &'a NodeState,
    /// The newest block that this view knows.
    head: u64,
}

/// Answers one request.
pub(crate) fn answer(node: &mut NodeState, method: &str, params: &Value, manner: Manner) -> Answer {
    if method == "eth_sendRawTransaction" {
        return send_raw(node, params, manner.sending);
    }
    let head = node.chain.head_number().saturating_sub(manner.blocks_behind);
    let view = View { node, head };
    match method {
        "eth_chainId" => json(&U64::from(view.chain().config.chain_id)),
        "net_version" => json(&view.chain().config.chain_id.to_string()),
        "eth_blockNumber" => json(&U64::from(head)),
        "eth_getBlockByNumber" => block::by_number(view, params),
        "eth_getBlockByHash" => block::by_hash(view, params),
        "eth_getBlockReceipts" => block::receipts(view, params),
        "eth_getTransactionByHash" => block::transaction(view, params),
        "eth_getTransactionReceipt" => block::receipt(view, params),
        "eth_getTransactionCount" => transaction_count(view, params),
        "eth_getBalance" => balance(view, params),
        "eth_getCode" => code(view, params),
        "eth_call" => call::call(view, params),
        "eth_estimateGas" => call::estimate_gas(view, params),
        "eth_createAccessList" => call::create_access_list(view, params),
        "eth_getLogs" => log::logs(view, params),
        "eth_maxPriorityFeePerGas" => json(&U256::from(view.chain().config.suggested_tip_wei)),
        "eth_gasPrice" => fee::gas_price(view),
        "eth_feeHistory" => fee::history(view, params),
        _ => Err(failure(-32601, format!("the method {method} does not exist/is not available"))),
    }
}

/// Whether [`crate::Fault::NullRead`] means something for the method.
pub(crate) fn may_answer_null(method: &str) -> bool {
    matches!(
        method,
        "eth_getBlockByNumber"
            | "eth_getBlockByHash"
            | "eth_getBlockReceipts"
            | "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
    )
}

fn json<T: Serialize>(value: &T) -> Answer {
    to_raw_value(value).map_err(|error| failure(-32603, error.to_string()))
}

fn failure(code: i64, message: impl Into<String>) -> ErrorPayload {
    ErrorPayload { code, message: message.into().into(), data: None }
}

/// geth's code for everything without one of its own (`rpc/errors.go`).
fn server_error(message: impl Into<String>) -> ErrorPayload {
    failure(-32000, message)
}

fn optional<T: DeserializeOwned>(params: &Value, index: usize) -> Result<Option<T>, ErrorPayload> {
    match params.get(index) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|error| failure(-32602, format!("invalid argument {index}: {error}"))),
    }
}

fn required<T: DeserializeOwned>(params: &Value, index: usize) -> Result<T, ErrorPayload> {
    optional(params, index)?
        .ok_or_else(|| failure(-32602, format!("missing value for required argument {index}")))
}

impl<'a> View<'a> {
    fn chain(self) -> &'a Chain {
        &self.node.chain
    }

    /// A block that this view knows.
    fn block(self, number: u64) -> Option<&'a StoredBlock> {
        if number > self.head { None } else { self.chain().block(number) }
    }

    fn block_of_hash(self, hash: B256) -> Option<&'a StoredBlock> {
        let found = self.chain().block_of_hash(hash);
        found.filter(|block| block.header.inner.number <= self.head)
    }

    /// The number behind a tag. geth's and bor's errors for the two that may not exist.
    fn number(self, tag: BlockNumberOrTag) -> Result<u64, ErrorPayload> {
        match tag {
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => Ok(self.head),
            BlockNumberOrTag::Earliest => Ok(0),
            BlockNumberOrTag::Number(number) => Ok(number),
            BlockNumberOrTag::Safe => Err(server_error("safe block not found")),
            BlockNumberOrTag::Finalized => {
                let depth = self.chain().config.finality_depth_blocks;
                depth
                    .and_then(|depth| self.head.checked_sub(depth))
                    .ok_or_else(|| server_error("finalized block not found"))
            }
        }
    }

    /// The block that a state read is about.
    fn state_block(self, id: Option<BlockId>) -> Result<&'a StoredBlock, ErrorPayload> {
        let found = match id.unwrap_or_default() {
            BlockId::Hash(hash) => self.block_of_hash(hash.block_hash),
            BlockId::Number(tag) => self.block(self.number(tag)?),
        };
        found.ok_or_else(|| server_error("header not found"))
    }

    fn state_number(self, params: &Value, index: usize) -> Result<u64, ErrorPayload> {
        let block = self.state_block(optional(params, index)?)?;
        Ok(block.header.inner.number)
    }

    /// A view from behind knows nothing of the pool: what waits there may be mined in its future.
    fn has_pool(self) -> bool {
        self.head == self.chain().head_number()
    }
}

fn transaction_count(view: View<'_>, params: &Value) -> Answer {
    let address: Address = required(params, 0)?;
    let block: Option<BlockId> = optional(params, 1)?;
    let number = view.state_block(block)?.header.inner.number;
    let nonce = view.chain().state.nonce(address, number);
    let pending = block == Some(BlockId::Number(BlockNumberOrTag::Pending));
    if pending && view.has_pool() {
        return json(&U64::from(view.node.pool.next_nonce(address, nonce)));
    }
    json(&U64::from(nonce))
}

fn balance(view: View<'_>, params: &Value) -> Answer {
    let address: Address = required(params, 0)?;
    json(&view.chain().state.balance(address, view.state_number(params, 1)?))
}

fn code(view: View<'_>, params: &Value) -> Answer {
    let address: Address = required(params, 0)?;
    let account = view.chain().state.account(address, view.state_number(params, 1)?);
    let code = account.and_then(|account| account.code.as_ref());
    json(&code.map(Bytecode::original_bytes).unwrap_or_default())
}

fn send_raw(node: &mut NodeState, params: &Value, sending: Sending) -> Answer {
    let raw: Bytes = required(params, 0)?;
    if let Sending::Later { blocks } = sending {
        node.hold_back(blocks, raw);
        // Nobody hears this: the transport answers with an error of its own.
        return json(&());
    }
    let hash = node.send(&raw).map_err(|error| server_error(error.to_string()))?;
    if sending == Sending::Forgotten {
        node.pool.remove(hash);
    }
    json(&hash)
}

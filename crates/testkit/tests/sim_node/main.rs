//! SimNode through its control API and through an alloy client.

mod chain;
mod pool;
mod reads;
mod transport;
mod vault;

use alloy_json_rpc::{ErrorPayload, RpcRecv, RpcSend};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_client::RpcClient;
use alloy_transport::TransportError;
use portcullis_core::time::Timestamp;
use portcullis_testkit::{
    BlockSummary, DevKey, SignedTestTransaction, SimConfig, SimNode, SimTransport, TestTransaction,
    dev_key,
};

const CHAIN: u64 = 137;
const COIN: u128 = 1_000_000_000_000_000_000;

/// A node, one rich account, and a client without faults.
struct World {
    node: SimNode,
    client: RpcClient,
    key: DevKey,
}

impl World {
    fn new() -> Self {
        Self::with(SimConfig::default())
    }

    fn with(config: SimConfig) -> Self {
        let (node, key) = (SimNode::new(config), dev_key(0));
        node.fund(key.address, U256::from(100 * COIN));
        let client = RpcClient::new(SimTransport::new(node.clone()), true);
        Self { node, client, key }
    }

    /// A block, two seconds after the last one.
    fn mine(&self) -> BlockSummary {
        let head_s = i64::try_from(self.node.head().timestamp_s).expect("a test's time is small");
        self.node.mine(Timestamp::from_millis((head_s + 2) * 1_000))
    }

    /// A signed transfer of 1 wei.
    fn transfer(&self, nonce: u64) -> SignedTestTransaction {
        built(nonce).sign(&self.key)
    }

    async fn ask<T: RpcRecv>(&self, method: &'static str, params: impl RpcSend) -> T {
        self.client.request(method, params).await.expect(method)
    }

    async fn refusal(&self, method: &'static str, params: impl RpcSend) -> ErrorPayload {
        let answer: Result<serde_json::Value, _> = self.client.request(method, params).await;
        match answer.expect_err("the node refuses") {
            TransportError::ErrorResp(payload) => payload,
            other => panic!("not a JSON-RPC error: {other}"),
        }
    }

    async fn send(&self, transaction: &SignedTestTransaction) -> B256 {
        self.ask("eth_sendRawTransaction", (transaction.raw.clone(),)).await
    }
}

/// A transfer of 1 wei, not yet signed.
fn built(nonce: u64) -> TestTransaction {
    TestTransaction::transfer(CHAIN, nonce, recipient(), U256::ONE)
}

fn recipient() -> Address {
    dev_key(77).address
}

//! A node for this crate's tests: it answers as it is told, also wrongly, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task;

use alloy_json_rpc::{
    ErrorPayload, Id, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy_primitives::B256;
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use portcullis_core::chain::ChainSpec;
use portcullis_core::time::{Clock, Timestamp};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tower::Service;

use crate::{PoolLimits, Provider, ProviderPool};

/// What it answers to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Value(Value),
    Error(i64, &'static str),
    ErrorWithData(i64, &'static str, Value),
    /// The batch comes back without this item.
    Nothing,
}

/// What happens to a whole packet.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Http(u16, &'static str),
    Reset,
    Hang,
    Malformed,
    /// One error object, with a null id, for the whole packet.
    Refusal(i64, &'static str),
}

type Handler = Box<dyn Fn(&Value) -> Reply + Send + Sync>;

#[derive(Default)]
struct Script {
    handlers: HashMap<&'static str, Handler>,
    faults: VecDeque<Fault>,
    calls: Vec<(String, Value)>,
    packets: Vec<usize>,
}

/// The node. Clones are the same node.
#[derive(Clone, Default)]
pub(crate) struct ScriptedNode(Arc<Mutex<Script>>);

impl ScriptedNode {
    /// On the local development chain.
    pub(crate) fn new() -> Self {
        let node = Self::default();
        node.on("eth_chainId", |_| Reply::Value(json!("0x7a69")));
        node
    }

    pub(crate) fn on(
        &self,
        method: &'static str,
        handler: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) {
        self.script().handlers.insert(method, Box::new(handler));
    }

    /// The next packet that is not a check of the chain id meets this.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.script().faults.push_back(fault);
    }

    pub(crate) fn head_with_base_fee(&self, number: u64, base_fee: u64) {
        self.on("eth_getBlockByNumber", move |_| {
            let mut header = header_json(number, hash(number), hash(number.saturating_sub(1)));
            header["baseFeePerGas"] = json!(format!("{base_fee:#x}"));
            Reply::Value(header)
        });
    }

    pub(crate) fn calls_of(&self, method: &str) -> usize {
        self.script().calls.iter().filter(|(called, _)| called == method).count()
    }

    /// Sizes of the packets that came, checks of the chain id left out.
    pub(crate) fn packets(&self) -> Vec<usize> {
        self.script().packets.clone()
    }

    pub(crate) fn client(&self) -> RpcClient {
        RpcClient::new(self.clone(), true)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let is_check = packet.method_names().any(|method| method == "eth_chainId");
        let fault = if is_check { None } else { self.script().faults.pop_front() };
        if !is_check {
            self.script().packets.push(packet.len());
        }
        match fault {
            Some(Fault::Http(status, body)) => {
                return Err(TransportErrorKind::http_error(status, body.to_owned()));
            }
            Some(Fault::Reset) => {
                return Err(TransportErrorKind::custom_str("connection reset by peer"));
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Malformed) => {
                let error = serde_json::from_str::<Value>("<html>").expect_err("not JSON");
                return Err(TransportError::deser_err(error, "<html>"));
            }
            Some(Fault::Refusal(code, message)) => {
                let payload = failure(code, message, None);
                return Ok(ResponsePacket::Single(Response { id: Id::None, payload }));
            }
            None => {}
        }
        Ok(match packet {
            RequestPacket::Single(request) => match self.answer(&request) {
                Some(response) => ResponsePacket::Single(response),
                None => ResponsePacket::Batch(Vec::new()),
            },
            // In the opposite order: answers are matched by id.
            RequestPacket::Batch(requests) => ResponsePacket::Batch(
                requests.iter().rev().filter_map(|request| self.answer(request)).collect(),
            ),
        })
    }

    fn answer(&self, request: &SerializedRequest) -> Option<Response> {
        let params = request.params().map_or("[]", |raw| raw.get());
        let params: Value = serde_json::from_str(params).expect("we wrote it");
        let mut script = self.script();
        script.calls.push((request.method().to_owned(), params.clone()));
        let reply = match script.handlers.get(request.method()) {
            Some(handler) => handler(&params),
            None => Reply::Error(-32601, "the method does not exist"),
        };
        let payload = match reply {
            Reply::Nothing => return None,
            Reply::Value(value) => {
                ResponsePayload::Success(to_raw_value(&value).expect("a JSON value"))
            }
            Reply::Error(code, message) => failure(code, message, None),
            Reply::ErrorWithData(code, message, data) => failure(code, message, Some(&data)),
        };
        Some(Response { id: request.id().clone(), payload })
    }
}

fn failure(code: i64, message: &'static str, data: Option<&Value>) -> ResponsePayload {
    let data = data.map(|value| to_raw_value(value).expect("a JSON value"));
    ResponsePayload::Failure(ErrorPayload { code, message: message.into(), data })
}

impl Service<RequestPacket> for ScriptedNode {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(
        &mut self,
        _context: &mut task::Context<'_>,
    ) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().serve(packet))
    }
}

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis)))
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The local development chain's pool over the nodes, named `node-0`, `node-1` and so on.
pub(crate) fn pool_of(nodes: &[&ScriptedNode], limits: PoolLimits) -> ProviderPool {
    pool_at(nodes, limits, TestClock::at(0))
}

/// The same with a clock.
pub(crate) fn pool_at(
    nodes: &[&ScriptedNode],
    limits: PoolLimits,
    clock: Arc<TestClock>,
) -> ProviderPool {
    let providers = nodes.iter().enumerate().map(|(index, node)| {
        let name = format!("node-{index}");
        Provider::from_client(name.clone(), name, node.client()).with_timeout_ms(1_000)
    });
    let chain = ChainSpec::by_network("localhost").expect("in the catalogue");
    ProviderPool::new(chain, providers.collect(), clock, limits).expect("well formed")
}

/// One node, without a time limit, and a clock.
pub(crate) fn pool_on(node: &ScriptedNode, clock: &Arc<TestClock>) -> ProviderPool {
    let chain = ChainSpec::by_network("localhost").expect("in the catalogue");
    let provider = Provider::from_client("node-0", "node-0", node.client());
    ProviderPool::new(chain, vec![provider], clock.clone(), PoolLimits::default())
        .expect("well formed")
}

/// A hash that is easy to tell apart.
pub(crate) fn hash(number: u64) -> B256 {
    alloy_primitives::keccak256(number.to_be_bytes())
}

/// A header as nodes write it.
pub(crate) fn header_json(number: u64, hash: B256, parent: B256) -> Value {
    json!({
        "number": format!("{number:#x}"),
        "hash": hash,
        "parentHash": parent,
        "timestamp": "0x10",
        "gasLimit": "0x1c9c380",
        "transactions": [],
    })
}

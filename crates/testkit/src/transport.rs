//! [`SimTransport`]: a provider. One node, seen through its faults and gates, behind alloy's transport.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use alloy_json_rpc::{
    ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use serde_json::Value;
use serde_json::value::RawValue;
use tower::Service;

use crate::fault::{Fault, FaultCounters, FaultPlan, NoFaults};
use crate::gate::{Gate, GatePoint, Stage};
use crate::node::{Sending, SimNode};
use crate::rpc::{self, Answer, Manner};

/// A provider of a [`SimNode`]. Clones share the faults, their counters and the gate.
#[derive(Clone)]
pub struct SimTransport {
    node: SimNode,
    provider: Arc<str>,
    faults: Arc<Mutex<Faults>>,
    /// The node on another branch that answers instead, for as long as there is one.
    view: Arc<Mutex<Option<SimNode>>>,
    gate: Option<Arc<dyn Gate>>,
}

struct Faults {
    plan: Box<dyn FaultPlan>,
    counters: FaultCounters,
}

/// What a client gets back for one request.
enum Reply {
    Answer(Response),
    /// Nothing: of a single request a transport error, of an item of a batch no entry.
    Lost(&'static str),
    RateLimited,
}

impl SimTransport {
    /// A faultless provider called `node`.
    #[must_use]
    pub fn new(node: SimNode) -> Self {
        let faults = Faults { plan: Box::new(NoFaults), counters: FaultCounters::default() };
        Self {
            node,
            provider: "node".into(),
            faults: Arc::new(Mutex::new(faults)),
            view: Arc::default(),
            gate: None,
        }
    }

    /// The same provider under another name, which its gate points and errors carry.
    #[must_use]
    pub fn named(self, provider: &str) -> Self {
        Self { provider: provider.into(), ..self }
    }

    /// The same provider with a gate before and behind the node.
    #[must_use]
    pub fn with_gate(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// The same provider with these faults.
    #[must_use]
    pub fn with_faults(self, plan: impl FaultPlan + 'static) -> Self {
        self.set_faults(plan);
        self
    }

    /// Changes the faults for all clones; the counters go on.
    pub fn set_faults(&self, plan: impl FaultPlan + 'static) {
        self.lock_faults().plan = Box::new(plan);
    }

    /// Lets another node answer for all clones from now on, usually a [`SimNode::fork`]; `None` brings the
    /// first one back. Each request that it answers is counted as a forked view.
    pub fn set_view(&self, view: Option<SimNode>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// The faults that happened so far, over all clones.
    #[must_use]
    pub fn counters(&self) -> FaultCounters {
        self.lock_faults().counters
    }

    /// The node behind.
    #[must_use]
    pub const fn node(&self) -> &SimNode {
        &self.node
    }

    fn lock_faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut FaultCounters)) {
        count(&mut self.lock_faults().counters);
    }

    async fn exchange(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        self.pass(Stage::BeforeNode, &packet).await;
        let reply = self.serve(&packet);
        self.pass(Stage::AfterNode, &packet).await;
        reply
    }

    async fn pass(&self, stage: Stage, packet: &RequestPacket) {
        if let Some(gate) = &self.gate {
            let methods = packet.method_names().map(str::to_owned).collect();
            let provider = self.provider.to_string();
            gate.pass(GatePoint { provider, stage, methods }).await;
        }
    }

    fn serve(&self, packet: &RequestPacket) -> Result<ResponsePacket, TransportError> {
        match packet {
            RequestPacket::Single(request) => match self.serve_request(request) {
                Reply::Answer(response) => Ok(ResponsePacket::Single(response)),
                Reply::Lost(why) => Err(self.lost(why)),
                Reply::RateLimited => Err(too_many_requests()),
            },
            RequestPacket::Batch(requests) => self.serve_batch(requests),
        }
    }

    fn serve_batch(
        &self,
        requests: &[SerializedRequest],
    ) -> Result<ResponsePacket, TransportError> {
        let methods: Vec<_> = requests.iter().map(SerializedRequest::method).collect();
        let fault = self.lock_faults().plan.decide_batch(&methods);
        match fault {
            Fault::Drop => {
                self.count(|counters| counters.dropped += 1);
                return Err(self.lost(NEVER_ARRIVED));
            }
            Fault::RateLimited => {
                self.count(|counters| counters.rate_limited += 1);
                return Err(too_many_requests());
            }
            _ => {}
        }
        let replies = requests.iter().filter_map(|request| match self.serve_request(request) {
            Reply::Answer(response) => Some(response),
            Reply::Lost(_) => None,
            Reply::RateLimited => Some(Response {
                id: request.id().clone(),
                payload: ResponsePayload::Failure(ErrorPayload {
                    code: 429,
                    message: "Too Many Requests: rate limit of this provider exceeded".into(),
                    data: None,
                }),
            }),
        });
        let replies = replies.collect();
        if fault == Fault::LoseAnswer {
            self.count(|counters| counters.lost_answers += 1);
            return Err(self.lost(ANSWER_LOST));
        }
        Ok(ResponsePacket::Batch(replies))
    }

    fn serve_request(&self, request: &SerializedRequest) -> Reply {
        let params = request.params().map_or(Value::Null, read_params);
        let method = request.method();
        let fault = self.lock_faults().plan.decide(method, &params);
        let ask = |manner: Manner| {
            let forked = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if forked.is_some() {
                self.count(|counters| counters.forked_views += 1);
            }
            let node = forked.as_ref().unwrap_or(&self.node);
            rpc::answer(&mut node.lock(), method, &params, manner)
        };
        let sends = method == "eth_sendRawTransaction";
        let answer = match fault {
            Fault::Drop => {
                self.count(|counters| counters.dropped += 1);
                return Reply::Lost(NEVER_ARRIVED);
            }
            Fault::RateLimited => {
                self.count(|counters| counters.rate_limited += 1);
                return Reply::RateLimited;
            }
            Fault::RpcError => {
                self.count(|counters| counters.rpc_errors += 1);
                Err(ErrorPayload {
                    code: -32603,
                    message:
                        "Internal error: upstream connect error or disconnect/reset before headers"
                            .into(),
                    data: None,
                })
            }
            Fault::LoseAnswer => {
                let _lost = ask(Manner::HONEST);
                self.count(|counters| counters.lost_answers += 1);
                return Reply::Lost(ANSWER_LOST);
            }
            Fault::AcceptLater { blocks } if sends => {
                let _lost = ask(Manner { sending: Sending::Later { blocks }, ..Manner::HONEST });
                self.count(|counters| counters.accepted_late += 1);
                return Reply::Lost(TIMED_OUT);
            }
            Fault::ForgetAfterAccept if sends => {
                let answer = ask(Manner { sending: Sending::Forgotten, ..Manner::HONEST });
                if answer.is_ok() {
                    self.count(|counters| counters.forgotten += 1);
                }
                answer
            }
            Fault::NullRead if rpc::may_answer_null(method) => {
                self.count(|counters| counters.null_reads += 1);
                Ok(RawValue::NULL.to_owned())
            }
            Fault::StaleRead { blocks } if !sends => {
                self.count(|counters| counters.stale_reads += 1);
                ask(Manner { blocks_behind: blocks, ..Manner::HONEST })
            }
            Fault::Duplicate => {
                let _first = ask(Manner::HONEST);
                self.count(|counters| counters.duplicated += 1);
                ask(Manner::HONEST)
            }
            _ => ask(Manner::HONEST),
        };
        Reply::Answer(respond(request, answer))
    }

    fn lost(&self, why: &str) -> TransportError {
        TransportErrorKind::custom_str(&format!("provider {}: {why}", self.provider))
    }
}

const NEVER_ARRIVED: &str = "connection refused before the request was sent";
const ANSWER_LOST: &str = "connection reset by peer while waiting for the answer";
const TIMED_OUT: &str = "operation timed out";

fn too_many_requests() -> TransportError {
    TransportErrorKind::http_error(429, "Too Many Requests".to_owned())
}

fn read_params(raw: &RawValue) -> Value {
    // A raw value is JSON by construction.
    serde_json::from_str(raw.get()).unwrap_or(Value::Null)
}

fn respond(request: &SerializedRequest, answer: Answer) -> Response {
    let payload = match answer {
        Ok(result) => ResponsePayload::Success(result),
        Err(error) => ResponsePayload::Failure(error),
    };
    Response { id: request.id().clone(), payload }
}

impl Service<RequestPacket> for SimTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(packet))
    }
}

impl fmt::Debug for SimTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimTransport")
            .field("provider", &self.provider)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

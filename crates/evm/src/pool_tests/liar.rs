//! A provider that changes what its node says on the way, and pools over nodes of the testkit.

use std::collections::HashMap;
use std::sync::Arc;
use std::task;

use alloy_json_rpc::{Id, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportFut};
use portcullis_core::chain::ChainSpec;
use portcullis_testkit::{SimNode, SimTransport, TestClock};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tower::Service;

use crate::{PoolLimits, Provider, ProviderPool};

/// Changes an answer: the method, and the result.
pub(super) type Lie = Arc<dyn Fn(&str, &mut Value) + Send + Sync>;

/// A provider of a node.
#[derive(Clone)]
pub(super) struct View {
    inner: SimTransport,
    lie: Option<Lie>,
}

impl View {
    pub(super) fn honest(node: &SimNode) -> Self {
        Self { inner: SimTransport::new(node.clone()), lie: None }
    }

    pub(super) fn lying(
        node: &SimNode,
        lie: impl Fn(&str, &mut Value) + Send + Sync + 'static,
    ) -> Self {
        Self { lie: Some(Arc::new(lie)), ..Self::honest(node) }
    }

    /// With the testkit's faults.
    pub(super) fn faulty(
        node: &SimNode,
        plan: impl portcullis_testkit::FaultPlan + 'static,
    ) -> Self {
        Self { inner: SimTransport::new(node.clone()).with_faults(plan), lie: None }
    }

    async fn exchange(mut self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let methods: HashMap<Id, String> = packet
            .requests()
            .iter()
            .map(|request| (request.id().clone(), request.method().to_owned()))
            .collect();
        let answer = self.inner.call(packet).await?;
        let Some(lie) = self.lie else { return Ok(answer) };
        let change = |response: Response| change(&lie, &methods, response);
        Ok(match answer {
            ResponsePacket::Single(response) => ResponsePacket::Single(change(response)),
            ResponsePacket::Batch(responses) => {
                ResponsePacket::Batch(responses.into_iter().map(change).collect())
            }
        })
    }
}

fn change(lie: &Lie, methods: &HashMap<Id, String>, response: Response) -> Response {
    let ResponsePayload::Success(raw) = &response.payload else { return response };
    let mut value: Value = serde_json::from_str(raw.get()).expect("the node writes JSON");
    lie(&methods[&response.id], &mut value);
    let payload = ResponsePayload::Success(to_raw_value(&value).expect("a JSON value"));
    Response { payload, ..response }
}

impl Service<RequestPacket> for View {
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
        Box::pin(self.clone().exchange(packet))
    }
}

/// Polygon's pool over these providers, named `a`, `b` and so on, each of an operator of its own.
pub(super) fn pool_of_views(views: Vec<View>, clock: &TestClock, quorum: usize) -> ProviderPool {
    let names = ["a", "b", "c", "d", "e"];
    let providers = views.into_iter().zip(names).map(|(view, name)| {
        Provider::from_client(name, format!("operator of {name}"), RpcClient::new(view, true))
    });
    let chain = ChainSpec::by_network("polygon").expect("in the catalogue");
    let limits = PoolLimits { quorum, ..PoolLimits::default() };
    ProviderPool::new(chain, providers.collect(), Arc::new(clock.clone()), limits)
        .expect("well formed")
}

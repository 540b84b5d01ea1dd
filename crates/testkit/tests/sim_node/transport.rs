//! Faults and gates between an alloy client and the node.

use std::sync::Arc;
use std::sync::Mutex;

use alloy_primitives::{B256, U64};
use alloy_rpc_client::RpcClient;
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_transport::{RpcError, TransportError};
use futures::FutureExt;
use futures::future::BoxFuture;
use portcullis_core::time::Timestamp;
use portcullis_testkit::{
    Fault, FaultCounters, FaultScript, Gate, GatePoint, SimTransport, Stage, TestTransaction,
};

use super::{World, built};

const SEND: &str = "eth_sendRawTransaction";

fn faulty(world: &World, script: FaultScript) -> (RpcClient, SimTransport) {
    let transport = SimTransport::new(world.node.clone()).named("faulty").with_faults(script);
    (RpcClient::new(transport.clone(), true), transport)
}

async fn send(
    client: &RpcClient,
    transaction: &TestTransaction,
    world: &World,
) -> Result<B256, TransportError> {
    client.request(SEND, (transaction.sign(&world.key).raw,)).await
}

#[tokio::test]
async fn a_dropped_request_does_nothing_and_a_lost_answer_everything() {
    let world = World::new();
    let script = FaultScript::new().once(SEND, Fault::Drop).once(SEND, Fault::LoseAnswer);
    let (client, transport) = faulty(&world, script);
    let first = send(&client, &built(0), &world).await;
    assert!(matches!(first, Err(RpcError::Transport(_))), "{first:?}");
    assert_eq!(world.node.pool_len(), 0);

    let second = send(&client, &built(0), &world).await;
    assert!(matches!(second, Err(RpcError::Transport(_))), "{second:?}");
    assert_eq!(world.mine().transactions, [world.transfer(0).hash]);

    let third = send(&client, &built(1), &world).await;
    assert_eq!(third.ok(), Some(world.transfer(1).hash), "the script is at its end");
    let counters = FaultCounters { dropped: 1, lost_answers: 1, ..FaultCounters::default() };
    assert_eq!(transport.counters(), counters);
    assert_eq!(counters.total(), 2);
}

#[tokio::test]
async fn a_send_may_arrive_later_twice_or_be_forgotten() {
    let world = World::new();
    let script = FaultScript::new()
        .once(SEND, Fault::AcceptLater { blocks: 2 })
        .once(SEND, Fault::ForgetAfterAccept)
        .once(SEND, Fault::Duplicate);
    let (client, transport) = faulty(&world, script);
    let late = send(&client, &built(0), &world).await;
    assert!(matches!(late, Err(RpcError::Transport(_))), "{late:?}");
    assert_eq!(world.mine().transactions, Vec::<B256>::new());
    assert_eq!(world.mine().transactions, [world.transfer(0).hash]);

    let forgotten = send(&client, &built(1), &world).await;
    assert_eq!(forgotten.ok(), Some(world.transfer(1).hash));
    assert_eq!(world.node.pool_len(), 0);

    let twice = send(&client, &built(1), &world).await.expect_err("the second is refused");
    assert_eq!(twice.as_error_resp().map(|error| error.message.as_ref()), Some("already known"));
    assert_eq!(world.node.pool_len(), 1);
    let happened =
        FaultCounters { accepted_late: 1, forgotten: 1, duplicated: 1, ..FaultCounters::default() };
    assert_eq!(transport.counters(), happened);
}

#[tokio::test]
async fn reads_may_be_null_or_stale() {
    const RECEIPT: &str = "eth_getTransactionReceipt";
    let world = World::new();
    let sent = world.transfer(0);
    world.send(&sent).await;
    world.mine();
    world.mine();
    let script = FaultScript::new()
        .once(RECEIPT, Fault::NullRead)
        .once(RECEIPT, Fault::StaleRead { blocks: 2 })
        .once(RECEIPT, Fault::StaleRead { blocks: 1 })
        .once("eth_blockNumber", Fault::StaleRead { blocks: 9 })
        .once("eth_getTransactionCount", Fault::StaleRead { blocks: 2 })
        .once("eth_chainId", Fault::NullRead);
    let (client, transport) = faulty(&world, script);
    let mut found = Vec::new();
    for _ in 0..4 {
        let receipt: Option<TransactionReceipt> =
            client.request(RECEIPT, (sent.hash,)).await.expect("answers");
        found.push(receipt.is_some());
    }
    assert_eq!(found, [false, false, true, true]);
    let head: U64 = client.request("eth_blockNumber", ()).await.expect("answers");
    let nonce: U64 = client
        .request("eth_getTransactionCount", (world.key.address, "latest"))
        .await
        .expect("answers");
    let chain: U64 = client.request("eth_chainId", ()).await.expect("a chain id is never null");
    assert_eq!((head, nonce, chain), (U64::ZERO, U64::ZERO, U64::from(137)));
    let happened = FaultCounters { null_reads: 1, stale_reads: 4, ..FaultCounters::default() };
    assert_eq!(transport.counters(), happened);
}

#[tokio::test]
async fn a_batch_fails_item_by_item() {
    let world = World::new();
    let script = FaultScript::new()
        .once("eth_chainId", Fault::Drop)
        .once("eth_gasPrice", Fault::RateLimited)
        .once(SEND, Fault::LoseAnswer);
    let (client, transport) = faulty(&world, script);
    let mut batch = client.new_batch();
    let missing = batch.add_call::<_, U64>("eth_chainId", &()).expect("serialises");
    let limited = batch.add_call::<_, U64>("eth_gasPrice", &()).expect("serialises");
    let raw = world.transfer(0).raw;
    let lost = batch.add_call::<_, B256>(SEND, &(raw,)).expect("serialises");
    let head = batch.add_call::<_, U64>("eth_blockNumber", &()).expect("serialises");
    batch.send().await.expect("the packet itself arrives");

    assert!(missing.await.is_err());
    let limited = limited.await.expect_err("refused");
    assert_eq!(limited.as_error_resp().map(|error| error.code), Some(429));
    assert!(lost.await.is_err());
    assert_eq!(head.await.ok(), Some(U64::ZERO));
    assert_eq!(world.node.pool_len(), 1, "the item whose answer was lost was served");
    let happened =
        FaultCounters { dropped: 1, rate_limited: 1, lost_answers: 1, ..FaultCounters::default() };
    assert_eq!(transport.counters(), happened);
}

#[tokio::test]
async fn a_whole_batch_fails_as_one() {
    let world = World::new();
    let script = FaultScript::new()
        .once_for_a_batch(Fault::Drop)
        .once_for_a_batch(Fault::RateLimited)
        .once_for_a_batch(Fault::LoseAnswer)
        .once("eth_chainId", Fault::RateLimited);
    let (client, transport) = faulty(&world, script);
    let mut pooled = Vec::new();
    let mut limited = Vec::new();
    for _ in 0..3 {
        let mut batch = client.new_batch();
        let raw = world.transfer(0).raw;
        let sent = batch.add_call::<_, B256>(SEND, &(raw,)).expect("serialises");
        let head = batch.add_call::<_, U64>("eth_blockNumber", &()).expect("serialises");
        let error = batch.send().await.expect_err("the packet is lost");
        drop((sent, head));
        limited.push(matches!(
            &error,
            RpcError::Transport(kind) if kind.as_http_error().is_some_and(|http| http.status == 429)
        ));
        pooled.push(world.node.pool_len());
    }
    assert_eq!((pooled, limited), (vec![0, 0, 1], vec![false, true, false]));
    let alone: Result<U64, _> = client.request("eth_chainId", ()).await;
    let status = alone.as_ref().err().and_then(|error| match error {
        RpcError::Transport(kind) => kind.as_http_error().map(|http| http.status),
        _ => None,
    });
    assert_eq!(status, Some(429));
    assert_eq!(transport.counters().total(), 4);
}

#[tokio::test]
async fn a_closure_is_a_plan_and_plans_change_while_running() {
    let world = World::new();
    let transport = SimTransport::new(world.node.clone()).with_faults(
        |method: &str, params: &serde_json::Value| {
            let about_block_9 = params.get(0).is_some_and(|first| first == "0x9");
            if method.starts_with("eth_getBlock") && about_block_9 {
                Fault::Drop
            } else {
                Fault::None
            }
        },
    );
    let client = RpcClient::new(transport.clone(), true);
    let ask = |number: &'static str| {
        client.request::<_, serde_json::Value>("eth_getBlockByNumber", (number, false))
    };
    assert!(ask("0x0").await.is_ok());
    assert!(ask("0x9").await.is_err());
    transport.set_faults(FaultScript::new());
    assert!(ask("0x9").await.is_ok());
    assert_eq!(transport.counters().dropped, 1);
}

/// Notes every point, and holds requests back at one of them for ever.
struct Trap {
    held: Option<Stage>,
    seen: Mutex<Vec<GatePoint>>,
}

impl Trap {
    fn at(held: Option<Stage>) -> Arc<Self> {
        Arc::new(Self { held, seen: Mutex::default() })
    }
}

impl Gate for Trap {
    fn pass(&self, point: GatePoint) -> BoxFuture<'static, ()> {
        let hold = self.held == Some(point.stage);
        self.seen.lock().expect("no test panics with it").push(point);
        if hold { futures::future::pending().boxed() } else { futures::future::ready(()).boxed() }
    }
}

#[tokio::test]
async fn a_caller_can_be_ended_before_the_effect_and_behind_it() {
    let world = World::new();
    for (held, pooled) in [(Stage::BeforeNode, 0), (Stage::AfterNode, 1)] {
        let gate = Trap::at(Some(held));
        let transport = SimTransport::new(world.node.clone()).named("a").with_gate(gate.clone());
        let client = RpcClient::new(transport, true);
        let transaction = built(0);
        {
            let mut request = Box::pin(send(&client, &transaction, &world));
            assert!(futures::poll!(&mut request).is_pending());
        }
        assert_eq!(world.node.pool_len(), pooled, "{held:?}");
        let last = gate.seen.lock().expect("no test panics with it").last().cloned();
        let point =
            GatePoint { provider: "a".to_owned(), stage: held, methods: vec![SEND.to_owned()] };
        assert_eq!(last, Some(point));
    }
    let gate = Trap::at(None);
    let transport = SimTransport::new(world.node.clone()).with_gate(gate.clone());
    let head: Result<U64, _> = RpcClient::new(transport, true).request("eth_blockNumber", ()).await;
    assert_eq!(head.ok(), Some(U64::ZERO));
    assert_eq!(gate.seen.lock().expect("no test panics with it").len(), 2);
}

#[tokio::test]
async fn a_provider_may_see_a_branch_of_its_own_and_fail_inside_http_200() {
    let world = World::new();
    let script = FaultScript::new().once("eth_blockNumber", Fault::RpcError);
    let (client, transport) = faulty(&world, script);
    let failed: Result<U64, _> = client.request("eth_blockNumber", ()).await;
    assert!(matches!(failed, Err(RpcError::ErrorResp(_))), "{failed:?}");

    let fork = world.node.fork();
    transport.set_view(Some(fork.clone()));
    fork.mine(Timestamp::from_millis(1_795_132_900_000));
    let there: U64 = client.request("eth_blockNumber", ()).await.expect("answered");
    assert_eq!((there, world.node.head().number), (U64::from(1), 0));
    client.request::<_, B256>(SEND, (world.transfer(0).raw,)).await.expect("accepted there");
    assert_eq!((fork.pool_len(), world.node.pool_len()), (1, 0));

    transport.set_view(None);
    let here: U64 = client.request("eth_blockNumber", ()).await.expect("answered");
    assert_eq!(here, U64::ZERO);
    let counters = FaultCounters { rpc_errors: 1, forked_views: 2, ..FaultCounters::default() };
    assert_eq!(transport.counters(), counters);
}

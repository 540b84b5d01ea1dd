//! Every fault has its name: in the status, in the metrics, and once in the log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::scripted_node::{Fault, Reply, ScriptedNode, TestClock, hash, header_json, pool_at};
use crate::{FaultReport, PoolLimits, ProviderFault, ProviderPool};

fn setting() -> (ScriptedNode, Arc<TestClock>, ProviderPool) {
    let node = ScriptedNode::new();
    node.on("eth_getTransactionReceipt", |_| Reply::Value(json!(null)));
    let clock = TestClock::at(0);
    let pool = pool_at(&[&node], PoolLimits::default(), clock.clone());
    (node, clock, pool)
}

fn faults(pool: &ProviderPool) -> Vec<ProviderFault> {
    pool.statuses()[0].faults.iter().map(|report| report.fault).collect()
}

async fn two_receipts(pool: &ProviderPool) {
    // What it says about the receipts is not the matter here.
    let _receipts = pool.receipts(&[hash(1), hash(2)]).await;
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_packet() {
    for (fault, name) in [
        (Fault::Http(429, "slow down"), ProviderFault::RateLimited),
        (Fault::Refusal(429, "Too Many Requests"), ProviderFault::RateLimited),
        (
            Fault::Refusal(-32005, "daily request count exceeded, request rate limited"),
            ProviderFault::RateLimited,
        ),
        (Fault::Http(503, "down"), ProviderFault::HttpStatus),
        (Fault::Http(504, "gateway timeout"), ProviderFault::TimedOut),
        (Fault::Hang, ProviderFault::TimedOut),
        (Fault::Reset, ProviderFault::Unreachable),
        (Fault::Malformed, ProviderFault::Malformed),
        (Fault::Refusal(-32600, "batch too large"), ProviderFault::BatchRefused),
    ] {
        let (node, clock, pool) = setting();
        node.fail_next(fault.clone());
        two_receipts(&pool).await;
        assert_eq!(faults(&pool), [name], "{fault:?}");
        // A good answer alone does not end it, a minute without it does.
        two_receipts(&pool).await;
        assert_eq!(faults(&pool), [name], "{fault:?}");
        clock.advance(crate::fault::QUIET_MS);
        assert_eq!(faults(&pool), [], "{fault:?}");
    }
}

#[tokio::test]
async fn faults_of_items_inside_http_200() {
    let one_bad = |reply: fn() -> Reply| {
        move |params: &serde_json::Value| {
            if params[0] == json!(hash(1)) { reply() } else { Reply::Value(json!(null)) }
        }
    };
    let cases: [(fn() -> Reply, ProviderFault); 5] = [
        (|| Reply::Error(429, "Too Many Requests"), ProviderFault::RateLimited),
        (|| Reply::Error(-32000, "rate limit exceeded"), ProviderFault::RateLimited),
        (|| Reply::Error(-32603, "internal error"), ProviderFault::ErrorAnswers),
        (
            || Reply::Error(-32000, "transaction indexing is in progress"),
            ProviderFault::ErrorAnswers,
        ),
        (|| Reply::Nothing, ProviderFault::HalfAnswered),
    ];
    for (reply, name) in cases {
        let (node, _clock, pool) = setting();
        node.on("eth_getTransactionReceipt", one_bad(reply));
        two_receipts(&pool).await;
        assert_eq!(faults(&pool), [name]);
    }
}

#[tokio::test]
async fn an_error_that_speaks_of_the_question_is_no_fault() {
    let (node, _clock, pool) = setting();
    node.on("eth_estimateGas", |_| Reply::Error(3, "execution reverted"));
    node.on("eth_sendRawTransaction", |_| Reply::Error(-32000, "nonce too low"));
    let call = crate::CallRequest {
        from: alloy_primitives::Address::ZERO,
        to: alloy_primitives::Address::ZERO,
        value: alloy_primitives::U256::ZERO,
        input: alloy_primitives::Bytes::new(),
        gas: None,
    };
    pool.estimate_gas(&[call]).await[0].clone().expect_err("it reverts");
    pool.send(&[(hash(1), alloy_primitives::Bytes::new())]).await;
    assert_eq!(faults(&pool), []);
}

#[tokio::test]
async fn a_wrong_chain_lasts_until_the_id_is_right_and_is_looked_at_again() {
    let (node, clock, pool) = setting();
    node.on("eth_chainId", |_| Reply::Value(json!("0x1")));
    node.on("eth_getBlockByNumber", |_| Reply::Value(header_json(9, hash(9), hash(8))));
    two_receipts(&pool).await;
    assert_eq!(faults(&pool), [ProviderFault::WrongChain]);
    clock.advance(crate::fault::QUIET_MS);
    pool.agreed_head(&[]).await.expect_err("it is still wrong");
    assert_eq!(faults(&pool), [ProviderFault::WrongChain]);
    node.on("eth_chainId", |_| Reply::Value(json!("0x7a69")));
    clock.advance(29_999);
    pool.agreed_head(&[]).await.expect_err("not asked again yet");
    clock.advance(1);
    pool.agreed_head(&[]).await.expect("it is right now");
    assert_eq!(faults(&pool), []);
}

/// What was written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn count(&self, words: &str) -> usize {
        let text = String::from_utf8(self.0.lock().expect("not poisoned").clone());
        text.expect("UTF-8").matches(words).count()
    }
}

/// Faults again and again: told when they begin and when they are over, and counted each time.
#[test]
fn repetitions_are_counted_and_not_told() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    metrics::with_local_recorder(&recorder, || {
        tracing::subscriber::with_default(subscriber, || runtime.block_on(fail_ten_times()));
    });
    assert_eq!(log.count("a provider's fault begins"), 1);
    assert_eq!(log.count("rate_limited"), 2, "its begin and its end");
    assert_eq!(log.count("a provider's fault is over"), 1);
    assert_eq!(log.count("provider is left alone for a while"), 1);
    assert_eq!(log.count("provider is back"), 1);
    let text = rendered.render();
    let labels = r#"{network="localhost",provider="node-0",fault="rate_limited"}"#;
    for line in [
        format!("portcullis_provider_faults_total{labels} 10"),
        format!("portcullis_provider_fault_active{labels} 0"),
        r#"portcullis_provider_breaker_state{network="localhost",provider="node-0"} 0"#.to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

async fn fail_ten_times() {
    let (node, clock, pool) = setting();
    for _ in 0..10 {
        // Each after the longest opening, so that each is asked.
        clock.advance(20_000);
        node.fail_next(Fault::Http(429, "slow down"));
        two_receipts(&pool).await;
    }
    let [FaultReport { count, since, last_seen_at, .. }] = &pool.statuses()[0].faults[..] else {
        panic!("one fault");
    };
    assert_eq!((*count, since.as_millis(), last_seen_at.as_millis()), (10, 20_000, 200_000));
    clock.advance(crate::fault::QUIET_MS);
    two_receipts(&pool).await;
}

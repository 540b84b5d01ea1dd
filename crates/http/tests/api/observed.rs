//! What is told of a request: a line in the log and metrics, never a key or a body.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Body;
use axum::http::Method;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;

use crate::house::{House, KEY, PAYEE, good, request};

/// The log of every test of this program. One for all, because the log's switches are those of the process.
static LOG: LazyLock<Kept> = LazyLock::new(|| {
    let kept = Kept::default();
    let writer = kept.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(LevelFilter::DEBUG)
        .with_writer(move || writer.clone())
        .init();
    kept
});

/// Bytes that were written.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins to keep the log.
pub(crate) fn keep_log() {
    LazyLock::force(&LOG);
}

#[tokio::test]
async fn a_request_is_one_line_of_the_log_without_secrets() {
    let house = House::open().await;
    let builder = request(Method::POST, "/v1/withdrawals", KEY)
        .header("content-type", "application/json")
        .header("x-request-id", "trace-42");
    house.send(builder.body(Body::from(good("seen-1").to_string())).expect("a request")).await;
    let log = String::from_utf8(LOG.0.lock().expect("no panic").clone()).expect("text");
    assert!(!log.contains(KEY), "no test logs a key");
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("trace-42"))
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    let answered: Vec<&Value> =
        lines.iter().filter(|line| line["fields"]["message"] == "answered").collect();
    assert_eq!(answered.len(), 1, "{lines:?}");
    let line = answered[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["span"]["correlation_id"], "trace-42");
    assert_eq!(line["fields"]["method"], "POST");
    assert_eq!(line["fields"]["route"], "/v1/withdrawals");
    assert_eq!(line["fields"]["status"], 202);
    assert!(line["fields"]["latency_ms"].is_u64(), "{line}");
    assert!(lines.iter().all(|line| !line.to_string().contains(PAYEE)), "no body is logged");
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let house = House::open().await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let guard = metrics::set_default_local_recorder(&recorder);
    house.pay(&good("metered-1")).await;
    house.get("/v1/withdrawals/wd_00000000000000000000000000").await;
    house.get("/no/such/page/1").await;
    house.get("/no/such/page/2").await;
    let invented = Method::from_bytes(b"INVENTED").expect("a method");
    let builder = request(invented, "/v1/networks", KEY);
    house.send(builder.body(Body::empty()).expect("a request")).await;
    house.store.raise_halt("foreign_use", "somebody else uses the key").await.expect("raises");
    house.get("/metrics").await;
    drop(guard);
    let text = rendered.render();
    for series in [
        r#"portcullis_http_requests_total{route="/v1/withdrawals",method="POST",status="202"} 1"#,
        r#"portcullis_http_requests_total{route="/v1/withdrawals/{id}",method="GET",status="404"} 1"#,
        r#"portcullis_http_requests_total{route="unmatched",method="GET",status="404"} 2"#,
        r#"portcullis_http_requests_total{route="/v1/networks",method="OTHER",status="405"} 1"#,
        r#"http_request_duration_seconds_count{route="/v1/withdrawals",method="POST",status="202"} 1"#,
        r#"portcullis_queue_depth{stage="validate"} 1"#,
        "portcullis_halts 1",
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
}

//! Over real HTTP on loopback: statuses, limits, and that the URL never shows.

use portcullis_core::chain::ChainSpec;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::scripted_node::TestClock;
use crate::{HttpEndpoint, PoolLimits, Provider, ProviderPool, RpcFailure};

const KEY: &str = "0123456789abcdef";

/// Answers each request on a connection of its own with the next of `answers`: head and body.
pub(super) async fn serve(answers: Vec<(&'static str, &'static str)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 65_536];
            let _read = stream.read(&mut request).await.expect("a request");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.expect("the client listens");
        }
    });
    format!("http://{address}/v2/{KEY}")
}

fn pool(url: String) -> ProviderPool {
    let endpoint = HttpEndpoint {
        name: "main".to_owned(),
        operator: "us".to_owned(),
        url: SecretString::from(url),
        timeout_ms: 2_000,
    };
    let provider = Provider::http(endpoint).expect("a good URL");
    assert!(!format!("{provider:?}").contains(KEY));
    let chain = ChainSpec::by_network("localhost").expect("known");
    ProviderPool::new(chain, vec![provider], TestClock::at(0), PoolLimits::default())
        .expect("well formed")
}

#[tokio::test]
async fn answers_and_statuses_come_through() {
    let url = serve(vec![
        ("200 OK", r#"{"jsonrpc":"2.0","id":0,"result":"0x7a69"}"#),
        ("429 Too Many Requests\r\nretry-after: 3", "slow down"),
        ("403 Forbidden", "unknown key 0123456789abcdef"),
        ("200 OK", "<html>"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", ""),
    ])
    .await;
    let pool = pool(url);
    let upstream = &pool.upstreams()[0];
    assert_eq!(upstream.check_chain_id().await, Ok(()));
    let failure = upstream.check_chain_id().await.expect_err("429").failure;
    assert_eq!(failure, RpcFailure::RateLimited { retry_after_ms: Some(3_000) });
    let failure = upstream.check_chain_id().await.expect_err("403").failure;
    let body = "unknown key [redacted]".to_owned();
    assert_eq!(failure, RpcFailure::Http { status: 403, body });
    let failure = upstream.check_chain_id().await.expect_err("no JSON").failure;
    assert!(matches!(failure, RpcFailure::Malformed(_)), "{failure}");
    let failure = upstream.check_chain_id().await.expect_err("no redirects").failure;
    assert!(matches!(failure, RpcFailure::Http { status: 302, .. }), "{failure}");
}

#[tokio::test]
async fn a_refused_connection_is_named_without_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let pool = pool(format!("http://{address}/v2/{KEY}"));
    let error = pool.head().await.expect_err("nobody listens");
    assert!(matches!(error.failure, RpcFailure::Transport(_)), "{error}");
    let shown = format!("{error} {error:?} {:?} {pool:?}", pool.statuses());
    assert!(!shown.contains(KEY), "{shown}");
}

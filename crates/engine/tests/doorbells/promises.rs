//! What every way between processes promises: a ring is heard, once or more often, and nothing is heard without one.

use std::sync::Arc;
use std::time::Duration;

use portcullis_cache::{Cache, RedisCache, RedisOptions};
use portcullis_engine::{Bell, Doorbells};
use portcullis_testkit::{Moto, RedisServer};

use crate::house::{BOUND, House, queues_at, queues_of};

/// Where the bells ring, and where they are waited for.
async fn exercise(rings: &Doorbells, waits: &Doorbells) {
    let short = Duration::from_millis(100);
    // A way that is made only now takes a while.
    let heard = async {
        loop {
            rings.ring(Bell::Sign);
            if waits.wait(Bell::Sign, Duration::from_millis(500)).await {
                return;
            }
        }
    };
    tokio::time::timeout(BOUND, heard).await.expect("a ring is heard");
    // What was rung meanwhile comes in now.
    while waits.wait(Bell::Sign, Duration::from_secs(2)).await {}
    assert!(!waits.wait(Bell::Sign, short).await, "nobody rang");
    // One who was busy while it rang hears it afterwards.
    rings.ring(Bell::Sign);
    assert!(waits.wait(Bell::Sign, BOUND).await);
    // Rings of others are not his.
    rings.ring(Bell::Broadcast);
    assert!(!waits.wait(Bell::Sign, short).await);
    // Many rings are at least one.
    for _ in 0..50 {
        rings.ring(Bell::Sign);
    }
    assert!(waits.wait(Bell::Sign, BOUND).await);
}

#[tokio::test]
async fn local_bells_keep_the_promises() {
    let doorbells = Doorbells::local();
    exercise(&doorbells, &doorbells.clone()).await;
}

#[tokio::test]
async fn sqs_keeps_the_promises_between_processes() {
    let (server, house) = (Moto::start(), House::new().await);
    queues_of(&server).await.create_all().await.expect("makes them");
    let (rings, one) = house.carry(&[], Some(Arc::new(queues_of(&server).await)), None);
    let (waits, other) = house.carry(&[Bell::Sign], Some(Arc::new(queues_of(&server).await)), None);
    exercise(&rings, &waits).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn redis_keeps_the_promises_between_processes() {
    let (server, house) = (RedisServer::start(), House::new().await);
    let (rings, one) = house.carry(&[], None, Some(cache_of(&server, &house)));
    let (waits, other) = house.carry(&[Bell::Sign], None, Some(cache_of(&server, &house)));
    exercise(&rings, &waits).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_sqs_that_never_answers_holds_up_no_ring_by_redis() {
    let (server, house) = (RedisServer::start(), House::new().await);
    // It accepts whatever comes, and that is all: what it accepted stays open.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            open.push(stream);
        }
    });
    let queues = Arc::new(queues_at(endpoint).await);
    let (rings, one) = house.carry(&[], Some(queues), Some(cache_of(&server, &house)));
    let (waits, other) = house.carry(&[Bell::Sign], None, Some(cache_of(&server, &house)));
    exercise(&rings, &waits).await;
    // Each waits for a try at SQS, if it waits for any.
    for ring in 0..5 {
        rings.ring(Bell::Sign);
        assert!(waits.wait(Bell::Sign, BOUND).await, "ring {ring} was held up");
    }
    one.stop().await;
    other.stop().await;
    accepting.abort();
}

fn cache_of(server: &RedisServer, house: &House) -> Arc<dyn Cache> {
    let options =
        RedisOptions { url: server.url().into(), prefix: "test".to_owned(), timeout: BOUND };
    Arc::new(RedisCache::new(&options, house.store.clock()).expect("a URL of Redis"))
}

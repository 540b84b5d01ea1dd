//! What every way between processes promises: a ring is heard, once or more often, and nothing is heard without one.

use std::sync::Arc;
use std::time::Duration;

use portcullis_cache::{Cache, RedisCache, RedisOptions};
use portcullis_engine::{Bell, Doorbells};

use crate::house::{BOUND, House};
use crate::servers::Server;

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
    let (server, house) = (Server::moto(), House::new().await);
    server.queues().await.create_all().await.expect("makes them");
    let (rings, one) = house.carry(&[], Some(Arc::new(server.queues().await)), None);
    let (waits, other) = house.carry(&[Bell::Sign], Some(Arc::new(server.queues().await)), None);
    exercise(&rings, &waits).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn redis_keeps_the_promises_between_processes() {
    let (server, house) = (Server::redis(), House::new().await);
    let cache = || -> Arc<dyn Cache> {
        let options = RedisOptions {
            url: server.redis_url().into(),
            prefix: "test".to_owned(),
            timeout: BOUND,
        };
        Arc::new(RedisCache::new(&options, house.store.clock()).expect("a URL of Redis"))
    };
    let (rings, one) = house.carry(&[], None, Some(cache()));
    let (waits, other) = house.carry(&[Bell::Sign], None, Some(cache()));
    exercise(&rings, &waits).await;
    one.stop().await;
    other.stop().await;
}

//! A Redis that forgets, goes away, or takes connections and never answers: nothing fails, nothing waits for long, and the
//! cache says what is wrong.

use std::time::{Duration, Instant};

use portcullis_cache::{Cache, Health, Rate, RedisCache, RedisOptions};
use portcullis_testkit::RedisServer;

use crate::promises::rung_until_heard;
use crate::{PATIENT, cache_on, clock};

/// Short, as in production.
const SHORT: Duration = Duration::from_millis(150);

const KEPT: Duration = Duration::from_mins(1);

/// Asks until the breaker is open, and then everything once more: that has to be quick.
async fn works_alone(cache: &RedisCache) {
    let began = Instant::now();
    while cache.health() == Health::Reachable {
        cache.probe().await;
        assert!(began.elapsed() < PATIENT, "three failures open the breaker");
    }
    let Health::Unreachable { why, .. } = cache.health() else { panic!("it is unreachable") };
    assert!(!why.is_empty());
    let rate = Rate::per_second(1, 2);
    let began = Instant::now();
    for _ in 0..100 {
        cache.write("alone", b"1", KEPT).await;
        assert_eq!(cache.read("alone").await.as_deref(), Some(&b"1"[..]));
    }
    assert!(cache.admit("alone", rate, 2).await.is_admitted);
    assert!(!cache.admit("alone", rate, 2).await.is_admitted, "it counts for itself");
    let mut hears = cache.listen();
    cache.ring("sign").await;
    assert_eq!(hears.try_recv().as_deref(), Ok("sign"), "in this process");
    // 203 exchanges, each of which would have waited; two trials of the breaker may have.
    assert!(began.elapsed() < SHORT.saturating_mul(8), "{:?}", began.elapsed());
}

async fn is_well_again(cache: &RedisCache) {
    let well = async {
        while cache.probe().await != Health::Reachable {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENT.saturating_mul(4), well).await.expect("it answers again");
    cache.write("after", b"2", KEPT).await;
    assert_eq!(cache.read("after").await.as_deref(), Some(&b"2"[..]));
    rung_until_heard(cache, &mut cache.listen(), "again").await;
}

#[tokio::test]
async fn a_flushed_redis_has_forgotten_and_goes_on() {
    let server = RedisServer::start();
    let cache = cache_on(&server, PATIENT);
    let rate = Rate::per_second(1, 1);
    cache.write("fact", b"1", KEPT).await;
    assert!(cache.admit("key", rate, 1).await.is_admitted);
    let client = redis::Client::open(server.url()).expect("a URL of Redis");
    let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
    // All scripts are forgotten as well.
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.expect("it runs");
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.expect("it runs");
    assert_eq!(cache.read("fact").await, None);
    assert!(cache.admit("key", rate, 1).await.is_admitted, "the count began anew");
    assert_eq!(cache.health(), Health::Reachable);
}

#[tokio::test]
async fn a_killed_redis_leaves_each_process_to_itself_until_it_is_back() {
    let mut server = RedisServer::start();
    let cache = cache_on(&server, SHORT);
    is_well_again(&cache).await;
    server.kill();
    works_alone(&cache).await;
    server.start_again();
    is_well_again(&cache).await;
    assert_eq!(cache.read("alone").await, None, "what was remembered alone is not told later");
}

#[tokio::test]
async fn a_redis_that_never_answers_is_not_waited_for() {
    let server = RedisServer::start();
    let cache = cache_on(&server, SHORT);
    is_well_again(&cache).await;
    server.stop_answering();
    works_alone(&cache).await;
    server.answer_again();
    is_well_again(&cache).await;
}

#[tokio::test]
async fn a_redis_that_was_never_there_stops_no_start() {
    let mut server = RedisServer::start();
    server.kill();
    let cache = cache_on(&server, SHORT);
    works_alone(&cache).await;
    server.start_again();
    is_well_again(&cache).await;
}

#[tokio::test]
async fn a_url_of_something_else_is_refused_without_its_password() {
    let options = RedisOptions {
        url: "http://user:verysecret@host/".to_owned().into(),
        prefix: "test".to_owned(),
        timeout: SHORT,
    };
    let error = RedisCache::new(&options, clock()).expect_err("not a URL of Redis").to_string();
    assert!(!error.contains("verysecret"), "{error}");
}

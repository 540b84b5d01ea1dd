//! What a cache has to do, on memory and on a real Redis; and what a Redis that is flushed, killed or stopped does to it.

mod bad_days;
mod promises;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_cache::{RedisCache, RedisOptions};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_testkit::RedisServer;

/// Far above what an exchange with a healthy server takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

/// The machine's clock: Redis has one of its own that nobody can set.
#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "the server's time is the machine's")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(MachineClock)
}

/// A cache of its own process on that server.
fn cache_on(server: &RedisServer, timeout: Duration) -> RedisCache {
    let options = RedisOptions { url: server.url().into(), prefix: "test".to_owned(), timeout };
    RedisCache::new(&options, clock()).expect("the URL is one of Redis")
}

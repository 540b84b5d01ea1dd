//! What two processes of the API count together, in a Redis.

use portcullis_testkit::RedisServer;
use serde_json::json;

use crate::administrate;
use crate::installation::{Installation, Server};

/// Far more than a busy machine needs to ask four times in two seconds.
const ROUNDS: usize = 20;

#[test]
fn a_key_has_one_rate_at_all_processes_of_the_api() {
    let redis = RedisServer::start();
    let installation = Installation::new();
    administrate(&installation);
    let environment = [
        ("REDIS_URL", redis.url()),
        ("PORTCULLIS__REDIS__TIMEOUT_MS", "5000".to_owned()),
        ("PORTCULLIS__INTAKE__KEY_REQUESTS_PER_SECOND", "1".to_owned()),
    ];
    let [one, other] = [(), ()].map(|()| installation.serve_with(&environment, &["--role", "api"]));
    let mut refused = 0;
    for round in 0..ROUNDS {
        // Each round has a key of its own, and asks no process more often than that one alone would allow: twice.
        let name = format!("round-{round}");
        let key = installation.json(&[
            "admin",
            "api-key",
            "add",
            "--tenant",
            "acme",
            "--name",
            &name,
            "--scopes",
            "accounts:read",
        ]);
        let secret = key["secret"].as_str().expect("shown once");
        let status = |server: &Server| server.call("GET", "/v1/networks", secret, &json!({})).0;
        let statuses = [&one, &one, &other, &other].map(status);
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert_eq!(statuses[..2], [200, 200], "the burst of a new key");
        refused += statuses.iter().filter(|status| **status == 429).count();
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "each process counted for itself in {ROUNDS} rounds");
    for server in [one, other] {
        assert_eq!(server.stop().0, Some(0));
    }
}

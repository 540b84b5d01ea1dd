//! Whether this process lives, whether it can serve, and how it fares.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_evm::{Decision, FaultReport, ProviderPool, ProviderStatus};
use portcullis_store::alarm::AlarmKind;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{Api, ApiState, RequestContext};
use crate::error::ApiError;
use crate::parts::Concern;
use crate::view::network_of;

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LiveView {
    /// `ok`.
    #[schema(value_type = String, example = "ok")]
    pub(crate) status: &'static str,
}

/// Whether requests may be sent here, and what is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadyView {
    /// `ready`; `degraded` when something is wrong that does not stop intake; `not_ready`.
    #[schema(value_type = String, example = "ready")]
    pub(crate) status: &'static str,
    /// What is wrong.
    pub(crate) concerns: Vec<ConcernView>,
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConcernView {
    /// `database`, `schema`, `disk`, `halts`, `journal`, `keys`, `providers`, `queues`, …
    #[schema(example = "providers")]
    pub(crate) component: String,
    /// Whether requests must not be sent here because of it.
    pub(crate) is_blocking: bool,
    /// What is wrong, and what to do.
    #[schema(example = "network polygon: no provider answers; withdrawals are accepted and wait")]
    pub(crate) detail: String,
}

/// How the process fares.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HealthView {
    /// `healthy`, `degraded` or `unhealthy`.
    #[schema(value_type = String, example = "healthy")]
    pub(crate) status: &'static str,
    /// Seconds since it started.
    #[schema(example = 86_400)]
    pub(crate) uptime: i64,
    /// Whether the database answers.
    pub(crate) db_connection: bool,
    /// Whether the queues answer: the database, where they are, and SQS, where doorbells go by it.
    pub(crate) queue_connection: bool,
    /// Of the binary.
    #[schema(value_type = String, example = "0.1.0")]
    pub(crate) version: &'static str,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/livez",
    tag = "health",
    security(()),
    responses((status = 200, description = "It answers", body = LiveView)),
)]
pub(crate) async fn livez() -> Json<LiveView> {
    Json(LiveView { status: "ok" })
}

/// Whether requests may be sent here
///
/// Names everything that is wrong. Halts of the engine and nodes that are down are named, and do not make it
/// unready: withdrawals are accepted, and paid when that is over.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "It serves; `degraded` names what is wrong all the same", body = ReadyView),
        (status = 503, description = "It does not", body = ReadyView),
    ),
)]
pub(crate) async fn readyz(State(api): State<Api>, context: RequestContext) -> Response {
    let concerns = concerns(&api, &context).await;
    let (code, status) = if concerns.iter().any(|concern| concern.is_blocking) {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    } else if concerns.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::OK, "degraded")
    };
    let concerns = concerns
        .into_iter()
        .map(|Concern { component, is_blocking, detail }| ConcernView {
            component,
            is_blocking,
            detail,
        })
        .collect();
    (code, Json(ReadyView { status, concerns })).into_response()
}

/// How the process fares
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "Healthy or degraded", body = HealthView),
        (status = 503, description = "Unhealthy", body = HealthView),
    ),
)]
pub(crate) async fn health(State(api): State<Api>, context: RequestContext) -> Response {
    let concerns = concerns(&api, &context).await;
    let has_database = !concerns.iter().any(|concern| concern.component == DATABASE);
    let (code, status) = if concerns.iter().any(|concern| concern.is_blocking) {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    } else if concerns.is_empty() {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::OK, "degraded")
    };
    let view = HealthView {
        status,
        uptime: api.now().millis_since(api.started_at).max(0) / 1_000,
        db_connection: has_database,
        queue_connection: has_database
            && !concerns.iter().any(|concern| concern.component == QUEUES),
        version: env!("CARGO_PKG_VERSION"),
    };
    (code, Json(view)).into_response()
}

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    security(()),
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(api): State<Api>, context: RequestContext) -> Response {
    match api.read(&context, api.parts.store.queues()).await {
        Ok(queues) => {
            for queue in queues {
                let depth = f64::from(u32::try_from(queue.depth).unwrap_or(u32::MAX));
                let age_ms = u32::try_from(queue.oldest_age_ms.unwrap_or(0).max(0));
                let age_seconds = f64::from(age_ms.unwrap_or(u32::MAX)) / 1_000.0;
                metrics::gauge!("portcullis_queue_depth", "stage" => queue.stage).set(depth);
                metrics::gauge!("portcullis_queue_oldest_age_seconds", "stage" => queue.stage)
                    .set(age_seconds);
            }
        }
        Err(error) => tracing::warn!(%error, "the depth of the queues is unknown"),
    }
    match api.read(&context, api.parts.store.halts()).await {
        Ok(halts) => {
            let in_force = f64::from(u32::try_from(halts.len()).unwrap_or(u32::MAX));
            metrics::gauge!("portcullis_halts").set(in_force);
        }
        Err(error) => tracing::warn!(%error, "the number of halts is unknown"),
    }
    tell_alarms(&api, &context).await;
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, text)], (api.parts.metrics_render)()).into_response()
}

/// Alarms in force and open dead letters, as gauges.
async fn tell_alarms(api: &ApiState, context: &RequestContext) {
    let count = |many: usize| f64::from(u32::try_from(many).unwrap_or(u32::MAX));
    match api.read(context, api.parts.store.alarms()).await {
        Ok(alarms) => {
            for kind in AlarmKind::ALL {
                let of_kind = alarms.iter().filter(|alarm| alarm.kind == kind).count();
                metrics::gauge!("portcullis_alarms", "kind" => kind.as_str()).set(count(of_kind));
            }
        }
        Err(error) => tracing::warn!(%error, "the number of alarms is unknown"),
    }
    match api.read(context, api.parts.store.count_dead_letters()).await {
        Ok(letters) => {
            for (queue, open, waiting) in letters {
                let (queue, most) = (queue.as_str(), u64::from(u32::MAX));
                let whole =
                    |many: u64| f64::from(u32::try_from(many.min(most)).unwrap_or(u32::MAX));
                metrics::gauge!("portcullis_dead_letters_open", "queue" => queue).set(whole(open));
                metrics::gauge!("portcullis_dead_letters_waiting", "queue" => queue)
                    .set(whole(waiting));
            }
        }
        Err(error) => tracing::warn!(%error, "the number of dead letters is unknown"),
    }
}

const DATABASE: &str = "database";

/// What the process that holds this router calls the queues between processes.
const QUEUES: &str = "queues";

async fn concerns(api: &ApiState, context: &RequestContext) -> Vec<Concern> {
    let mut concerns = match of_database(api, context).await {
        Ok(concerns) => concerns,
        Err(error) => {
            vec![blocking(DATABASE, format!("{error}"))]
        }
    };
    for chain in &api.parts.chains {
        concerns.extend(of_providers(&chain.pool));
    }
    concerns.extend((api.parts.concerns)());
    concerns
}

/// What is wrong with the providers of a network: each of them that has faults, what they contradict each other
/// about, and what cannot be decided for want of them.
fn of_providers(pool: &ProviderPool) -> Vec<Concern> {
    let network = pool.chain().network;
    let statuses = pool.statuses();
    let faulty: Vec<String> = statuses.iter().filter_map(describe_faults).collect();
    let healthy = pool.independent_healthy();
    let mut details = Vec::new();
    if healthy == 0 {
        let faults = faulty.join("; ");
        let behind = if faults.is_empty() { faults } else { format!(": {faults}") };
        details.push(format!("no provider answers; withdrawals are accepted and wait{behind}"));
    } else {
        details.extend(faulty);
        match pool.needed(Decision::Paid) {
            Ok(needed) if healthy < needed => details.push(format!(
                "{healthy} independent operators are healthy and {needed} have to agree; payments are sent, \
                 and none is confirmed until they do"
            )),
            Ok(_) => {}
            Err(error) => details.push(error.to_string()),
        }
    }
    details.extend(pool.disputes().into_iter().map(|dispute| {
        format!("the providers contradict each other, and nothing is decided by it: {dispute}")
    }));
    let concern = |detail| passing("providers", format!("network {network}: {detail}"));
    details.into_iter().map(concern).collect()
}

/// The faults by name. Anybody may read this: what a node said of itself stays in the log.
fn describe_faults(status: &ProviderStatus) -> Option<String> {
    let describe = |report: &FaultReport| {
        let (fault, since) = (report.fault, report.since.to_rfc3339());
        if fault.is_standing() {
            return format!("{fault} since {since} ({})", report.detail);
        }
        format!("{fault} since {since}")
    };
    let faults: Vec<String> = status.faults.iter().map(describe).collect();
    let (name, breaker) = (&status.name, status.breaker.as_str());
    (!faults.is_empty() || !status.healthy)
        .then(|| format!("provider {name}, breaker {breaker}: {}", faults.join(", ")))
}

async fn of_database(api: &ApiState, context: &RequestContext) -> Result<Vec<Concern>, ApiError> {
    let store = &api.parts.store;
    api.read(context, store.ping()).await?;
    let schema = api.read(context, store.schema_status()).await?;
    if schema.current != schema.known {
        let detail = format!(
            "the database has schema {}, this binary knows {}: run the migrations of this version",
            schema.current, schema.known
        );
        return Ok(vec![blocking("schema", detail)]);
    }
    let halts = api.read(context, store.halts()).await?;
    let halted = halts.into_iter().map(|halt| {
        let since = halt.raised_at.to_rfc3339();
        let detail = format!("nothing is signed since {since}: {}: {}", halt.reason, halt.detail);
        passing("halts", detail)
    });
    let mut concerns: Vec<Concern> = halted.collect();
    for alarm in api.read(context, store.alarms()).await? {
        let since = alarm.raised_at.to_rfc3339();
        let network = network_of(alarm.chain_id);
        let detail = format!("network {network}: since {since}: {}", alarm.detail);
        concerns.push(passing(alarm.kind.as_str(), detail));
    }
    for (queue, open, waiting) in api.read(context, store.count_dead_letters()).await? {
        if open > 0 {
            let queue = queue.as_str();
            let detail = format!(
                "{queue} has {open} letters, {waiting} of them wait for an operator: `portcullis admin dead-letter list`"
            );
            concerns.push(passing("dead_letters", detail));
        }
    }
    Ok(concerns)
}

fn blocking(component: &str, detail: String) -> Concern {
    Concern { component: component.to_owned(), is_blocking: true, detail }
}

fn passing(component: &str, detail: String) -> Concern {
    Concern { component: component.to_owned(), is_blocking: false, detail }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alloy_rpc_client::RpcClient;
    use portcullis_core::chain::ChainSpec;
    use portcullis_core::time::{Clock, Timestamp};
    use portcullis_evm::{PoolLimits, Provider};
    use portcullis_testkit::{Fault, SimConfig, SimNode, SimTransport, TestClock};

    use super::*;

    /// Polygon, seen by one provider of each operator.
    fn pool(providers: &[(&str, SimTransport)]) -> ProviderPool {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let providers = providers.iter().map(|(name, transport)| {
            Provider::from_client(*name, *name, RpcClient::new(transport.clone(), true))
        });
        let chain = ChainSpec::by_network("polygon").expect("in the catalogue");
        ProviderPool::new(chain, providers.collect(), clock, PoolLimits::default())
            .expect("names of their own")
    }

    fn details(pool: &ProviderPool) -> Vec<String> {
        of_providers(pool).into_iter().map(|concern| concern.detail).collect()
    }

    #[tokio::test]
    async fn each_faulty_provider_is_named_with_its_faults() {
        let node = SimNode::new(SimConfig::default());
        let other_chain = SimNode::new(SimConfig { chain_id: 80_002, ..SimConfig::default() });
        let slow_down = |_: &str, _: &_| Fault::RateLimited;
        let pool = pool(&[
            ("good", SimTransport::new(node.clone())),
            ("amoy", SimTransport::new(other_chain)),
            ("busy", SimTransport::new(node).with_faults(slow_down)),
        ]);
        assert_eq!(details(&pool), [""; 0]);
        pool.check_health().await;
        let [amoy, busy] = &details(&pool)[..] else { panic!("{:?}", details(&pool)) };
        assert!(amoy.contains("network polygon: provider amoy, breaker closed: wrong_chain since"));
        assert!(amoy.contains("is on chain 80002, not on chain 137"), "{amoy}");
        assert_eq!(
            busy,
            "network polygon: provider busy, breaker closed: rate_limited since 1970-01-01T00:00:00.000Z"
        );
        for _ in 0..2 {
            pool.check_health().await;
        }
        let [_, busy, quorum] = &details(&pool)[..] else { panic!("{:?}", details(&pool)) };
        assert!(busy.contains("provider busy, breaker open: rate_limited"), "{busy}");
        assert!(quorum.contains("1 independent operators are healthy and 2 have to"), "{quorum}");
    }
}

//! Metrics: recorded by every crate through `metrics`, rendered for Prometheus by the API's `/metrics`.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::failure::Failure;

/// From a millisecond, the cost of one commit, to ten minutes, the age of a stuck payment.
const SECONDS: [f64; 18] = [
    0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the recorder. It listens nowhere itself.
pub(crate) fn install() -> Result<PrometheusHandle, Failure> {
    let failed = |error| {
        Failure::failed("cannot install the metrics recorder", &error as &dyn std::error::Error)
    };
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .map_err(failed)?
        .install_recorder()
        .map_err(failed)?;
    portcullis_evm::describe_metrics();
    crate::clock::describe_metrics();
    Ok(handle)
}

/// Folds recorded samples into their histograms from time to time: without it they pile up while
/// nobody asks for `/metrics`.
pub(crate) async fn keep_up(handle: PrometheusHandle) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}

//! What the server counts of itself, as its `/metrics` tells it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::client::{ApiClient, ApiRequest};

const RPC_REQUESTS: &str = "portcullis_rpc_requests_total";
const STATEMENTS: &str = "portcullis_store_statements_total";

/// One reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(String);

impl Metrics {
    /// Reads them.
    ///
    /// # Errors
    /// The server does not answer, or not with metrics.
    pub(super) async fn read(api: &ApiClient) -> Result<Self> {
        let (status, body) = api.send_unread(&ApiRequest::get("/metrics")).await?;
        ensure!(status.is_success(), "/metrics answered {status}");
        Ok(Self(String::from_utf8(body)?))
    }

    /// Sums of a counter by one of its labels.
    fn sums(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        let marker = format!("{label}=\"");
        for line in self.0.lines().filter_map(|line| line.strip_prefix(name)) {
            let Some((labels, value)) = line.rsplit_once(' ') else { continue };
            let Some((_, rest)) = labels.split_once(&marker) else { continue };
            let (Some((key, _)), Ok(value)) = (rest.split_once('"'), value.parse::<f64>()) else {
                continue;
            };
            *sums.entry(key.to_owned()).or_default() += value;
        }
        sums
    }

    /// A counter without labels.
    fn total(&self, name: &str) -> f64 {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.filter_map(|value| value.trim().parse::<f64>().ok()).sum()
    }

    /// Statements of SQL, BEGIN and COMMIT among them.
    pub(super) fn statements(&self) -> f64 {
        self.total(STATEMENTS)
    }

    /// Requests to the node by method.
    pub(super) fn rpc_by_method(&self) -> BTreeMap<String, f64> {
        self.sums(RPC_REQUESTS, "method")
    }

    /// All requests to the node.
    pub(super) fn rpc_requests(&self) -> f64 {
        self.rpc_by_method().values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_by_its_label() {
        let metrics = Metrics(
            "# TYPE portcullis_rpc_requests_total counter\n\
             portcullis_rpc_requests_total{network=\"a\",method=\"eth_call\"} 3\n\
             portcullis_rpc_requests_total{method=\"eth_call\",network=\"b\"} 4\n\
             portcullis_rpc_requests_total{method=\"eth_getLogs\"} 1\n\
             portcullis_store_statements_total 42\n\
             portcullis_other{method=\"eth_call\"} 9\n"
                .to_owned(),
        );
        let sums = metrics.rpc_by_method();
        assert_eq!((sums["eth_call"].to_string(), sums.len()), ("7".to_owned(), 2));
        assert_eq!(metrics.rpc_requests().to_string(), "8");
        assert_eq!(metrics.statements().to_string(), "42");
    }
}

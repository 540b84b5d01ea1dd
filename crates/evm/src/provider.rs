//! A provider: one place to ask, by whichever transport.

use std::fmt;
use std::time::Duration;

use alloy_rpc_client::RpcClient;
use secrecy::SecretString;

use crate::transport::{EndpointError, HttpTransport};

/// Where an HTTP provider is.
#[derive(Clone, Debug)]
pub struct HttpEndpoint {
    /// The name in the configuration, in metrics and in logs. Unique within a chain.
    pub name: String,
    /// Who runs it. Two providers of one operator are not independent of each other.
    pub operator: String,
    /// The URL. A secret: it may hold an API key.
    pub url: SecretString,
    /// How long one exchange may take.
    pub timeout_ms: u64,
}

/// One provider of a chain. What it is asked, and how it fares, is its [`crate::Upstream`]'s part.
#[derive(Clone)]
pub struct Provider {
    name: String,
    operator: String,
    client: RpcClient,
    timeout: Option<Duration>,
    requests_per_second: Option<u32>,
    batch_items_max: Option<usize>,
}

impl Provider {
    /// Over HTTP. Nothing is sent yet.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn http(endpoint: HttpEndpoint) -> Result<Self, EndpointError> {
        let transport = HttpTransport::new(&endpoint.name, endpoint.url)?;
        let provider =
            Self::from_client(endpoint.name, endpoint.operator, RpcClient::new(transport, false));
        Ok(provider.with_timeout_ms(endpoint.timeout_ms))
    }

    /// Over any transport of alloy, without a time limit of its own.
    #[must_use]
    pub fn from_client(
        name: impl Into<String>,
        operator: impl Into<String>,
        client: RpcClient,
    ) -> Self {
        Self {
            name: name.into(),
            operator: operator.into(),
            client,
            timeout: None,
            requests_per_second: None,
            batch_items_max: None,
        }
    }

    /// Limits each exchange. Needs a runtime with a timer.
    #[must_use]
    pub fn with_timeout_ms(self, timeout_ms: u64) -> Self {
        Self { timeout: Some(Duration::from_millis(timeout_ms)), ..self }
    }

    /// Limits the requests that are sent to it, each item of a batch counted. At least 1. Who finds no room waits
    /// a bounded time: needs a runtime with a timer.
    #[must_use]
    pub fn with_requests_per_second(self, requests_per_second: u32) -> Self {
        Self { requests_per_second: Some(requests_per_second.max(1)), ..self }
    }

    /// Limits the requests in one JSON-RPC batch to it, below what the pool allows.
    #[must_use]
    pub fn with_batch_items_max(self, batch_items_max: usize) -> Self {
        Self { batch_items_max: Some(batch_items_max.max(1)), ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who runs it.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    pub(crate) const fn client(&self) -> &RpcClient {
        &self.client
    }

    pub(crate) const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) const fn requests_per_second(&self) -> Option<u32> {
        self.requests_per_second
    }

    pub(crate) const fn batch_items_max(&self) -> Option<usize> {
        self.batch_items_max
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Provider")
            .field("name", &self.name)
            .field("operator", &self.operator)
            .field("timeout", &self.timeout)
            .field("requests_per_second", &self.requests_per_second)
            .field("batch_items_max", &self.batch_items_max)
            .finish_non_exhaustive()
    }
}

//! JSON-RPC over HTTP. Our own, because an RPC URL is a secret (it carries the API key): alloy's transport
//! writes it into debug spans and reqwest into its errors. Here it appears nowhere.

use std::task;

use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use reqwest::header::RETRY_AFTER;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tower::Service;

use crate::failure::shorten;

/// The largest answer that is read, in bytes. A full block of Polygon is far below it.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The shortest part of a URL that is taken for a key and cut out of a node's words.
const SECRET_CHARS_MIN: usize = 8;

/// Why an HTTP endpoint cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// The URL is none, or not an HTTP one. It is not shown: it may hold a key.
    #[error(
        "provider {provider:?} has a URL that is not http(s)://host…: correct it in the configuration"
    )]
    InvalidUrl {
        /// The provider.
        provider: String,
    },
    /// The HTTP client cannot be built.
    #[error("provider {provider:?}: cannot set up HTTP: {reason}")]
    Client {
        /// The provider.
        provider: String,
        /// Why.
        reason: String,
    },
}

/// What went wrong below JSON-RPC, without the URL.
#[derive(Debug, Error)]
pub(crate) enum HttpFailure {
    #[error("gave no answer in time")]
    Timeout,
    #[error("{0}")]
    Connection(String),
    #[error("answered with more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
}

/// One HTTP endpoint.
#[derive(Clone)]
pub(crate) struct HttpTransport {
    client: reqwest::Client,
    url: SecretString,
}

impl HttpTransport {
    pub(crate) fn new(provider: &str, url: SecretString) -> Result<Self, EndpointError> {
        let invalid = || EndpointError::InvalidUrl { provider: provider.to_owned() };
        let parsed = reqwest::Url::parse(url.expose_secret()).map_err(|_| invalid())?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(invalid());
        }
        // No redirects: they would carry signed transactions, and the key, to another host.
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        if alloy_transport::utils::guess_local_url(parsed.as_str()) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| EndpointError::Client {
            provider: provider.to_owned(),
            reason: describe(error),
        })?;
        Ok(Self { client, url })
    }

    async fn exchange(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let request = self.client.post(self.url.expose_secret()).json(&packet);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(std::time::Duration::from_secs);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
                return Err(TransportErrorKind::custom(HttpFailure::TooLarge));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let words = redact(&shorten(&String::from_utf8_lossy(&body)), self.url.expose_secret());
            let status = status.as_u16();
            return Err(TransportErrorKind::http_error_with_retry_after(
                status,
                words,
                retry_after,
            ));
        }
        serde_json::from_slice(&body)
            .map_err(|error| TransportError::deser_err(error, String::from_utf8_lossy(&body)))
    }
}

impl Service<RequestPacket> for HttpTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(
        &mut self,
        _context: &mut task::Context<'_>,
    ) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(packet))
    }
}

fn failed(error: reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportErrorKind::custom(HttpFailure::Timeout);
    }
    TransportErrorKind::custom(HttpFailure::Connection(describe(error)))
}

/// The error with its causes, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    shorten(&text)
}

/// Cuts the parts of `url` that may be keys out of a node's words: some nodes echo a wrong key.
fn redact(words: &str, url: &str) -> String {
    let parts = url.split(['/', '?', '&', '=', '@', ':']).skip(1);
    parts
        .filter(|part| part.len() >= SECRET_CHARS_MIN)
        .fold(words.to_owned(), |words, part| words.replace(part, "[redacted]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_cut_out_of_what_a_node_says() {
        let url = "https://rpc.example.org/v2/0123456789abcdef?token=topsecretvalue";
        let words = redact("key 0123456789abcdef (topsecretvalue) is unknown", url);
        assert_eq!(words, "key [redacted] ([redacted]) is unknown");
    }

    #[test]
    fn only_http_urls_are_endpoints_and_the_error_does_not_show_them() {
        for url in ["", "rpc.example.org", "ftp://example.org/secretsecret", "http://"] {
            let error = HttpTransport::new("main", SecretString::from(url)).err().expect("refused");
            assert_eq!(error, EndpointError::InvalidUrl { provider: "main".to_owned() });
            assert!(!error.to_string().contains("secretsecret"));
        }
    }
}

//! A client of the HTTP API, as a customer would write one: it repeats what was not answered, with
//! the same external id, and believes nothing but answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::installation::NETWORK;

/// Longer than the server itself waits for its database.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How long a request is repeated: a server that was killed is back much earlier.
const REPEAT_LIMIT: Duration = Duration::from_mins(1);
const REPEAT_PAUSE: Duration = Duration::from_millis(100);
/// The most items of one page.
const PAGE_ITEMS: usize = 100;

/// A client with an API key. Cheap to clone; connections are kept and shared.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Arc<str>,
    secret: Arc<str>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    headers: HeaderMap,
    secret: Option<String>,
}

impl ApiRequest {
    /// A GET of `path`, which begins with a slash.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        let headers = HeaderMap::new();
        Self { method: Method::GET, path: path.into(), body: None, headers, secret: None }
    }

    /// A POST of a JSON body.
    #[must_use]
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::post_bytes(path, body.to_string().into_bytes())
    }

    /// A POST of any bytes as if they were JSON.
    #[must_use]
    pub fn post_bytes(path: impl Into<String>, body: Vec<u8>) -> Self {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        Self { method: Method::POST, path: path.into(), body: Some(body), headers, secret: None }
    }

    /// With another header, or another value of one.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With another key than the client's; the empty one sends none.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }
}

/// What the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Reads what [`ApiClient::send_unread`] gave.
    #[must_use]
    pub fn read((status, body): (StatusCode, Vec<u8>)) -> Self {
        Self { status, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// `error.code`, where it is an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.body["error"]["code"].as_str()
    }

    /// Whether the very same request may be answered otherwise later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.body["error"]["retryable"].as_bool().unwrap_or(false)
    }

    /// Fails unless the status tells of success.
    ///
    /// # Errors
    /// The server's own words.
    pub fn expect_success(self, what: &str) -> Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        bail!("{what} was refused with {}", self.complaint())
    }

    /// Status, code and message of an error.
    fn complaint(&self) -> String {
        let error = &self.body["error"];
        format!(
            "{} {}: {}",
            self.status.as_u16(),
            error["code"].as_str().unwrap_or("without a code"),
            error["message"].as_str().unwrap_or("without a message")
        )
    }
}

/// An answer, and what it took to get it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// When the first request of it was sent.
    pub sent_at: Instant,
    /// From the sending of the request that was answered to the last byte of the answer.
    pub latency: Duration,
    /// Why the request had to be sent again, for each time.
    pub repeats: Vec<String>,
}

/// A withdrawal, as far as the commands look at it.
#[derive(Clone, Debug, Deserialize)]
pub struct Withdrawal {
    /// Its id.
    pub id: String,
    /// The client's id.
    pub external_id: String,
    /// Its state.
    pub status: String,
    /// Why it is held, rejected or failed.
    pub reason: Option<String>,
    /// The transactions that were signed for it.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// A transaction of a withdrawal.
#[derive(Clone, Debug, Deserialize)]
pub struct Attempt {
    /// The transaction's hash.
    pub hash: String,
    /// The hot wallet's nonce.
    pub nonce: u64,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Withdrawal>,
    next_cursor: Option<String>,
}

impl ApiClient {
    /// A client of the server that listens at `address`. Proxies of the environment are not used.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(address: SocketAddr, secret: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .tcp_nodelay(true)
            .build()
            .context("cannot set up an HTTP client")?;
        Ok(Self { http, base: format!("http://{address}").into(), secret: secret.into() })
    }

    /// The address of the server, such as `http://127.0.0.1:3000`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn send(&self, request: &ApiRequest) -> Result<Answer, reqwest::Error> {
        Ok(Answer::read(self.send_unread(request).await?))
    }

    /// Sends a request once, and leaves the answer as it came: for a load that must not cost much itself.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn send_unread(
        &self,
        request: &ApiRequest,
    ) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let url = format!("{}{}", self.base, request.path);
        let mut builder =
            self.http.request(request.method.clone(), url).headers(request.headers.clone());
        let secret = request.secret.as_deref().unwrap_or(&self.secret);
        if !secret.is_empty() {
            builder = builder.header(AUTHORIZATION, format!("Bearer {secret}"));
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = builder.send().await?;
        let status = response.status();
        Ok((status, response.bytes().await?.into()))
    }

    /// Sends a request again and again until it is answered, and not with an answer that says
    /// itself that it is for now. Only for requests that are safe to repeat: that is what external
    /// ids are for.
    ///
    /// # Errors
    /// It was not answered within a minute.
    pub async fn send_until_answered(&self, request: &ApiRequest) -> Result<Answered> {
        let begun = Instant::now();
        let mut repeats = Vec::new();
        loop {
            let sent = Instant::now();
            let outcome = self.send(request).await;
            let latency = sent.elapsed();
            let said = match outcome {
                Ok(answer) if !answer.is_retryable() => {
                    return Ok(Answered { answer, sent_at: begun, latency, repeats });
                }
                Ok(answer) => answer.complaint(),
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
            };
            if begun.elapsed() > REPEAT_LIMIT {
                bail!("{} {} was not answered: {said}", request.method, request.path);
            }
            repeats.push(said);
            sleep(REPEAT_PAUSE).await;
        }
    }

    /// Credits an account; the same id again changes nothing.
    ///
    /// # Errors
    /// It is refused, or not answered.
    pub async fn deposit(
        &self,
        account: &str,
        external_id: &str,
        asset: &str,
        amount: &str,
    ) -> Result<()> {
        let body = json!({
            "external_id": external_id, "network": NETWORK, "asset": asset, "amount": amount,
        });
        let request = ApiRequest::post(format!("/v1/accounts/{account}/deposits"), &body);
        let answered = self.send_until_answered(&request).await?;
        let what = format!("a deposit of {amount} {asset} for {account}");
        answered.answer.expect_success(&what)?;
        Ok(())
    }

    /// Reads a withdrawal.
    ///
    /// # Errors
    /// It is not there, or not answered.
    pub async fn withdrawal(&self, id: &str) -> Result<Withdrawal> {
        let request = ApiRequest::get(format!("/v1/withdrawals/{id}"));
        let body = self.send_until_answered(&request).await?.answer;
        let body = body.expect_success(&format!("a look at {id}"))?;
        serde_json::from_value(body).context("a withdrawal has an unexpected shape")
    }

    /// Reads every withdrawal in a state, page by page.
    ///
    /// # Errors
    /// As [`ApiClient::withdrawal`].
    pub async fn withdrawals_in(&self, status: &str) -> Result<Vec<Withdrawal>> {
        let mut all = Vec::new();
        let first = format!("/v1/withdrawals?status={status}&limit={PAGE_ITEMS}");
        let mut path = first.clone();
        loop {
            let answer = self.send_until_answered(&ApiRequest::get(path)).await?.answer;
            let body = answer.expect_success("the list of withdrawals")?;
            let page: Page =
                serde_json::from_value(body).context("a page has an unexpected shape")?;
            all.extend(page.data);
            match page.next_cursor {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => return Ok(all),
            }
        }
    }
}

//! Requests and answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Long enough for a block full of receipts on a busy machine.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Requests in one HTTP body; a longer batch is sent in parts.
const BATCH_SIZE: usize = 250;

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Rpc {
    client: reqwest::Client,
    url: Arc<str>,
}

/// One request: the method and its parameters, a JSON array.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    params: Value,
}

impl Request {
    /// A request of `method` with `params`.
    #[must_use]
    pub const fn new(method: &'static str, params: Value) -> Self {
        Self { method, params }
    }

    fn body(&self, id: usize) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "method": self.method, "params": self.params })
    }
}

/// The node understood and refused: found in an error by `error.downcast_ref::<RpcError>()`.
#[derive(Clone, Debug, Deserialize)]
pub struct RpcError {
    /// The JSON-RPC code.
    pub code: i64,
    /// The node's words.
    pub message: String,
    /// What it adds, such as the data of a revert.
    pub data: Option<Value>,
}

impl fmt::Display for RpcError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the node refused: {} (code {})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}

/// `result` may well be null, so presence and value are told apart.
#[derive(Deserialize)]
struct Answer {
    id: Option<usize>,
    #[serde(default)]
    result: Value,
    error: Option<RpcError>,
}

impl Answer {
    fn read<T: DeserializeOwned>(self, method: &str) -> Result<T> {
        if let Some(error) = self.error {
            return Err(anyhow::Error::new(error).context(format!("{method} failed")));
        }
        T::deserialize(self.result).with_context(|| format!("{method} gave an unexpected answer"))
    }
}

impl Rpc {
    /// A client for the node at `url`. Proxies of the environment are not used.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(REQUEST_LIMIT)
            .build()
            .context("cannot set up an HTTP client")?;
        Ok(Self { client, url: url.into() })
    }

    /// Where the node is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks one thing; `params` is a JSON array.
    ///
    /// # Errors
    /// The node cannot be reached, refuses ([`RpcError`]), or answers with another shape.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T> {
        let answer: Answer = self.post(&Request::new(method, params).body(0)).await?;
        answer.read(method)
    }

    /// Asks many things in few HTTP requests; the answers come in the order of the questions.
    ///
    /// # Errors
    /// As [`Rpc::call`], for the first question that failed; or an answer is missing.
    pub async fn batch<T: DeserializeOwned>(&self, requests: &[Request]) -> Result<Vec<T>> {
        let mut results = Vec::with_capacity(requests.len());
        for part in requests.chunks(BATCH_SIZE) {
            let bodies: Vec<Value> =
                part.iter().enumerate().map(|(id, request)| request.body(id)).collect();
            let answers: Vec<Answer> = self.post(&bodies.into()).await?;
            for (request, answer) in part.iter().zip(in_order(answers, part.len())?) {
                results.push(answer.read(request.method)?);
            }
        }
        Ok(results)
    }

    async fn post<T: DeserializeOwned>(&self, body: &Value) -> Result<T> {
        let unreachable = || format!("the node at {} does not answer", self.url);
        let response = self
            .client
            .post(&*self.url)
            .json(body)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .with_context(unreachable)?;
        let bytes = response.bytes().await.with_context(unreachable)?;
        serde_json::from_slice(&bytes).with_context(|| {
            let start: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            format!("{} answered with something that is not JSON-RPC: {start}", self.url)
        })
    }
}

/// Sorts the answers of one batch by the ids of its requests, which are `0..count`.
fn in_order(answers: Vec<Answer>, count: usize) -> Result<Vec<Answer>> {
    let mut slots: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
    for answer in answers {
        let slot = answer.id.and_then(|id| slots.get_mut(id));
        let slot = slot.context("the node answered a question that was not in the batch")?;
        ensure!(slot.is_none(), "the node answered one question of a batch twice");
        *slot = Some(answer);
    }
    let answers: Option<Vec<Answer>> = slots.into_iter().collect();
    answers.context("the node left a question of a batch unanswered")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Vec<Answer> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn answers_are_put_in_the_order_of_the_questions() {
        let sorted =
            in_order(answers(r#"[{"id":1,"result":"b"},{"id":0,"result":"a"}]"#), 2).unwrap();
        let texts: Vec<String> =
            sorted.into_iter().map(|answer| answer.read("method").unwrap()).collect();
        assert_eq!(texts, ["a", "b"]);
    }

    #[test]
    fn a_missing_a_double_and_a_foreign_answer_are_errors() {
        for text in [
            r#"[{"id":0,"result":1}]"#,
            r#"[{"id":0,"result":1},{"id":0,"result":1}]"#,
            r#"[{"id":0,"result":1},{"id":2,"result":1}]"#,
            r#"[{"id":0,"result":1},{"id":null,"error":{"code":-32600,"message":"no"}}]"#,
        ] {
            assert!(in_order(answers(text), 2).is_err(), "{text}");
        }
    }

    #[test]
    fn null_is_an_answer_and_a_refusal_is_not() {
        let mut both = answers(
            r#"[{"id":0,"result":null},{"id":1,"error":{"code":-32000,"message":"nonce too low"}}]"#,
        );
        let refusal = both.remove(1).read::<Value>("eth_sendRawTransaction").unwrap_err();
        let refusal = refusal.downcast_ref::<RpcError>().unwrap();
        assert_eq!((refusal.code, refusal.message.as_str()), (-32_000, "nonce too low"));
        let receipt: Option<String> = both.remove(0).read("eth_getTransactionReceipt").unwrap();
        assert_eq!(receipt, None);
    }
}

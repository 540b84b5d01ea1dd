//! One round trip: requests out, an answer or a failure for each of them back.

use std::collections::HashMap;
use std::time::Duration;

use alloy_json_rpc::{
    Id, RequestPacket, Response, ResponsePacket, ResponsePayload, RpcError, SerializedRequest,
};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind};
use serde_json::Value;
use serde_json::value::RawValue;
use tower::{Service, ServiceExt};

use crate::failure::{RpcFailure, shorten};
use crate::transport::HttpFailure;

/// What came back for one request.
pub(crate) type Answer = Result<Box<RawValue>, RpcFailure>;

/// What is asked in one go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Questions<'a> {
    /// One method, with each of these parameter lists.
    Of(&'static str, &'a [Value]),
    /// Several methods, each with its parameter list.
    Mixed(&'a [(&'static str, Value)]),
}

impl Questions<'_> {
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Of(_, params) => params.len(),
            Self::Mixed(asked) => asked.len(),
        }
    }

    /// The method of one of them.
    pub(crate) fn method(self, index: usize) -> &'static str {
        match self {
            Self::Of(method, _) => method,
            Self::Mixed(asked) => asked[index].0,
        }
    }

    fn params(&self, index: usize) -> &Value {
        match self {
            Self::Of(_, params) => &params[index],
            Self::Mixed(asked) => &asked[index].1,
        }
    }

    /// What the round trip is called where it has one name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Of(method, _) => method,
            Self::Mixed(_) => "batch",
        }
    }

    /// Some of them, to be asked again.
    pub(crate) fn again(&self, indexes: &[usize]) -> Vec<(&'static str, Value)> {
        indexes.iter().map(|index| (self.method(*index), self.params(*index).clone())).collect()
    }
}

impl<'a> Questions<'a> {
    /// The same in pieces of at most `most`.
    pub(crate) fn chunks(self, most: usize) -> Vec<Questions<'a>> {
        match self {
            Self::Of(method, params) => {
                params.chunks(most).map(|chunk| Questions::Of(method, chunk)).collect()
            }
            Self::Mixed(asked) => asked.chunks(most).map(Questions::Mixed).collect(),
        }
    }
}

/// Sends questions in one packet, and returns their answers in order. Answers are matched by id. What is not answered
/// is [`RpcFailure::Missing`], never a null.
pub(crate) async fn exchange(
    client: &RpcClient,
    timeout: Option<Duration>,
    questions: Questions<'_>,
) -> Vec<Answer> {
    let mut requests = Vec::with_capacity(questions.len());
    for index in 0..questions.len() {
        let (method, params) = (questions.method(index), questions.params(index).clone());
        match client.make_request(method, params).serialize() {
            Ok(request) => requests.push(request),
            Err(error) => {
                let failure =
                    RpcFailure::Malformed(format!("the request cannot be written: {error}"));
                return vec![Err(failure); questions.len()];
            }
        }
    }
    let ids: Vec<Id> = requests.iter().map(|request| request.id().clone()).collect();
    let answer = send(client, timeout, into_packet(requests)).await;
    match answer {
        Ok(packet) => match_answers(&ids, packet),
        Err(failure) => vec![Err(failure); ids.len()],
    }
}

fn into_packet(mut requests: Vec<SerializedRequest>) -> RequestPacket {
    match requests.pop() {
        Some(only) if requests.is_empty() => RequestPacket::Single(only),
        last => {
            requests.extend(last);
            RequestPacket::Batch(requests)
        }
    }
}

async fn send(
    client: &RpcClient,
    timeout: Option<Duration>,
    packet: RequestPacket,
) -> Result<ResponsePacket, RpcFailure> {
    let is_batch = packet.as_batch().is_some();
    let mut transport = client.transport().clone();
    let round_trip = async move { transport.ready().await?.call(packet).await };
    let answer = match timeout {
        None => round_trip.await,
        Some(limit) => match tokio::time::timeout(limit, round_trip).await {
            Ok(answer) => answer,
            Err(_elapsed) => return Err(RpcFailure::Timeout),
        },
    };
    answer.map_err(|error| failure_of(&error, is_batch))
}

fn match_answers(ids: &[Id], packet: ResponsePacket) -> Vec<Answer> {
    let responses = match packet {
        ResponsePacket::Batch(responses) => responses,
        ResponsePacket::Single(response) => {
            if let Some(refusal) = refusal_of_packet(ids, &response) {
                return vec![Err(refusal); ids.len()];
            }
            vec![response]
        }
    };
    let mut by_id: HashMap<Id, ResponsePayload> = HashMap::with_capacity(responses.len());
    for response in responses {
        by_id.entry(response.id).or_insert(response.payload);
    }
    ids.iter()
        .map(|id| match by_id.remove(id) {
            None => Err(RpcFailure::Missing),
            Some(ResponsePayload::Success(raw)) => Ok(raw),
            Some(ResponsePayload::Failure(error)) => Err(RpcFailure::from_payload(&error)),
        })
        .collect()
}

/// One error object for a whole packet, usually with a null id: "batch too large", a rate limit, a bad key.
fn refusal_of_packet(ids: &[Id], response: &Response) -> Option<RpcFailure> {
    let ResponsePayload::Failure(error) = &response.payload else { return None };
    Some(match ids {
        [_only] => RpcFailure::from_payload(error),
        _ => RpcFailure::of_whole_batch(error),
    })
}

fn failure_of(error: &TransportError, is_batch: bool) -> RpcFailure {
    match error {
        RpcError::ErrorResp(payload) if is_batch => RpcFailure::of_whole_batch(payload),
        RpcError::ErrorResp(payload) => RpcFailure::from_payload(payload),
        RpcError::DeserError { err, text } => {
            RpcFailure::Malformed(format!("{err} in {}", shorten(text)))
        }
        RpcError::Transport(kind) => failure_of_kind(kind),
        other => RpcFailure::Malformed(shorten(&other.to_string())),
    }
}

fn failure_of_kind(kind: &TransportErrorKind) -> RpcFailure {
    if let Some(http) = kind.as_http_error() {
        return match http.status {
            429 => RpcFailure::RateLimited {
                retry_after_ms: kind
                    .retry_after()
                    .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            },
            408 | 504 => RpcFailure::Timeout,
            status => RpcFailure::Http { status, body: shorten(&http.body) },
        };
    }
    if let Some(custom) = kind.as_custom() {
        return match custom.downcast_ref::<HttpFailure>() {
            Some(HttpFailure::Timeout) => RpcFailure::Timeout,
            Some(HttpFailure::TooLarge) => RpcFailure::Malformed(custom.to_string()),
            _ => of_words(&custom.to_string()),
        };
    }
    match kind {
        TransportErrorKind::MissingBatchResponse(_) => RpcFailure::Missing,
        other => of_words(&other.to_string()),
    }
}

fn of_words(words: &str) -> RpcFailure {
    let lower = words.to_ascii_lowercase();
    if lower.contains("timed out") || lower.contains("timeout") {
        return RpcFailure::Timeout;
    }
    RpcFailure::Transport(shorten(words))
}

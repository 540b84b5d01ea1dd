//! SQS, as far as doorbells need it.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{Credentials, Region};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use portcullis_core::causes::with_causes;
use portcullis_core::time::Timestamp;
use portcullis_store::dead_letter::DeadLetterQueue;
use thiserror::Error;

use super::queue::{MAX_RECEIVES, Queue, RETENTION_SECONDS};

/// The most that SQS takes or gives in one request.
const BATCH_MAX: usize = 10;
/// The longest that SQS lets a receive wait.
pub(crate) const LONG_POLL_SECONDS: u32 = 20;
/// How long one request may take, above what a receive waits for.
const REQUEST_MOST: Duration = Duration::from_secs(10);

/// Where the queues are.
#[derive(Clone, Debug)]
pub struct SqsOptions {
    /// The region.
    pub region: String,
    /// Another endpoint than the region's.
    pub endpoint: Option<String>,
    /// Whether it is an emulator, which takes any credentials; else they come from the environment, as AWS's own tools
    /// find them.
    pub is_emulated: bool,
    /// What the names of this deployment's queues begin with.
    pub prefix: String,
}

/// SQS did not do what it was asked. Never a reason to stop: doorbells may be lost.
#[derive(Debug, Error)]
pub enum SqsError {
    /// There is no such queue.
    #[error("the queue {0} does not exist: `portcullis queues init` makes it")]
    Missing(String),
    /// Anything else.
    #[error("{operation} {queue}: {detail}")]
    Failed {
        /// What was asked.
        operation: &'static str,
        /// Of which queue.
        queue: String,
        /// What SQS, or the way to it, says.
        detail: String,
    },
}

/// A message that was received and is out of sight of others.
#[derive(Clone, Debug)]
pub struct Received {
    /// What it is deleted or prolonged by. It may expire.
    pub handle: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Its text.
    pub body: String,
}

/// How many messages a queue holds, by SQS's own approximation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCount {
    /// Waiting to be received.
    pub visible: u64,
    /// Received, and neither deleted nor back.
    pub in_flight: u64,
}

impl QueueCount {
    /// Both together: what a scaler should read.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.visible.saturating_add(self.in_flight)
    }
}

/// The queues of a deployment.
pub struct SqsQueues {
    client: Client,
    prefix: String,
    urls: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for SqsQueues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SqsQueues({:?})", self.prefix)
    }
}

impl SqsQueues {
    /// Prepares a client. Nothing is asked yet: an SQS that is down stops no start.
    pub async fn new(options: SqsOptions) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(
                REQUEST_MOST.saturating_add(Duration::from_secs(LONG_POLL_SECONDS.into())),
            )
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(options.region))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(2));
        if let Some(endpoint) = options.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if options.is_emulated {
            let credentials = Credentials::new("test", "test", None, None, "emulator");
            loader = loader.credentials_provider(credentials);
        }
        let client = Client::new(&loader.load().await);
        Self { client, prefix: options.prefix, urls: Mutex::default() }
    }

    /// The full name of a queue of doorbells.
    #[must_use]
    pub fn name(&self, queue: Queue) -> String {
        format!("{}{}", self.prefix, queue.as_str())
    }

    /// The full name of a queue of dead letters.
    #[must_use]
    pub fn dead_letter_name(&self, queue: DeadLetterQueue) -> String {
        format!("{}{}", self.prefix, queue.as_str())
    }

    /// Makes every queue that is missing, and brings the attributes of the others up to date. Returns their names.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn create_all(&self) -> Result<Vec<String>, SqsError> {
        let mut names = Vec::new();
        let mut homes = BTreeMap::new();
        for letters in DeadLetterQueue::ALL {
            let name = self.dead_letter_name(letters);
            let kept = (QueueAttributeName::MessageRetentionPeriod, RETENTION_SECONDS.to_string());
            let url = self.create(&name, HashMap::from([kept])).await?;
            homes.insert(letters, self.arn(&name, &url).await?);
            names.push(name);
        }
        for queue in Queue::ALL {
            let name = self.name(queue);
            let home = homes.get(&queue.dead_letters()).map(String::as_str).unwrap_or_default();
            self.create(&name, attributes_of(queue, home)).await?;
            names.push(name);
        }
        Ok(names)
    }

    async fn create(
        &self,
        name: &str,
        attributes: HashMap<QueueAttributeName, String>,
    ) -> Result<String, SqsError> {
        let failed = |error| self.failed("create", name, error);
        // One that exists with other attributes is no error here: it is set below.
        let made = self.client.create_queue().queue_name(name).send().await;
        let made = made.map_err(|error| failed(described(&error)))?;
        let url = made.queue_url().unwrap_or_default().to_owned();
        self.client
            .set_queue_attributes()
            .queue_url(&url)
            .set_attributes(Some(attributes))
            .send()
            .await
            .map_err(|error| failed(described(&error)))?;
        self.urls().insert(name.to_owned(), url.clone());
        Ok(url)
    }

    async fn arn(&self, name: &str, url: &str) -> Result<String, SqsError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|error| self.failed("read", name, described(&error)))?;
        let arn = answer.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        Ok(arn.cloned().unwrap_or_default())
    }

    /// Sends the same text `count` times.
    ///
    /// # Errors
    /// See [`SqsError`]; some may have been sent.
    pub async fn send(&self, name: &str, body: &str, count: u64) -> Result<(), SqsError> {
        let url = self.url(name).await?;
        let failed = |detail| self.failed("send to", name, detail);
        let mut left = count;
        while left > 0 {
            let entries = left.min(BATCH_MAX as u64);
            let mut batch = self.client.send_message_batch().queue_url(&url);
            for index in 0..entries {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .message_body(body)
                    .build()
                    .map_err(|error| failed((None, error.to_string())))?;
                batch = batch.entries(entry);
            }
            let answer = batch.send().await.map_err(|error| failed(described(&error)))?;
            if let Some(refused) = answer.failed().first() {
                return Err(failed((None, refused.message().unwrap_or("refused").to_owned())));
            }
            left = left.saturating_sub(entries);
        }
        Ok(())
    }

    /// Receives up to ten, waiting for the first of them.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn receive(
        &self,
        name: &str,
        count_max: usize,
        wait_seconds: u32,
    ) -> Result<Vec<Received>, SqsError> {
        let url = self.url(name).await?;
        let count_max = i32::try_from(count_max.clamp(1, BATCH_MAX)).unwrap_or(1);
        let answer = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(count_max)
            .wait_time_seconds(i32::try_from(wait_seconds.min(LONG_POLL_SECONDS)).unwrap_or(0))
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| self.failed("receive from", name, described(&error)))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(read_message).collect())
    }

    /// Deletes messages. One whose handle has expired, or that is gone already, is no error: it may come once more.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn delete(&self, name: &str, handles: &[String]) -> Result<(), SqsError> {
        let url = self.url(name).await?;
        let failed = |detail| self.failed("delete from", name, detail);
        for handles in handles.chunks(BATCH_MAX) {
            let mut batch = self.client.delete_message_batch().queue_url(&url);
            for (index, handle) in handles.iter().enumerate() {
                let entry = DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(handle)
                    .build()
                    .map_err(|error| failed((None, error.to_string())))?;
                batch = batch.entries(entry);
            }
            let answer = batch.send().await.map_err(|error| failed(described(&error)))?;
            count_lapsed(name, answer.failed().len());
        }
        Ok(())
    }

    /// Sets for how long messages stay out of sight from now on; 0 gives them back. Returns the places, in `handles`, of
    /// those that are not ours any more.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn keep(
        &self,
        name: &str,
        handles: &[String],
        seconds: u32,
    ) -> Result<Vec<usize>, SqsError> {
        let url = self.url(name).await?;
        let failed = |detail| self.failed("keep messages of", name, detail);
        let mut lapsed = Vec::new();
        for (chunk, handles) in handles.chunks(BATCH_MAX).enumerate() {
            let mut batch = self.client.change_message_visibility_batch().queue_url(&url);
            for (index, handle) in handles.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(handle)
                    .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
                    .build()
                    .map_err(|error| failed((None, error.to_string())))?;
                batch = batch.entries(entry);
            }
            let answer = batch.send().await.map_err(|error| failed(described(&error)))?;
            count_lapsed(name, answer.failed().len());
            let places = answer.failed().iter().filter_map(|entry| entry.id().parse().ok());
            let first = chunk.saturating_mul(BATCH_MAX);
            lapsed.extend(places.map(|place: usize| first.saturating_add(place)));
        }
        Ok(lapsed)
    }

    /// How many messages there are.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn count(&self, name: &str) -> Result<QueueCount, SqsError> {
        let url = self.url(name).await?;
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .send()
            .await
            .map_err(|error| self.failed("count", name, described(&error)))?;
        let read = |attribute| {
            let text = answer.attributes().and_then(|all| all.get(&attribute));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Ok(QueueCount {
            visible: read(QueueAttributeName::ApproximateNumberOfMessages),
            in_flight: read(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        })
    }

    async fn url(&self, name: &str) -> Result<String, SqsError> {
        if let Some(url) = self.urls().get(name) {
            return Ok(url.clone());
        }
        let answer = self.client.get_queue_url().queue_name(name).send().await;
        let answer = answer.map_err(|error| self.failed("find", name, described(&error)))?;
        let url = answer.queue_url().unwrap_or_default().to_owned();
        self.urls().insert(name.to_owned(), url.clone());
        Ok(url)
    }

    fn urls(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(
        &self,
        operation: &'static str,
        name: &str,
        (code, detail): (Option<String>, String),
    ) -> SqsError {
        let is_missing = code.is_some_and(|code| {
            code.ends_with("NonExistentQueue") || code.ends_with("QueueDoesNotExist")
        });
        if is_missing {
            // It may be made again, under another URL.
            self.urls().remove(name);
            return SqsError::Missing(name.to_owned());
        }
        SqsError::Failed { operation, queue: name.to_owned(), detail }
    }
}

fn attributes_of(queue: Queue, dead_letter_arn: &str) -> HashMap<QueueAttributeName, String> {
    let redrive = serde_json::json!({
        "deadLetterTargetArn": dead_letter_arn,
        "maxReceiveCount": MAX_RECEIVES.to_string(),
    });
    HashMap::from([
        (QueueAttributeName::MessageRetentionPeriod, RETENTION_SECONDS.to_string()),
        (QueueAttributeName::VisibilityTimeout, queue.visibility_seconds().to_string()),
        (QueueAttributeName::ReceiveMessageWaitTimeSeconds, LONG_POLL_SECONDS.to_string()),
        (QueueAttributeName::RedrivePolicy, redrive.to_string()),
    ])
}

fn read_message(message: aws_sdk_sqs::types::Message) -> Option<Received> {
    let sent = message
        .attributes
        .as_ref()
        .and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp))
        .and_then(|text| text.parse().ok());
    Some(Received {
        handle: message.receipt_handle?,
        sent_at: Timestamp::from_millis(sent.unwrap_or(0)),
        body: message.body.unwrap_or_default(),
    })
}

/// The code of an error, and what it says, in a sentence.
fn described<E, R>(error: &SdkError<E, R>) -> (Option<String>, String)
where
    E: StdError + ProvideErrorMetadata + 'static,
    R: Debug,
{
    let detail = match error {
        SdkError::TimeoutError(_) => "it took too long".to_owned(),
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) => format!("no connection: {}", with_causes(error)),
            None => "no connection".to_owned(),
        },
        SdkError::ResponseError(_) => "its answer cannot be read".to_owned(),
        SdkError::ServiceError(context) => {
            let meta = context.err();
            let code = meta.code().unwrap_or("an error without a code");
            meta.message().map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
        }
        // No credentials, or no region: nothing was asked.
        _ => format!("the request could not be made: {}", with_causes(error)),
    };
    (error.code().map(str::to_owned), detail)
}

fn count_lapsed(name: &str, lapsed: usize) {
    if lapsed > 0 {
        tracing::debug!(queue = name, lapsed, "messages were not ours any more");
        let lapsed = u64::try_from(lapsed).unwrap_or(u64::MAX);
        metrics::counter!("portcullis_doorbell_lapsed_total", "queue" => name.to_owned())
            .increment(lapsed);
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::error::{ConnectorError, ErrorMetadata};

    use super::*;

    #[test]
    fn an_error_of_sqs_is_a_short_sentence() {
        let refused = std::io::Error::from_raw_os_error(111);
        let refused = ConnectorError::io(Box::new(refused));
        let denied = ErrorMetadata::builder().code("AccessDenied").message("not yours").build();
        let rows: [(SdkError<ErrorMetadata, ()>, Option<&str>, &str); 5] = [
            (
                SdkError::dispatch_failure(refused),
                None,
                "no connection: io error: Connection refused (os error 111)",
            ),
            (SdkError::timeout_error("after 30 s"), None, "it took too long"),
            (SdkError::response_error("no JSON", ()), None, "its answer cannot be read"),
            (SdkError::service_error(denied, ()), Some("AccessDenied"), "AccessDenied: not yours"),
            (
                SdkError::construction_failure("no region"),
                None,
                "the request could not be made: failed to construct request: no region",
            ),
        ];
        for (error, code, detail) in rows {
            assert_eq!(described(&error), (code.map(str::to_owned), detail.to_owned()));
        }
    }
}

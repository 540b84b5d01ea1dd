//! The way to AWS: region, credentials, timeouts, and what its errors mean.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use portcullis_core::causes::with_causes;

use super::error::KeyError;

/// How AWS is reached. Credentials come from where AWS's own tools find them: the environment, a profile, a web
/// identity, the container or the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsAccess {
    /// The region; `None` takes the environment's.
    pub region: Option<String>,
    /// Another address than AWS's own.
    pub endpoint: Option<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long all tries of one call may take together.
    pub call_timeout: Duration,
    /// How often a call is tried, the first time included.
    pub tries_max: u32,
}

impl Default for AwsAccess {
    fn default() -> Self {
        Self {
            region: None,
            endpoint: None,
            request_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(10),
            tries_max: 4,
        }
    }
}

impl AwsAccess {
    /// Looks up region and credentials.
    pub async fn load(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(self.retries())
            .timeout_config(self.timeouts());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        loader.load().await
    }

    /// With growing pauses between the tries, as throttled services ask for.
    #[must_use]
    pub fn retries(&self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(self.tries_max.max(1))
    }

    /// Every wait has an end.
    #[must_use]
    pub fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.request_timeout)
            .operation_attempt_timeout(self.request_timeout)
            .operation_timeout(self.call_timeout)
            .build()
    }
}

/// Codes of services that are busy or broken, and may not be in a moment. All others are decisions.
const PASSING_CODES: [&str; 12] = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "InternalFailure",
    "InternalServiceError",
    "KMSInternalException",
    "DependencyTimeoutException",
    "KeyUnavailableException",
];

/// What an error of AWS means for whoever wanted a signature.
pub(super) fn key_error<E, R>(holder: &'static str, error: &SdkError<E, R>) -> KeyError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: Debug,
{
    match error {
        SdkError::TimeoutError(_) => {
            KeyError::Unavailable { holder, reason: "it took too long".to_owned() }
        }
        SdkError::DispatchFailure(failure) => {
            let reason = match failure.as_connector_error() {
                Some(error) => format!("no connection: {}", with_causes(error)),
                None => "no connection".to_owned(),
            };
            KeyError::Unavailable { holder, reason }
        }
        SdkError::ResponseError(_) => {
            KeyError::Unavailable { holder, reason: "its answer cannot be read".to_owned() }
        }
        SdkError::ServiceError(context) => {
            let meta = context.err();
            let code = meta.code().unwrap_or("an error without a code");
            let reason = match meta.message() {
                Some(message) => format!("{code}: {message}"),
                None => code.to_owned(),
            };
            if PASSING_CODES.contains(&code) {
                KeyError::Unavailable { holder, reason }
            } else {
                KeyError::Refused { holder, reason }
            }
        }
        // No credentials, or no region: nothing was asked.
        _ => {
            let reason = format!("the request could not be made: {}", with_causes(error));
            KeyError::Refused { holder, reason }
        }
    }
}

/// Whether AWS says that there is no such thing.
pub(super) fn is_missing<E, R>(error: &SdkError<E, R>) -> bool
where
    E: ProvideErrorMetadata,
{
    let SdkError::ServiceError(context) = error else { return false };
    matches!(context.err().code(), Some("NotFoundException" | "ResourceNotFoundException"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_sdk_kms::error::{ConnectorError, ErrorMetadata};
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("tcp connect error")]
    struct NotConnected(#[source] io::Error);

    fn of(error: &SdkError<ErrorMetadata, ()>) -> KeyError {
        key_error("KMS", error)
    }

    #[test]
    fn an_error_of_aws_is_a_short_sentence() {
        let cause = io::Error::from_raw_os_error(111);
        let refused = ConnectorError::io(Box::new(NotConnected(cause)));
        let refused = of(&SdkError::dispatch_failure(refused));
        let told = "no connection: io error: tcp connect error: Connection refused (os error 111)";
        assert!(refused.is_retryable() && refused.to_string().contains(told), "{refused}");

        let slow = of(&SdkError::timeout_error("after 3 s"));
        assert!(slow.is_retryable() && slow.to_string().contains("it took too long"), "{slow}");

        let denied = ErrorMetadata::builder().code("AccessDenied").message("not yours").build();
        let denied = of(&SdkError::service_error(denied, ()));
        assert!(!denied.is_retryable(), "{denied}");
        assert!(denied.to_string().contains("(AccessDenied: not yours)"), "{denied}");

        let unmade = of(&SdkError::construction_failure("no region")).to_string();
        let told = "the request could not be made: failed to construct request: no region";
        assert!(unmade.contains(told), "{unmade}");
    }
}

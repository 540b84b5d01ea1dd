//! moto: KMS and Secrets Manager as AWS answers them, for tests.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};

use crate::keyring::AwsAccess;

/// A running server. It ends with this.
#[derive(Debug)]
pub(crate) struct Moto {
    pub(crate) port: u16,
    _server: portcullis_testkit::Moto,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let server = portcullis_testkit::Moto::start();
        Self { port: server.port(), _server: server }
    }

    pub(crate) fn access(&self) -> SdkConfig {
        access(self.port, &quick())
    }

    /// A new key pair, by id.
    pub(crate) async fn new_key(&self, spec: KeySpec, usage: KeyUsageType) -> String {
        let kms = Client::new(&self.access());
        let made = kms.create_key().key_spec(spec).key_usage(usage).send().await.expect("made");
        made.key_metadata().expect("it says which").key_id().to_owned()
    }

    pub(crate) async fn new_signing_key(&self) -> String {
        self.new_key(KeySpec::EccSecgP256K1, KeyUsageType::SignVerify).await
    }

    pub(crate) async fn new_wrapping_key(&self) -> String {
        self.new_key(KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await
    }
}

/// Waits that fit a test. Generous where nothing is to fail: moto is slow on a busy machine.
pub(crate) fn quick() -> AwsAccess {
    AwsAccess {
        region: Some("eu-central-1".to_owned()),
        endpoint: None,
        request_timeout: Duration::from_secs(20),
        call_timeout: Duration::from_mins(1),
        tries_max: 2,
    }
}

/// The way to whatever listens at the port.
pub(crate) fn access(port: u16, settings: &AwsAccess) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(settings.tries_max)
                .with_initial_backoff(Duration::from_millis(1)),
        )
        .timeout_config(settings.timeouts())
        .build()
}

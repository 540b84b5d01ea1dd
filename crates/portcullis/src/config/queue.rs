//! `[queue]`: how the processes of a fleet ring each other's doorbells.

use portcullis_engine::SqsOptions;

use super::section::Section;

/// Who carries the doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueType {
    /// Nobody: each process rings for itself, and the timers ring for all.
    Local,
    /// Amazon SQS, with the credentials that AWS's own tools would find.
    Aws,
    /// An emulator of it at an endpoint, which takes any credentials.
    Localstack,
}

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueConfig {
    kind: QueueType,
    region: String,
    endpoint: Option<String>,
    prefix: String,
}

const TYPES: [(&str, QueueType); 3] =
    [("local", QueueType::Local), ("aws", QueueType::Aws), ("localstack", QueueType::Localstack)];

/// Where an emulator listens that was told nothing else.
const EMULATOR: &str = "http://127.0.0.1:4566";

const REGION: &str = "us-east-1";

const ENDPOINT: &str = "a URL that begins with http:// or https://";

const PREFIX: &str =
    "at most 40 letters, digits, hyphens and underscores, as names of queues have them";

impl QueueConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let kind = section.word("type", &TYPES).unwrap_or(QueueType::Local);
        let region = section.text("region");
        let endpoint = section.parsed("endpoint", ENDPOINT, |text| {
            let is_url = text.starts_with("https://") || text.starts_with("http://");
            is_url.then(|| text.to_owned())
        });
        let prefix = section.parsed("prefix", PREFIX, |text| {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            (text.len() <= 40 && text.chars().all(is_name)).then(|| text.to_owned())
        });
        let emulator = (kind == QueueType::Localstack).then(|| EMULATOR.to_owned());
        Self {
            kind,
            region: region.unwrap_or_else(|| REGION.to_owned()),
            endpoint: endpoint.or(emulator),
            prefix: prefix.unwrap_or_default(),
        }
    }

    /// Where the queues are; `None` where there are none.
    pub(crate) fn sqs(&self) -> Option<SqsOptions> {
        (self.kind != QueueType::Local).then(|| SqsOptions {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            is_emulated: self.kind == QueueType::Localstack,
            prefix: self.prefix.clone(),
        })
    }

    pub(super) fn print(&self) -> toml::Table {
        let name = TYPES.iter().find(|(_, kind)| *kind == self.kind).map_or("local", |it| it.0);
        let mut table = toml::Table::from_iter([
            ("type".to_owned(), name.into()),
            ("region".to_owned(), self.region.clone().into()),
            ("prefix".to_owned(), self.prefix.clone().into()),
        ]);
        if let Some(endpoint) = &self.endpoint {
            table.insert("endpoint".to_owned(), endpoint.clone().into());
        }
        table
    }
}

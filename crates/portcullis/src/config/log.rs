//! `[log]`: what is written to standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;

use super::section::Section;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The least level of Portcullis' own lines; libraries begin at `warn`.
    pub(crate) level: tracing::Level,
    /// Levels of single targets, above `level`.
    pub(crate) filter: Option<String>,
    /// The form of a line.
    pub(crate) format: LogFormat,
}

const LEVELS: [(&str, tracing::Level); 5] = [
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

impl LogConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let level = section.word("level", &LEVELS).unwrap_or(tracing::Level::INFO);
        let filter = section.parsed(
            "filter",
            "target=level pairs with commas, such as portcullis_engine=debug,sqlx=info",
            |text| text.parse::<Targets>().is_ok().then(|| text.to_owned()),
        );
        let format = section.word("format", &FORMATS).unwrap_or_else(Self::format_of_the_stream);
        Self { level, filter, format }
    }

    /// A terminal gets text, everything else JSON.
    fn format_of_the_stream() -> LogFormat {
        if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("level".into(), self.level.as_str().to_lowercase().into());
        if let Some(filter) = &self.filter {
            table.insert("filter".into(), filter.clone().into());
        }
        let format = match self.format {
            LogFormat::Json => "json",
            LogFormat::Text => "text",
        };
        table.insert("format".into(), format.into());
        table
    }
}

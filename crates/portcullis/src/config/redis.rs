//! `[redis]`: what processes tell each other and may forget.

use std::time::Duration;

use portcullis_cache::RedisOptions;

use super::problem::Problem;
use super::secret::SecretSource;
use super::section::Section;

/// `[redis]`
#[derive(Clone, Debug)]
pub(crate) struct RedisConfig {
    url: Option<SecretSource>,
    prefix: String,
    timeout_ms: u64,
}

/// What its keys begin with where nothing else is configured.
const KEY_PREFIX: &str = "portcullis";

const URL: &str = "redis://[user:password@]host[:port][/database]; TLS (rediss://) is not built in: put a \
                   tunnel on this host, or keep Redis in a network of its own";

impl RedisConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let url = section.secret("url", "url_file");
        let prefix = section.text("prefix").unwrap_or_else(|| KEY_PREFIX.to_owned());
        let timeout_ms = section.number("timeout_ms", 10..=5_000).unwrap_or(100);
        Self { url, prefix, timeout_ms }
    }

    /// How Redis is spoken to; `None` where there is none.
    pub(crate) fn options(&self) -> Result<Option<RedisOptions>, Problem> {
        let Some(source) = &self.url else { return Ok(None) };
        let url = source.parse(URL, |url| {
            let is_redis = url.starts_with("redis://") || url.starts_with("redis+unix://");
            is_redis.then(|| url.trim().to_owned().into())
        })?;
        let timeout = Duration::from_millis(self.timeout_ms);
        Ok(Some(RedisOptions { url, prefix: self.prefix.clone(), timeout }))
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::from_iter([
            ("prefix".to_owned(), self.prefix.clone().into()),
            ("timeout_ms".to_owned(), super::integer(self.timeout_ms)),
        ]);
        if let Some(url) = &self.url {
            let (key, value) = url.printed("url");
            table.insert(key, value.into());
        }
        table
    }
}

//! `[database]` and `[data]`: where the state is kept.

use std::path::{Path, PathBuf};

use portcullis_store::backup::file_of;
use portcullis_store::{check_server_url, is_in_memory};
use secrecy::ExposeSecret;

use super::problem::Problem;
use super::secret::SecretSource;
use super::section::Section;

/// `[data]`
#[derive(Clone, Debug)]
pub(crate) struct DataConfig {
    /// The directory of the embedded database.
    pub(crate) dir: PathBuf,
}

impl DataConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let dir = section.path("dir");
        Self { dir: dir.unwrap_or_else(|| section.beside_the_file("data")) }
    }

    pub(super) fn print(&self) -> toml::Table {
        toml::Table::from_iter([("dir".to_owned(), self.dir.display().to_string().into())])
    }
}

/// `[database]`
#[derive(Clone, Debug)]
pub(crate) struct DatabaseConfig {
    url: Option<SecretSource>,
    default_path: PathBuf,
    /// Whether `serve` brings the schema up to date by itself.
    pub(crate) auto_migrate: bool,
    replica_url: Option<SecretSource>,
    /// Connections that read.
    pub(crate) readers_max: u32,
    /// Connections that write to a server.
    pub(crate) writers_max: u32,
    /// How long a statement waits for another process to let the database go.
    pub(crate) busy_timeout_ms: u64,
    /// From when on a statement is logged as slow; 0 is never.
    pub(crate) slow_query_ms: u64,
}

const URL: &str = "sqlite:///path/of/portcullis.db, the path of an SQLite file, or mysql://user:password@host:3306/name";
const LASTING: &str = "a file, or a server: this database is forgotten when the process ends, and with it which payments were made; leave \
                       the key out for portcullis.db in data.dir, or write sqlite:///path/of/portcullis.db";
const REPLICA_URL: &str = "mysql://user:password@host:3306/name";

impl DatabaseConfig {
    pub(super) fn read(section: &mut Section<'_>, data_dir: &Path) -> Self {
        let url = section.secret("url", "url_file");
        let auto_migrate = section.flag("auto_migrate").unwrap_or(true);
        let readers_max = section.number("readers_max", 1..=64).unwrap_or(4);
        let writers_max = section.number("writers_max", 1..=64).unwrap_or(8);
        let busy_timeout_ms = section.number("busy_timeout_ms", 10..=60_000).unwrap_or(2_000);
        let slow_query_ms = section.number("slow_query_ms", 0..=600_000).unwrap_or(500);
        Self {
            url,
            replica_url: section.secret("replica_url", "replica_url_file"),
            default_path: data_dir.join("portcullis.db"),
            auto_migrate,
            readers_max: u32::try_from(readers_max).unwrap_or(4),
            writers_max: u32::try_from(writers_max).unwrap_or(8),
            busy_timeout_ms,
            slow_query_ms,
        }
    }

    /// Whether it is the embedded database in the data directory.
    pub(crate) const fn is_default(&self) -> bool {
        self.url.is_none()
    }

    /// Whether it is a file on this host, and not a server that a fleet shares.
    pub(crate) fn is_embedded(&self) -> bool {
        self.url().is_ok_and(|url| !is_of_another_scheme(&url))
    }

    /// The folder of an embedded database; `None` where it is on a server.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        let file = file_of(&self.url().ok()?)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Some(folder.map_or_else(|| PathBuf::from("."), Path::to_owned))
    }

    /// The URL, with its password where it has one.
    pub(crate) fn url(&self) -> Result<String, Problem> {
        match &self.url {
            None => Ok(format!("sqlite://{}", self.default_path.display())),
            Some(source) => {
                let url = source.reveal()?;
                let url = url.expose_secret();
                if is_of_another_scheme(url) {
                    return server_url(source, url, URL);
                }
                if is_in_memory(url) {
                    return Err(source.refused(LASTING));
                }
                Ok(url.to_owned())
            }
        }
    }

    /// The URL of the server that lists are read from.
    pub(crate) fn replica_url(&self) -> Result<Option<String>, Problem> {
        let Some(source) = &self.replica_url else { return Ok(None) };
        let url = source.reveal()?;
        server_url(source, url.expose_secret(), REPLICA_URL).map(Some)
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        let (key, value) = match &self.url {
            None => ("url".to_owned(), format!("sqlite://{}", self.default_path.display())),
            // The path of a file is no secret; any other URL may hold a password.
            Some(source) => source.printed_unless("url", is_of_another_scheme),
        };
        table.insert(key, value.into());
        table.insert("auto_migrate".into(), self.auto_migrate.into());
        if let Some(source) = &self.replica_url {
            let (key, value) = source.printed("replica_url");
            table.insert(key, value.into());
        }
        table.insert("readers_max".into(), super::integer(u64::from(self.readers_max)));
        table.insert("writers_max".into(), super::integer(u64::from(self.writers_max)));
        table.insert("busy_timeout_ms".into(), super::integer(self.busy_timeout_ms));
        table.insert("slow_query_ms".into(), super::integer(self.slow_query_ms));
        table
    }
}

fn is_of_another_scheme(url: &str) -> bool {
    url.contains("://") && !url.starts_with("sqlite:")
}

/// The URL of a server, or what is wrong with it; `allowed` says what it should be.
fn server_url(source: &SecretSource, url: &str, allowed: &str) -> Result<String, Problem> {
    check_server_url(url)
        .map(|()| url.to_owned())
        .map_err(|why| source.refused(&format!("{allowed} ({why})")))
}

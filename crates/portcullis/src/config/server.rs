//! `[server]`: where the process listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::section::Section;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Where a process without the API listens for probes and metrics; `None` is the port of its role
    /// on the host of `listen`.
    pub(crate) probe_listen: Option<SocketAddr>,
    /// Where the guide is published: the `doc_url` of an error is its `errors.md`.
    pub(crate) docs_base_url: String,
    /// Threads that run the roles and the API.
    pub(crate) worker_threads: usize,
    /// The most connections at once.
    pub(crate) connections_max: usize,
    /// How long open requests may take after a stop was asked for.
    pub(crate) drain_ms: u64,
    /// Whether a process is refused that was given secrets of another role; `None` leaves it to the database.
    pub(crate) strict_credentials: Option<bool>,
}

/// More threads gain nothing: SQLite has one writer, and signing is milliseconds.
const WORKER_THREADS_MAX: usize = 4;

/// Where this project publishes its guide.
const DOCS: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/guide");

const ADDRESS: &str = "an IP address and a port, such as 127.0.0.1:3000 or [::1]:3000";

impl ServerConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let listen = section.parsed("listen", ADDRESS, |text| text.parse().ok());
        let probe_listen = section.parsed("probe_listen", ADDRESS, |text| text.parse().ok());
        let docs_base_url =
            section.parsed("docs_base_url", "a URL that begins with http:// or https://", |text| {
                let is_url = text.starts_with("https://") || text.starts_with("http://");
                is_url.then(|| text.trim_end_matches('/').to_owned())
            });
        let worker_threads = section
            .number("worker_threads", 1..=64)
            .and_then(|threads| usize::try_from(threads).ok())
            .unwrap_or_else(|| threads.clamp(2, WORKER_THREADS_MAX));
        let connections_max = section
            .number("connections_max", 1..=1_000_000)
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(4_096);
        let drain_ms = section.number("drain_ms", 0..=120_000).unwrap_or(10_000);
        let strict_credentials = section.flag("strict_credentials");
        Self {
            strict_credentials,
            listen: listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 3000))),
            probe_listen,
            docs_base_url: docs_base_url.unwrap_or_else(|| DOCS.to_owned()),
            worker_threads,
            connections_max,
            drain_ms,
        }
    }

    /// Where a process without the API listens, `port` being that of its role.
    pub(crate) fn probe_address(&self, port: u16) -> SocketAddr {
        let host: IpAddr = self.listen.ip();
        self.probe_listen.unwrap_or_else(|| SocketAddr::new(host, port))
    }

    /// Where the error codes are explained.
    pub(crate) fn errors_url(&self) -> String {
        format!("{}/errors.md", self.docs_base_url)
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("listen".into(), self.listen.to_string().into());
        if let Some(address) = self.probe_listen {
            table.insert("probe_listen".into(), address.to_string().into());
        }
        table.insert("docs_base_url".into(), self.docs_base_url.clone().into());
        table.insert("worker_threads".into(), super::integer(self.worker_threads as u64));
        table.insert("connections_max".into(), super::integer(self.connections_max as u64));
        table.insert("drain_ms".into(), super::integer(self.drain_ms));
        if let Some(is_strict) = self.strict_credentials {
            table.insert("strict_credentials".into(), is_strict.into());
        }
        table
    }
}

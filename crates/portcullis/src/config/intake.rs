//! `[intake]`: how much is taken in before clients are asked to wait.

use portcullis_http::ApiLimits;
use portcullis_store::intake::IntakeLimits;

use super::section::Section;

/// `[intake]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IntakeConfig {
    /// The bounds of the queue, and of what waits for a commit.
    pub(crate) limits: IntakeLimits,
    /// The most requests with a body that are under way at once.
    pub(crate) requests_max: usize,
    /// The most requests of one API key in a second; `None` is no limit.
    pub(crate) key_requests_per_second: Option<u32>,
}

/// A batch has as many items, and has to fit.
const BATCH_ITEMS: u64 = 500;

impl IntakeConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let own = IntakeLimits::default();
        let limits = IntakeLimits {
            queue_max: section.number("queue_max", 1..=10_000_000).unwrap_or(own.queue_max),
            waiting_max: section
                .number("waiting_max", BATCH_ITEMS..=1_000_000)
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(own.waiting_max),
        };
        let requests_max = section
            .number("requests_max", 32..=1_000_000)
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(ApiLimits::default().requests_max);
        let key_requests_per_second = section
            .number("key_requests_per_second", 1..=1_000_000)
            .and_then(|rate| u32::try_from(rate).ok());
        Self { limits, requests_max, key_requests_per_second }
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = toml::Table::from_iter([
            ("queue_max".to_owned(), super::integer(self.limits.queue_max)),
            ("waiting_max".to_owned(), super::integer(self.limits.waiting_max as u64)),
            ("requests_max".to_owned(), super::integer(self.requests_max as u64)),
        ]);
        if let Some(rate) = self.key_requests_per_second {
            let rate = super::integer(u64::from(rate));
            table.insert("key_requests_per_second".to_owned(), rate);
        }
        table
    }
}

//! `[engine]`: how the roles work. The defaults are the engine's own.

use portcullis_core::batching::BatchingRules;
use portcullis_engine::EngineSettings;

use super::integer;
use super::section::Section;

/// `[engine]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineConfig {
    /// The engine's settings, its own where nothing was set.
    pub(crate) settings: EngineSettings,
}

impl EngineConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let own = EngineSettings::default();
        let milliseconds = |set: Option<u64>, own: i64| {
            set.and_then(|milliseconds| i64::try_from(milliseconds).ok()).unwrap_or(own)
        };
        let settings = EngineSettings {
            batch_max: section.number("batch_max", 1..=500).unwrap_or(own.batch_max),
            batching: read_batching(section, own.batching),
            poll_interval_ms: section
                .number("poll_interval_ms", 10..=60_000)
                .unwrap_or(own.poll_interval_ms),
            // Nodes keep 16 transactions of an account; half of them is room for replacements.
            in_flight_max: section.number("in_flight_max", 1..=8).unwrap_or(own.in_flight_max),
            rebroadcast_after_ms: milliseconds(
                section.number("rebroadcast_after_ms", 500..=3_600_000),
                own.rebroadcast_after_ms,
            ),
            bump_after_ms: milliseconds(
                section.number("bump_after_ms", 1_000..=86_400_000),
                own.bump_after_ms,
            ),
            lease_ms: milliseconds(section.number("lease_ms", 3_000..=600_000), own.lease_ms),
        };
        Self { settings }
    }

    pub(super) fn print(&self) -> toml::Table {
        let EngineSettings {
            batch_max,
            batching,
            poll_interval_ms,
            in_flight_max,
            rebroadcast_after_ms,
            bump_after_ms,
            lease_ms,
        } = self.settings;
        let BatchingRules { items_max, queue_min, token_min, linger_max_ms, block_share_percent } =
            batching;
        toml::Table::from_iter([
            ("batch_max".to_owned(), integer(batch_max)),
            ("vault_items_max".to_owned(), integer(items_max as u64)),
            ("batch_queue_min".to_owned(), integer(queue_min as u64)),
            ("batch_token_min".to_owned(), integer(token_min as u64)),
            ("batch_linger_max_ms".to_owned(), linger_max_ms.into()),
            ("batch_block_share_percent".to_owned(), integer(block_share_percent)),
            ("poll_interval_ms".to_owned(), integer(poll_interval_ms)),
            ("in_flight_max".to_owned(), integer(in_flight_max)),
            ("rebroadcast_after_ms".to_owned(), rebroadcast_after_ms.into()),
            ("bump_after_ms".to_owned(), bump_after_ms.into()),
            ("lease_ms".to_owned(), lease_ms.into()),
        ])
    }
}

fn read_batching(section: &mut Section<'_>, own: BatchingRules) -> BatchingRules {
    let count = |set: Option<u64>, own: usize| {
        set.and_then(|count| usize::try_from(count).ok()).unwrap_or(own)
    };
    BatchingRules {
        items_max: count(section.number("vault_items_max", 1..=200), own.items_max),
        queue_min: count(section.number("batch_queue_min", 1..=200), own.queue_min),
        token_min: count(section.number("batch_token_min", 1..=200), own.token_min),
        linger_max_ms: section
            .number("batch_linger_max_ms", 0..=60_000)
            .and_then(|milliseconds| i64::try_from(milliseconds).ok())
            .unwrap_or(own.linger_max_ms),
        block_share_percent: section
            .number("batch_block_share_percent", 1..=100)
            .unwrap_or(own.block_share_percent),
    }
}

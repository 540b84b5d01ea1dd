//! The machine's clock, and whether it shows the time of the database server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_gauge, gauge};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_engine::{Component, Concerns};
use portcullis_store::Store;

/// How often the database server is asked for its time, besides in every transaction.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// From when on the operator is told.
const OFF_MS: i64 = 5_000;

/// Up to when it is not over: an offset that goes to and fro is told once.
const STILL_OFF_MS: i64 = 4_000;

/// Who misses the right time, for the concerns.
const MACHINE: &str = "this machine";

const OFFSET: &str = "portcullis_clock_offset_seconds";

/// The machine's clock, the only one that the binary hands out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the machine's time enters; everything else is given a Clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Whether this is more than clocks that are kept right differ by.
pub(crate) const fn is_off(offset_ms: i64) -> bool {
    offset_ms.unsigned_abs() >= OFF_MS.unsigned_abs()
}

/// An offset in words.
pub(crate) fn told(offset_ms: i64) -> String {
    let way = if offset_ms < 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {} ms {way} the database server's", offset_ms.unsigned_abs())
}

/// Keeps the store's time right while nothing is written, and tells the operator of a clock that is wrong: once when it
/// begins, and once when it is over.
pub(crate) struct ClockWatch {
    store: Store,
    concerns: Concerns,
    was_off: bool,
}

impl ClockWatch {
    pub(crate) fn over(store: Store, concerns: Concerns) -> Self {
        Self { store, concerns, was_off: false }
    }

    /// Looks again and again; ends at once where the database has no clock of its own.
    pub(crate) async fn keep(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            // What was reckoned goes on while the server is away: others tell of that.
            let _asked = self.store.read_clock().await;
            let Some(offset_ms) = self.store.clock_offset_ms() else { return };
            self.note(offset_ms);
        }
    }

    fn note(&mut self, offset_ms: i64) {
        let bounded = offset_ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        gauge!(OFFSET).set(f64::from(i32::try_from(bounded).unwrap_or_default()) / 1_000.0);
        let still_off = offset_ms.unsigned_abs() >= STILL_OFF_MS.unsigned_abs();
        self.was_off = is_off(offset_ms) || (self.was_off && still_off);
        if self.was_off {
            self.concerns.failing(Component::Clock, MACHINE, self.store.now(), &told(offset_ms));
        } else {
            self.concerns.well(Component::Clock, MACHINE);
        }
    }
}

/// Registers the text that the metrics endpoint shows.
pub(crate) fn describe_metrics() {
    describe_gauge!(
        OFFSET,
        Unit::Seconds,
        "How far this process's clock is ahead of the database server's; negative where it is behind"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use portcullis_store::StoreOptions;

    use super::*;

    #[tokio::test]
    async fn a_clock_that_is_wrong_is_told_when_it_begins_and_when_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = folder.path().join("portcullis.db").display().to_string();
        let options = StoreOptions { url, ..StoreOptions::default() };
        let store = Store::open(&options, Arc::new(SystemClock)).await.expect("opens");
        assert_eq!(store.clock_offset_ms(), None, "a file has no clock of its own");
        // It ends: there is nothing to compare.
        let concerns = Concerns::default();
        ClockWatch::over(store.clone(), concerns.clone()).keep().await;
        let mut watch = ClockWatch::over(store, concerns.clone());
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        for (row, (offset_ms, is_concern)) in [
            (4_999, false),
            (-90_000, true),
            (-90_000, true),
            (-4_500, true),
            (90_000, true),
            (3_999, false),
            (0, false),
            (5_000, true),
        ]
        .into_iter()
        .enumerate()
        {
            watch.note(offset_ms);
            assert_eq!(!concerns.all().is_empty(), is_concern, "row {row}");
        }
        assert!(rendered.render().contains("portcullis_clock_offset_seconds 5\n"));
        assert_eq!(told(-90_000), "this machine's clock is 90000 ms behind the database server's");
    }
}

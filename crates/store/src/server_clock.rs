//! The clock of a database server, as a process knows it whose own may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use portcullis_core::time::{Clock, Timestamp};
use sea_orm::{ConnectionTrait, DbErr, Statement};

/// Before the first answer.
const UNKNOWN: i64 = i64::MIN;

/// The server's clock: asked in every transaction, and reckoned in between from a clock that nobody sets. The process's
/// own is only compared with it.
pub(crate) struct ServerClock {
    own: Arc<dyn Clock>,
    begun: Instant,
    /// The server's time when `begun` was, by all that it has answered.
    base_ms: AtomicI64,
}

impl ServerClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, begun: Instant::now(), base_ms: AtomicI64::new(UNKNOWN) }
    }

    /// Asks the server.
    pub(crate) async fn read<C: ConnectionTrait>(
        &self,
        connection: &C,
    ) -> Result<Timestamp, DbErr> {
        let question = "SELECT CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(3)) * 1000 AS SIGNED) AS now";
        let backend = connection.get_database_backend();
        let asked_ms = self.elapsed_ms();
        let row = connection.query_one_raw(Statement::from_string(backend, question)).await?;
        let row =
            row.ok_or_else(|| DbErr::RecordNotFound("the server tells no time".to_owned()))?;
        let now: i64 = row.try_get("", "now")?;
        self.learn(now, asked_ms, self.elapsed_ms());
        Ok(Timestamp::from_millis(now))
    }

    /// How far the process's own clock is ahead of the server's; negative where it is behind.
    pub(crate) fn own_ahead_ms(&self) -> i64 {
        self.own.now().millis_since(self.now())
    }

    /// Takes an answer in. The server looked at its clock at some moment between the question and the answer: what was
    /// reckoned so far stays as long as that can be, so that a slow answer moves nothing.
    fn learn(&self, server_ms: i64, asked_ms: i64, answered_ms: i64) {
        let (least, most) =
            (server_ms.saturating_sub(answered_ms), server_ms.saturating_sub(asked_ms));
        let corrected = |base: i64| {
            Some(match base {
                UNKNOWN => least.midpoint(most),
                base => base.max(least).min(most),
            })
        };
        // It always has a new value, and so never fails.
        let _before = self.base_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, corrected);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        match self.base_ms.load(Ordering::Relaxed) {
            UNKNOWN => self.own.now(),
            base => Timestamp::from_millis(base).plus_millis(self.elapsed_ms()),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::TestClock;

    use super::*;

    fn clock() -> ServerClock {
        ServerClock::new(Arc::new(TestClock::at(Timestamp::from_millis(0))))
    }

    #[test]
    fn an_answer_moves_the_time_only_as_far_as_it_proves() {
        let clock = clock();
        // the server's time, when it was asked, when it answered, its time at the beginning by then
        for (row, (server, asked, answered, base)) in [
            (10_000, 100, 120, 9_890),
            (10_100, 210, 210, 9_890),
            (19_000, 100, 9_200, 9_890),
            (20_000, 10_100, 10_105, 9_895),
            (30_000, 20_200, 20_300, 9_800),
            // A server whose clock was set.
            (99_000, 30_000, 30_010, 68_990),
        ]
        .into_iter()
        .enumerate()
        {
            clock.learn(server, asked, answered);
            assert_eq!(clock.base_ms.load(Ordering::Relaxed), base, "row {row}");
        }
    }

    #[test]
    fn a_clock_that_is_set_moves_nothing_but_the_offset() {
        let own = TestClock::at(Timestamp::from_millis(5_000_000));
        let clock = ServerClock::new(Arc::new(own.clone()));
        clock.learn(1_000_000, 0, 0);
        let before = clock.now();
        own.set(Timestamp::from_millis(5_900_000));
        assert!(before.as_millis() >= 1_000_000 && clock.now() >= before);
        // Of a test that stood still in between, an hour would be more.
        let ahead_ms = 5_900_000 - clock.own_ahead_ms();
        assert!((1_000_000..4_600_000).contains(&ahead_ms), "{ahead_ms}");
    }
}

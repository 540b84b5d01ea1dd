//! What is done once all is settled: every signed byte goes to the node again, and pays nothing.

use std::collections::BTreeSet;

use alloy_primitives::Bytes;
use portcullis_core::time::Clock;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::oracle::paid_on_chain;
use crate::scheduler::{Run, SimulationError};

/// Blocks that are mined after the replay.
const BLOCKS: i64 = 4;

impl Run {
    /// Sends every transaction once more that was ever sent, or is committed in the database.
    pub(crate) async fn replay_everything(&mut self) -> Result<(), SimulationError> {
        let database = self.engines[self.main].seat.database.clone();
        let mut signed: BTreeSet<Bytes> = self.world.providers.heard().into_iter().collect();
        let failed = |error: sqlx::Error| SimulationError::Copy(error.to_string());
        let options = SqliteConnectOptions::new().filename(database).read_only(true);
        let mut connection = options.connect().await.map_err(failed)?;
        let committed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT raw FROM attempts")
            .fetch_all(&mut connection)
            .await
            .map_err(failed)?;
        let halts: i64 = sqlx::query_scalar("SELECT count(*) FROM halts")
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        self.outcome.halts = u64::try_from(halts).unwrap_or_default();
        // What was adopted from the chain is known by its hash alone.
        signed.extend(committed.into_iter().filter(|raw| !raw.is_empty()).map(Bytes::from));

        let before = paid_on_chain(&self.world);
        let now = self.world.clock.now();
        for block in 1..=BLOCKS {
            for raw in &signed {
                // Refused or not: the chain is asked.
                let _answer = self.world.node.send_raw(raw);
            }
            self.world.node.mine(now.plus_millis(block.saturating_mul(1_000)));
        }
        self.outcome.replayed = signed.len() as u64;
        let after = paid_on_chain(&self.world);
        if after != before {
            self.outcome.paid_twice = self.outcome.paid_twice.saturating_add(1);
            self.outcome.problems.push("the replay of all signed bytes paid something".into());
        }
        Ok(())
    }
}

//! Does what the schedule says, at its moments.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::crew::Crew;
use super::node::Node;
use super::schedule::{Fault, Planned};
use crate::judge::Scope;

/// What faults happen to.
#[derive(Debug)]
pub(super) struct Chaos<'a> {
    pub(super) crew: &'a Crew,
    pub(super) node: &'a Node,
    /// Whose payments are counted when blocks vanish.
    pub(super) scope: &'a Scope,
}

impl Chaos<'_> {
    /// Lets everything of `schedule` happen, counted from `begun`; several faults may be under way
    /// at once. When it returns, whatever was killed or stood still runs again.
    ///
    /// # Errors
    /// Something could not be started again.
    pub(super) async fn run(&self, schedule: &[Planned], begun: Instant) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        for planned in schedule {
            let moment = begun + Duration::from_millis(planned.at_ms);
            loop {
                tokio::select! {
                    () = sleep_until(moment) => break,
                    Some(outcome) = under_way.next(), if !under_way.is_empty() => outcome?,
                }
            }
            under_way.push(self.happen(planned.fault));
        }
        while let Some(outcome) = under_way.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn happen(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill { role, away_ms } => {
                self.crew.kill(role, Duration::from_millis(away_ms)).await
            }
            Fault::KillChain { away_ms } => {
                self.node.crash(Duration::from_millis(away_ms), self.scope).await
            }
            Fault::PauseChain { pause_ms } => {
                self.node.pause(Duration::from_millis(pause_ms)).await
            }
            Fault::Pause { role, pause_ms } => {
                self.crew.pause(role, Duration::from_millis(pause_ms)).await;
                Ok(())
            }
            Fault::Twin { role, pause_ms, keeps_second } => {
                self.crew.twin(role, Duration::from_millis(pause_ms), keeps_second).await
            }
        }
    }
}

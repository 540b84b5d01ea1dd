//! Who writes next, where one writes at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::StoreError;

/// Who writes next. Roles queue for the second place, so that clients wait for one transaction at most, however many the
/// roles have in hand.
pub(crate) struct WriterTurns {
    roles: Arc<Mutex<()>>,
    writer: Arc<Mutex<()>>,
    patience: Duration,
}

/// The right to write, until it is dropped.
pub(crate) struct WriterTurn {
    _writer: Option<OwnedMutexGuard<()>>,
    _role: Option<OwnedMutexGuard<()>>,
}

impl WriterTurn {
    /// Where many write at the same time.
    pub(crate) const fn of_many() -> Self {
        Self { _writer: None, _role: None }
    }
}

impl WriterTurns {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { roles: Arc::default(), writer: Arc::default(), patience }
    }

    pub(crate) async fn of_clients(&self, during: &'static str) -> Result<WriterTurn, StoreError> {
        let writer = self.wait(during, Arc::clone(&self.writer).lock_owned()).await?;
        Ok(WriterTurn { _writer: Some(writer), _role: None })
    }

    pub(crate) async fn of_roles(&self, during: &'static str) -> Result<WriterTurn, StoreError> {
        let turn = async {
            let role = Arc::clone(&self.roles).lock_owned().await;
            let writer = Arc::clone(&self.writer).lock_owned().await;
            WriterTurn { _writer: Some(writer), _role: Some(role) }
        };
        self.wait(during, turn).await
    }

    async fn wait<T>(
        &self,
        during: &'static str,
        turn: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.patience, turn).await.map_err(|_| StoreError::Unavailable {
            during,
            cause: format!("no turn to write came within {} ms", self.patience.as_millis()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn clients_come_before_the_roles_that_wait() {
        let turns = Arc::new(WriterTurns::new(PATIENCE));
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let under_way = turns.of_roles("first").await.map_err(|error| error.to_string());
        let mut waiting = Vec::new();
        for name in ["second", "third", "clients"] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let turn = match name {
                    "clients" => turns.of_clients(name).await,
                    _ => turns.of_roles(name).await,
                };
                order.lock().await.push(name);
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        assert!(order.lock().await.is_empty(), "one writes at a time");
        drop(under_way);
        for task in waiting {
            task.await.expect("ends");
        }
        assert_eq!(*order.lock().await, ["clients", "second", "third"]);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_said_to_be_unavailable() {
        let turns = WriterTurns::new(Duration::ZERO);
        let _under_way = turns.of_roles("first").await;
        for refused in [turns.of_roles("second").await, turns.of_clients("third").await] {
            assert!(refused.is_err_and(|error| error.is_unavailable()));
        }
    }
}

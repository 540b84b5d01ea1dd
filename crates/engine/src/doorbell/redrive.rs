//! Brings doorbells back from the dead letters: received, sent to the queue that they came from, and only then deleted.

use portcullis_store::dead_letter::DeadLetterQueue;
use serde_json::Value;

use super::queue::Queue;
use super::sqs::{SqsError, SqsQueues};

/// What became of the dead letters of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Sent again, each to the queue that it names.
    pub sent: u64,
    /// Not known to have been sent: SQS refused, or did not answer. They stay where they are.
    pub failed: u64,
    /// Left where they are: they name no queue of ours.
    pub foreign: u64,
}

impl SqsQueues {
    /// Sends up to `limit` dead letters again. One that was sent and could not be deleted is sent once more the next time:
    /// a doorbell that rings twice is harmless. `done` counts each as soon as it is sent, also those before an error.
    ///
    /// # Errors
    /// See [`SqsError`].
    pub async fn redrive(
        &self,
        letters: DeadLetterQueue,
        limit: u64,
        done: &mut Redriven,
    ) -> Result<(), SqsError> {
        let home = self.dead_letter_name(letters);
        while done.sent.saturating_add(done.foreign) < limit {
            let left = limit.saturating_sub(done.sent).saturating_sub(done.foreign);
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let taken = self.receive(&home, most, 0).await?;
            if taken.is_empty() {
                break;
            }
            let mut handles = Vec::with_capacity(taken.len());
            let mut outcome = Ok(());
            for message in taken {
                match source_of(&message.body).filter(|queue| queue.dead_letters() == letters) {
                    Some(queue) => {
                        outcome = self.send(&self.name(queue), &message.body, 1).await;
                        if outcome.is_err() {
                            done.failed = done.failed.saturating_add(1);
                            break;
                        }
                        done.sent = done.sent.saturating_add(1);
                        handles.push(message.handle);
                    }
                    // It stays out of sight for as long as the queue is set to, and is there again then.
                    None => done.foreign = done.foreign.saturating_add(1),
                }
            }
            // Those that went before a failure go from here as well.
            let deleted = self.delete(&home, &handles).await;
            outcome.and(deleted)?;
        }
        Ok(())
    }
}

/// The queue that a message names.
fn source_of(body: &str) -> Option<Queue> {
    let value: Value = serde_json::from_str(body).ok()?;
    Queue::parse(value.get("queue")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::messenger::body_of;

    #[test]
    fn what_we_send_names_its_queue_and_nothing_else_does() {
        for queue in Queue::ALL {
            assert_eq!(source_of(&body_of(queue)), Some(queue));
        }
        for foreign in ["", "{}", "[]", "{\"queue\":7}", "{\"queue\":\"orders\"}"] {
            assert_eq!(source_of(foreign), None, "{foreign}");
        }
    }
}

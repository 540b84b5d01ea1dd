//! `queues`: the doorbells between processes, in SQS.

use portcullis_engine::{Queue, Redriven, SqsError, SqsQueues, sets_of};
use portcullis_store::dead_letter::DeadLetterQueue;
use serde_json::{Value, json};

use super::operate::check_reason;
use crate::cli::queues::QueuesCommand;
use crate::failure::Failure;
use crate::session::Session;

const COLUMNS: [&str; 6] = ["queue", "visible", "in_flight", "waiting", "sets", "oldest_age_ms"];

/// Runs `queues …`.
pub(crate) async fn queues(command: &QueuesCommand, session: &Session) -> Result<(), Failure> {
    let Some(options) = session.config.queue.sqs() else {
        return Err(Failure::Refused(
            "queue.type is local: there are no queues between processes; set it to aws or localstack"
                .to_owned(),
        ));
    };
    let queues = SqsQueues::new(options).await;
    match command {
        QueuesCommand::Init => init(&queues, session).await,
        QueuesCommand::Status => status(&queues, session).await,
        QueuesCommand::Redrive { queue, limit, reason } => {
            check_reason(reason)?;
            redrive(&queues, queue, *limit, reason, session).await
        }
    }
}

async fn init(queues: &SqsQueues, session: &Session) -> Result<(), Failure> {
    let names = queues.create_all().await.map_err(|error| unavailable(&error))?;
    let text = format!("{} queues are there: {}", names.len(), names.join(", "));
    session.output.show(&text, &json!({ "queues": names }));
    Ok(())
}

async fn status(queues: &SqsQueues, session: &Session) -> Result<(), Failure> {
    let depths = session.store.queues().await;
    let depths = depths.map_err(|error| Failure::of_store("cannot read the work", &error))?;
    let mut rows: Vec<Value> = Vec::new();
    for queue in Queue::ALL {
        let name = queues.name(queue);
        let count = queues.count(&name).await.map_err(|error| unavailable(&error))?;
        let stage = queue.stage().map(portcullis_store::transition::Stage::as_str);
        let depth = depths.iter().find(|depth| Some(depth.stage) == stage);
        rows.push(json!({
            "queue": name,
            "visible": count.visible,
            "in_flight": count.in_flight,
            "waiting": depth.map(|depth| depth.depth),
            "sets": depth.map(|depth| sets_of(depth.depth)),
            "oldest_age_ms": depth.and_then(|depth| depth.oldest_age_ms),
        }));
    }
    for letters in DeadLetterQueue::ALL {
        let name = queues.dead_letter_name(letters);
        let count = queues.count(&name).await.map_err(|error| unavailable(&error))?;
        rows.push(json!({
            "queue": name,
            "visible": count.visible,
            "in_flight": count.in_flight,
        }));
    }
    session.output.list("queues", &COLUMNS, rows);
    Ok(())
}

async fn redrive(
    queues: &SqsQueues,
    name: &str,
    limit: u64,
    reason: &str,
    session: &Session,
) -> Result<(), Failure> {
    let letters = DeadLetterQueue::parse(name).ok_or_else(|| {
        let names = DeadLetterQueue::ALL.map(DeadLetterQueue::as_str).join(", ");
        Failure::Usage(format!("{name:?} is none of {names}"))
    })?;
    // Before anything leaves: what is sent cannot be taken back when the log cannot be written.
    note(session, letters, "queue.redrive", &format!("at most {limit}: {reason}")).await?;
    let mut done = Redriven::default();
    let outcome = queues.redrive(letters, limit, &mut done).await;
    let Redriven { sent, failed, foreign } = done;
    let counts = format!("{sent} sent again, {foreign} left that are not ours");
    let text = match &outcome {
        Ok(()) => counts,
        Err(error) => format!("{counts}, {failed} not sent: {error}"),
    };
    note(session, letters, "queue.redriven", &text).await?;
    let text = format!("{name}: {text}");
    if outcome.is_err() {
        return Err(Failure::Unavailable(text));
    }
    session.output.show(&text, &json!({ "queue": name, "sent": sent, "foreign": foreign }));
    Ok(())
}

async fn note(
    session: &Session,
    letters: DeadLetterQueue,
    action: &str,
    detail: &str,
) -> Result<(), Failure> {
    let noted =
        session.store.note_operation(&session.actor, action, letters.as_str(), detail).await;
    noted.map_err(|error| Failure::of_store("cannot write the audit log", &error))
}

fn unavailable(error: &SqsError) -> Failure {
    Failure::Unavailable(error.to_string())
}

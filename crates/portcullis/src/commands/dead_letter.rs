//! `admin dead-letter`: work that failed too often, and what operators decide about it.

use portcullis_core::time::Timestamp;
use portcullis_store::dead_letter::{DeadLetter, DeadLetterQueue, LetterOutcome};
use serde_json::{Value, json};

use super::operate::check_reason;
use crate::cli::operate::DeadLetterCommand;
use crate::failure::Failure;
use crate::session::Session;

/// Letters that a list shows at most.
const LIST_MAX: u64 = 500;

/// Runs `admin dead-letter …`.
pub(crate) async fn dead_letter(
    command: &DeadLetterCommand,
    session: &Session,
) -> Result<(), Failure> {
    match command {
        DeadLetterCommand::List { queue, all } => list(queue.as_deref(), *all, session).await,
        DeadLetterCommand::Inspect { id } => inspect(*id, session).await,
        DeadLetterCommand::Redrive { id, reason } => {
            check_reason(reason)?;
            let outcome = session.store.redrive_dead_letter(*id, &session.actor, reason).await;
            let outcome = outcome
                .map_err(|error| Failure::of_store("cannot redrive the dead letter", &error))?;
            tell(*id, outcome, "its work is taken up again", session)
        }
        DeadLetterCommand::Discard { id, reason } => {
            check_reason(reason)?;
            let outcome = session.store.discard_dead_letter(*id, &session.actor, reason).await;
            let outcome = outcome
                .map_err(|error| Failure::of_store("cannot discard the dead letter", &error))?;
            tell(*id, outcome, "what it was about goes on as it stands", session)
        }
    }
}

async fn list(queue: Option<&str>, with_ended: bool, session: &Session) -> Result<(), Failure> {
    let queue = queue
        .map(|text| {
            DeadLetterQueue::parse(text).ok_or_else(|| {
                let names = DeadLetterQueue::ALL.map(DeadLetterQueue::as_str).join(", ");
                Failure::Usage(format!("--queue: {text:?} is none of {names}"))
            })
        })
        .transpose()?;
    let letters = session.store.dead_letters(queue, with_ended, LIST_MAX).await;
    let letters =
        letters.map_err(|error| Failure::of_store("cannot read the dead letters", &error))?;
    let rows = letters.iter().map(value_of).collect();
    let columns = [
        "id",
        "queue",
        "subject",
        "type",
        "code",
        "attempt_count",
        "failed_at",
        "redrive_at",
        "ended",
    ];
    session.output.list("dead letters", &columns, rows);
    Ok(())
}

async fn inspect(id: i64, session: &Session) -> Result<(), Failure> {
    let letter = session.store.dead_letter(id).await;
    let letter = letter
        .map_err(|error| Failure::of_store("cannot read the dead letter", &error))?
        .ok_or_else(|| unknown(id))?;
    let value = letter_of(&letter);
    let text = format!(
        "dead letter {id} of {} about {}\n  {} {}: {}\n  tried {} times, last at {}\n  {}\n  {}",
        letter.queue.as_str(),
        letter.subject,
        letter.error.class,
        letter.error.code.as_deref().unwrap_or("-"),
        letter.error.message,
        letter.attempt_count,
        letter.failed_at.to_rfc3339(),
        letter.original_message,
        fate(&letter),
    );
    session.output.show(&text, &value);
    Ok(())
}

fn fate(letter: &DeadLetter) -> String {
    match (&letter.end, letter.redrive_at) {
        (Some(end), _) => {
            format!("{} at {} by {}: {}", end.how.as_str(), end.at.to_rfc3339(), end.by, end.reason)
        }
        (None, Some(at)) => format!("it is redriven by itself at {}", at.to_rfc3339()),
        (None, None) => "it waits for an operator: redrive it, or discard it".to_owned(),
    }
}

fn tell(id: i64, outcome: LetterOutcome, done: &str, session: &Session) -> Result<(), Failure> {
    let held = match outcome {
        LetterOutcome::Unknown => return Err(unknown(id)),
        LetterOutcome::Ended => {
            return Err(Failure::Refused(format!(
                "dead letter {id} has ended already: `admin dead-letter inspect {id}` says how"
            )));
        }
        LetterOutcome::Done => None,
        LetterOutcome::Held(withdrawal) => Some(withdrawal.to_string()),
    };
    let text = match &held {
        None => format!("dead letter {id} is ended; {done}"),
        Some(withdrawal) => format!(
            "dead letter {id} is ended; {withdrawal} is held until `admin withdrawal resume {withdrawal}`"
        ),
    };
    session.output.show(&text, &json!({ "id": id, "ended": true, "held": held }));
    Ok(())
}

fn unknown(id: i64) -> Failure {
    Failure::Refused(format!("there is no dead letter {id}"))
}

/// A row of the list.
fn value_of(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "queue": letter.queue.as_str(),
        "subject": letter.subject,
        "type": letter.error.class.as_str(),
        "code": letter.error.code,
        "message": letter.error.message,
        "attempt_count": letter.attempt_count,
        "failed_at": letter.failed_at.to_rfc3339(),
        "redrive_at": letter.redrive_at.filter(|_| letter.end.is_none()).map(Timestamp::to_rfc3339),
        "ended": letter.end.as_ref().map(|end| end.how.as_str()),
    })
}

/// The whole letter, in the form that the queues use.
fn letter_of(letter: &DeadLetter) -> Value {
    let original: Value = serde_json::from_str(&letter.original_message)
        .unwrap_or_else(|_| Value::String(letter.original_message.clone()));
    json!({
        "id": letter.id,
        "queue": letter.queue.as_str(),
        "subject": letter.subject,
        "originalMessage": original,
        "error": {
            "type": letter.error.class.as_str(),
            "code": letter.error.code,
            "message": letter.error.message,
            "details": letter.error.details,
        },
        "meta": {
            "timestamp": letter.failed_at.to_rfc3339(),
            "attemptCount": letter.attempt_count,
        },
        "redrives": letter.redrives,
        "redrive_at": letter.redrive_at.filter(|_| letter.end.is_none()).map(Timestamp::to_rfc3339),
        "end": letter.end.as_ref().map(|end| json!({
            "how": end.how.as_str(), "at": end.at.to_rfc3339(), "by": end.by, "reason": end.reason,
        })),
    })
}

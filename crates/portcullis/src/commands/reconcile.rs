//! `reconcile`.

use std::sync::Arc;

use portcullis_core::time::Clock;
use portcullis_engine::reconcile::{AcceptOutcome, Reconciler};
use portcullis_engine::{Concerns, Doorbells, RoleParts, Surroundings};
use serde_json::json;

use super::copies::lock_out;
use super::operate::check_reason;
use crate::cli::copies::{ReconcileAction, ReconcileArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::guard;
use crate::output::Output;
use crate::random;
use crate::signing::read_journal;
use crate::wire::Foundation;

/// Compares database, journal, ledger and chain; tells every difference, and fails while one remains.
pub(crate) async fn reconcile(
    arguments: &ReconcileArgs,
    config: &Config,
    clock: &Arc<dyn Clock>,
    output: Output,
) -> Result<(), Failure> {
    let foundation = Foundation::lay(config, Arc::clone(clock)).await?;
    // A copy that was put back by hand becomes what a start would make of it, with a halt that this lifts in the end.
    // Where an engine serves, it is the engine that notices.
    if let Ok(locks) = lock_out(&config.home()) {
        guard::notice_old_copy(&foundation.store, None).await?;
        drop(locks);
    }
    let journal = read_journal(config).await?;
    if journal.lines() == 0 {
        tracing::warn!(
            journal = %journal.place(),
            "there is no journal: what was signed is known from the database alone"
        );
    }
    let parts = RoleParts {
        store: foundation.store.clone(),
        pools: foundation.chains.iter().map(|chain| Arc::clone(&chain.pool)).collect(),
        vaults: config.vaults(),
        settings: config.engine.settings,
        around: Surroundings {
            entropy: random::source(),
            instance: format!("reconcile_{:032x}", random::entropy()?),
        },
        doorbells: Doorbells::local(),
        concerns: Concerns::default(),
    };
    let reconciler = Reconciler::new(parts, journal);
    if let Some(ReconcileAction::Accept { id, reason }) = &arguments.action {
        let outcome = accept(&reconciler, id, reason, output).await;
        foundation.store.close().await;
        return outcome;
    }
    let outcome = reconciler.reconcile(arguments.repair).await;
    foundation.store.close().await;
    let outcome = outcome.map_err(|error| Failure::failed("reconcile", &error))?;
    let remaining = outcome.remaining();
    let mut value = serde_json::to_value(&outcome)
        .map_err(|error| Failure::failed("the outcome has no JSON form", &error))?;
    value["remaining"] = json!(remaining);
    value["repair"] = json!(arguments.repair);
    output.show(&outcome.to_string(), &value);
    if remaining == 0 {
        return Ok(());
    }
    let next = if arguments.repair {
        "what remains needs you: each line says what to do"
    } else {
        "run `portcullis reconcile --repair` to bring the database to what journal and chain prove"
    };
    Err(Failure::Failed(format!("{remaining} differences remain: {next}")))
}

async fn accept(
    reconciler: &Reconciler,
    id: &str,
    reason: &str,
    output: Output,
) -> Result<(), Failure> {
    check_reason(reason)?;
    let outcome = reconciler.accept(id, &crate::actor::actor(), reason).await;
    let refused = match outcome.map_err(|error| Failure::failed("reconcile", &error))? {
        AcceptOutcome::Accepted(difference, freed) => {
            let text = format!(
                "accepted {id}: {}: {}\n{} payments left its slot and {} are held for you. Next: portcullis reconcile \
                 --repair",
                difference.kind.as_str(),
                difference.subject,
                freed.released,
                freed.held
            );
            let value = json!({ "id": id, "accepted": true, "kind": difference.kind,
                "subject": difference.subject, "released": freed.released, "held": freed.held });
            output.show(&text, &value);
            return Ok(());
        }
        AcceptOutcome::Already => format!("{id} is accepted already"),
        AcceptOutcome::Unknown => {
            format!("there is no difference {id}: `portcullis reconcile` tells the ids")
        }
        AcceptOutcome::Refused(why) => format!("{id}: {why}"),
    };
    Err(Failure::Refused(refused))
}

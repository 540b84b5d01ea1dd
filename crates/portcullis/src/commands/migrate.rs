//! `migrate`: the schema of the database.

use std::sync::Arc;

use portcullis_core::time::Clock;
use serde_json::json;

use crate::cli::MigrateAction;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::open_store;

/// Runs `migrate …`.
pub(crate) async fn migrate(
    action: MigrateAction,
    config: &Config,
    clock: Arc<dyn Clock>,
    output: Output,
) -> Result<(), Failure> {
    let store = open_store(config, clock).await?;
    let failed = |error| Failure::of_store("cannot migrate", &error);
    let before = store.schema_status().await.map_err(failed)?;
    let applied = match action {
        MigrateAction::Status => 0,
        MigrateAction::Up => {
            store.migrate().await.map_err(failed)?;
            before.pending
        }
    };
    let status = store.schema_status().await.map_err(failed)?;
    let text = format!(
        "schema {} of {}: {applied} applied, {} pending",
        status.current, status.known, status.pending
    );
    let answer = json!({
        "current": status.current,
        "known": status.known,
        "applied": applied,
        "pending": status.pending,
    });
    output.show(&text, &answer);
    Ok(())
}

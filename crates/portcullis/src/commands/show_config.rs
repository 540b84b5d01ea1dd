//! `config`: what is configured, and whether it can be used.

use serde_json::json;

use crate::cli::ConfigCommand;
use crate::config::{Config, json_schema, reference};
use crate::failure::Failure;
use crate::output::Output;

/// Runs `config …`.
pub(crate) fn show_config(
    command: ConfigCommand,
    config: &Config,
    output: Output,
) -> Result<(), Failure> {
    let file = config.file.as_ref().map(|path| path.display().to_string());
    match command {
        ConfigCommand::Check => {
            let place = file.clone().unwrap_or_else(|| "environment and defaults".to_owned());
            output.show(
                &format!("{place}: the configuration is sound"),
                &json!({
                    "ok": true,
                    "file": file,
                }),
            );
        }
        ConfigCommand::Print => {
            let mut value = serde_json::to_value(config.print())
                .map_err(|error| Failure::failed("cannot write the configuration", &error))?;
            value["sources"] = json!(config.sources());
            output.show(config.print_with_sources().trim_end(), &value);
        }
        // They need no configuration, and are shown without one.
        ConfigCommand::Reference => show_reference(output),
        ConfigCommand::Schema => return show_schema(output),
    }
    Ok(())
}

/// Runs `config reference`.
pub(crate) fn show_reference(output: Output) {
    let text = reference();
    output.show(text.trim_end(), &json!({ "reference": text }));
}

/// Runs `config schema`.
pub(crate) fn show_schema(output: Output) -> Result<(), Failure> {
    let schema = json_schema();
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| Failure::failed("cannot write the schema", &error))?;
    output.show(&text, &schema);
    Ok(())
}

//! `config`: what is configured, and whether it can be used.

use serde_json::json;

use crate::cli::ConfigCommand;
use crate::config::Config;
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
            let printed = config.print();
            let text = toml::to_string_pretty(&printed)
                .map_err(|error| Failure::failed("cannot write the configuration", &error))?;
            let value = serde_json::to_value(&printed)
                .map_err(|error| Failure::failed("cannot write the configuration", &error))?;
            output.show(text.trim_end(), &value);
        }
    }
    Ok(())
}

//! `init`: the files and directories of a new installation.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use portcullis_core::address::parse_address;
use portcullis_core::chain::ChainSpec;
use serde_json::json;

use super::init_template::{Template, render};
use crate::cli::InitArgs;
use crate::config::{DEFAULT_FILE, nearest, parse_cap};
use crate::failure::Failure;
use crate::output::Output;
use crate::random;

/// Makes the installation. The configuration is written last: until it is there, the command can be
/// repeated.
pub(crate) fn init(arguments: &InitArgs, output: Output) -> Result<(), Failure> {
    let spec = network(&arguments.network)?;
    let is_url = ["http://", "https://"].iter().any(|it| arguments.rpc_url.starts_with(it));
    if !is_url {
        return Err(Failure::Usage("--rpc-url must begin with http:// or https://".to_owned()));
    }
    let vault = match &arguments.vault {
        None => None,
        Some(text) => Some(parse_address(text).map_err(|error| {
            Failure::Usage(format!("--vault {text} is not allowed: the address {error}"))
        })?),
    };
    for cap in &arguments.cap {
        parse_cap(cap)
            .map_err(|allowed| Failure::Usage(format!("--cap {cap} is not allowed: {allowed}")))?;
    }
    let config = arguments.dir.join(DEFAULT_FILE);
    if config.exists() {
        let message = format!("{} exists already, and nothing is overwritten", config.display());
        return Err(Failure::Refused(message));
    }
    let secrets = arguments.dir.join("secrets");
    for directory in
        [&arguments.dir, &arguments.dir.join("data"), &arguments.dir.join("keys"), &secrets]
    {
        make_private_directory(directory)?;
    }
    let seal_key = secrets.join("seal.key");
    write_secret_once(&seal_key, &random::hex_secret()?)?;
    let passphrase = arguments.passphrase.then(|| secrets.join("keystore-passphrase"));
    if let Some(path) = &passphrase {
        write_secret_once(path, &random::hex_secret()?)?;
    }
    let template = Template {
        spec,
        rpc_url: &arguments.rpc_url,
        listen: arguments.listen,
        with_passphrase_file: arguments.passphrase,
        vault,
        caps: &arguments.cap,
    };
    write_private(&config, render(&template).as_bytes())
        .map_err(|error| cannot("write", &config, &error))?;
    let shown = config.display().to_string();
    let text = format!(
        "wrote {shown}\n\nNext:\n  export PORTCULLIS_CONFIG={shown}\n  \
         portcullis keys new --network {} --count 4\n  portcullis admin tenant add NAME\n  \
         portcullis serve",
        spec.network
    );
    let answer = json!({
        "config": shown,
        "seal_key_file": seal_key.display().to_string(),
        "passphrase_file": passphrase.map(|path| path.display().to_string()),
        "network": spec.network,
    });
    output.show(&text, &answer);
    Ok(())
}

fn network(name: &str) -> Result<&'static ChainSpec, Failure> {
    ChainSpec::by_network(name).ok_or_else(|| {
        let networks: Vec<&str> = ChainSpec::ALL.iter().map(|chain| chain.network).collect();
        let hint = nearest(name, networks.iter().copied())
            .map(|near| format!("did you mean {near}? "))
            .unwrap_or_default();
        Failure::Usage(format!(
            "--network {name} is unknown: {hint}known are {}",
            networks.join(", ")
        ))
    })
}

fn make_private_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| cannot("make the directory", path, &error))
}

/// Writes a secret, unless an earlier run has: a sealing key is never replaced.
fn write_secret_once(path: &Path, secret: &str) -> Result<(), Failure> {
    match write_private(path, format!("{secret}\n").as_bytes()) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(|error| cannot("write", path, &error)),
    }
}

/// A new file that its owner alone may read.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}

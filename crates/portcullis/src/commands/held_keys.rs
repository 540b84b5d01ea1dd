//! `keys` where the keys are held elsewhere: in a secret they are made here, in KMS or a token with its own tools.

use alloy_primitives::Address;
use portcullis_core::id::DeploymentId;
use portcullis_keys::KeyInfo;
use portcullis_keys::keyring::SecretStore;
use serde_json::{Value, json};

use super::keys::{COLUMNS, private_key_in, row};
use crate::cli::KeysCommand;
use crate::config::HolderConfig;
use crate::failure::Failure;
use crate::random;
use crate::session::Session;
use crate::signing::{begin_journal, of_secret, secret_store, senders};

/// Runs `keys …`, where it needs more than the keystore's file.
pub(crate) async fn held_keys(command: &KeysCommand, session: &Session) -> Result<(), Failure> {
    let deployment = deployment_of(session).await?;
    match command {
        KeysCommand::Journal => {
            let signer = &session.config.signer;
            let (id, place) = begin_journal(signer, deployment, &session.clock).await?;
            let text = format!(
                "{place} holds journal {id} from now on. Name it in the configuration of every signer:\n\n  \
                 [signer.journal]\n  id = \"{id}\""
            );
            session.output.show(&text, &json!({ "journal": id.to_string(), "place": place }));
            Ok(())
        }
        KeysCommand::List { network } => list(network.as_deref(), session, deployment).await,
        KeysCommand::New { network, count, label } => {
            let chain = session.config.chain(network)?.spec;
            let store = secret(session, deployment).await?;
            let mut made = Vec::with_capacity(usize::from(*count));
            for _ in 0..*count {
                let added = store.generate(chain.chain_id, label.as_deref(), session.now()).await;
                made.push(added.map_err(|error| of_secret(&error))?);
            }
            show(&store, &made, session).await
        }
        KeysCommand::Import { network, file, label } => {
            let chain = session.config.chain(network)?.spec;
            let key = private_key_in(file)?;
            let store = secret(session, deployment).await?;
            let added = store.add(chain.chain_id, key, label.as_deref(), session.now()).await;
            show(&store, &[added.map_err(|error| of_secret(&error))?], session).await
        }
        KeysCommand::Rotate => {
            let store = secret(session, deployment).await?;
            store.rotate().await.map_err(|error| of_secret(&error))?;
            let name = store.name();
            let text = format!(
                "{name} has a new version with a new data key; signers fetch it within signer.secret.kept_seconds"
            );
            session.output.show(&text, &json!({ "secret": name }));
            Ok(())
        }
    }
}

/// The deployment, which the first command founds.
async fn deployment_of(session: &Session) -> Result<DeploymentId, Failure> {
    let id = DeploymentId::from_parts(session.now(), random::entropy()?);
    let founded = session.store.found_deployment(id).await;
    Ok(founded.map_err(|error| Failure::of_store("cannot found the deployment", &error))?.id)
}

/// The secret that keys are made in, or why they are not made here.
async fn secret(session: &Session, deployment: DeploymentId) -> Result<SecretStore, Failure> {
    let signer = &session.config.signer;
    match &signer.holder {
        HolderConfig::Secret(secret) => secret_store(signer, secret, deployment).await,
        HolderConfig::Keystore | HolderConfig::Kms(_) | HolderConfig::Token(_) => {
            Err(Failure::Refused(format!(
                "keys of the kind {} are made with their holder's own tools, and named in the configuration: see docs/guide/keys.md",
                signer.holder.kind()
            )))
        }
    }
}

async fn list(
    network: Option<&str>,
    session: &Session,
    deployment: DeploymentId,
) -> Result<(), Failure> {
    let wanted = network.map(|name| session.config.chain(name)).transpose()?;
    let is_wanted = |chain_id: u64| wanted.is_none_or(|chain| chain.spec.chain_id == chain_id);
    let signer = &session.config.signer;
    let rows: Vec<Value> = if let HolderConfig::Secret(secret) = &signer.holder {
        let store = secret_store(signer, secret, deployment).await?;
        let keys = store.list().await.map_err(|error| of_secret(&error))?;
        keys.iter().filter(|key| is_wanted(key.chain_id)).map(row).collect()
    } else {
        let keys = senders(signer, deployment, &session.clock).await?;
        keys.into_iter().filter(|(chain_id, _)| is_wanted(*chain_id)).map(held_row).collect()
    };
    session.output.list("keys", &COLUMNS, rows);
    Ok(())
}

/// What is known of a key that was made elsewhere.
fn held_row((chain_id, address): (u64, Address)) -> Value {
    json!({
        "network": portcullis_core::chain::ChainSpec::by_id(chain_id).map(|chain| chain.network),
        "chain_id": chain_id,
        "address": address.to_checksum(None),
        "label": Value::Null,
        "created_at": Value::Null,
    })
}

async fn show(store: &SecretStore, made: &[Address], session: &Session) -> Result<(), Failure> {
    let listed: Vec<KeyInfo> = store.list().await.map_err(|error| of_secret(&error))?;
    let rows = listed.iter().filter(|key| made.contains(&key.address)).map(row);
    session.output.list("keys", &COLUMNS, rows.collect());
    Ok(())
}

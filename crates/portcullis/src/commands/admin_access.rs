//! `admin tenant` and `admin api-key`.

use portcullis_core::id::{ApiKeyId, TenantId};
use portcullis_core::time::Timestamp;
use portcullis_store::access::{ApiKeyRecord, NewApiKey, Scopes, TenantRecord};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cli::{ApiKeyCommand, TenantCommand};
use crate::failure::Failure;
use crate::random;
use crate::session::Session;

/// What the secret of an API key begins with: a leaked one is recognised by scanners.
const SECRET_PREFIX: &str = "pk_live_";

const NAME_CHARACTERS_MAX: usize = 64;

/// Runs `admin tenant …`.
pub(crate) async fn tenant(command: &TenantCommand, session: &Session) -> Result<(), Failure> {
    match command {
        TenantCommand::Add { name } => {
            check_name("a tenant's name", name)?;
            let id = TenantId::from_parts(session.now(), random::entropy()?);
            let tenant = session
                .store
                .create_tenant(id, name, &session.actor)
                .await
                .map_err(|error| Failure::of_store("cannot add the tenant", &error))?;
            let known = if tenant.id == id { "added" } else { "exists already" };
            let text = format!("tenant {} {known}: {}", tenant.name, tenant.id);
            session.output.show(&text, &tenant_row(&tenant));
        }
        TenantCommand::List => {
            let rows = tenants(session).await?.iter().map(tenant_row).collect();
            session.output.list("tenants", &["id", "name", "created_at"], rows);
        }
    }
    Ok(())
}

/// Runs `admin api-key …`.
pub(crate) async fn api_key(command: &ApiKeyCommand, session: &Session) -> Result<(), Failure> {
    match command {
        ApiKeyCommand::Add { tenant, name, scopes } => {
            check_name("a key's name", name)?;
            let scopes: Scopes =
                scopes.parse().map_err(|error| Failure::Usage(format!("--scopes: {error}")))?;
            add_api_key(session, tenant, name, scopes).await
        }
        ApiKeyCommand::List { tenant } => {
            let tenant = find_tenant(session, tenant).await?;
            let sealing = session.sealing_keys()?;
            let keys = session
                .store
                .api_keys(&sealing, tenant.id)
                .await
                .map_err(|error| Failure::of_store("cannot read the API keys", &error))?;
            let columns = ["id", "name", "scopes", "created_at", "revoked_at"];
            session.output.list("keys", &columns, keys.iter().map(key_row).collect());
            Ok(())
        }
        ApiKeyCommand::Revoke { id } => revoke(session, id).await,
    }
}

async fn add_api_key(
    session: &Session,
    tenant: &str,
    name: &str,
    scopes: Scopes,
) -> Result<(), Failure> {
    let tenant = find_tenant(session, tenant).await?;
    let sealing = session.sealing_keys()?;
    let secret = Zeroizing::new(format!("{SECRET_PREFIX}{}", *random::hex_secret()?));
    let secret_hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
    let new = NewApiKey {
        id: ApiKeyId::from_parts(session.now(), random::entropy()?),
        tenant: tenant.id,
        name: name.to_owned(),
        secret_hash,
        scopes,
    };
    let key = session
        .store
        .create_api_key(&sealing, &new, &session.actor)
        .await
        .map_err(|error| Failure::of_store("cannot add the API key", &error))?;
    let mut answer = key_row(&key);
    answer["tenant"] = tenant.name.clone().into();
    answer["secret"] = secret.as_str().into();
    let text = format!(
        "key {} of {} with {}\n\n  {}\n\nThis is the only time that the secret is shown. Send it as \
         `Authorization: Bearer …`.",
        key.id,
        tenant.name,
        key.scopes,
        secret.as_str()
    );
    session.output.show(&text, &answer);
    Ok(())
}

async fn revoke(session: &Session, id: &str) -> Result<(), Failure> {
    let id: ApiKeyId = id.parse().map_err(|error| Failure::Usage(format!("{id} {error}")))?;
    let sealing = session.sealing_keys()?;
    let revoked = session
        .store
        .revoke_api_key(&sealing, id, &session.actor)
        .await
        .map_err(|error| Failure::of_store("cannot revoke the API key", &error))?;
    if !revoked {
        return Err(Failure::Refused(format!("there is no live API key {id}")));
    }
    session.output.show(&format!("{id} is revoked"), &json!({ "id": id, "revoked": true }));
    Ok(())
}

async fn tenants(session: &Session) -> Result<Vec<TenantRecord>, Failure> {
    session
        .store
        .tenants()
        .await
        .map_err(|error| Failure::of_store("cannot read the tenants", &error))
}

/// By id or by name.
async fn find_tenant(session: &Session, wanted: &str) -> Result<TenantRecord, Failure> {
    let tenants = tenants(session).await?;
    let names: Vec<String> = tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let is_wanted =
        |tenant: &TenantRecord| tenant.name == wanted || wanted.parse() == Ok(tenant.id);
    tenants.into_iter().find(is_wanted).ok_or_else(|| {
        let hint = if names.is_empty() {
            format!("add it with `portcullis admin tenant add {wanted}`")
        } else {
            format!("there are {}", names.join(", "))
        };
        Failure::Refused(format!("there is no tenant {wanted}: {hint}"))
    })
}

fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let length = name.chars().count();
    let allowed = (1..=NAME_CHARACTERS_MAX).contains(&length)
        && name.trim() == name
        && !name.contains(char::is_control);
    if allowed {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{name:?} is not {what}: 1 to {NAME_CHARACTERS_MAX} characters on one line, without spaces at \
         its ends"
    )))
}

fn tenant_row(tenant: &TenantRecord) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "created_at": tenant.created_at.to_rfc3339(),
    })
}

fn key_row(key: &ApiKeyRecord) -> Value {
    json!({
        "id": key.id,
        "tenant_id": key.tenant,
        "name": key.name,
        "scopes": key.scopes.to_string(),
        "created_at": key.created_at.to_rfc3339(),
        "revoked_at": key.revoked_at.map(Timestamp::to_rfc3339),
    })
}

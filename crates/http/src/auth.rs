//! Who asks: API keys, their scopes and their tenant.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use portcullis_core::id::TenantId;
use portcullis_core::time::Timestamp;
use portcullis_store::access::{Scope, Scopes};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::{Api, RequestContext};
use crate::error::{ApiCode, ApiError};

/// No key is longer; more is not worth hashing.
const SECRET_BYTES_MAX: usize = 256;

/// Verified keys that are kept. Beyond it the cache starts anew.
const CACHED_KEYS_MAX: usize = 4_096;

/// The holder of a valid key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    /// How the audit log calls the key: its id.
    pub(crate) actor: String,
    scopes: Scopes,
}

impl Caller {
    /// Refuses a key without the scope.
    ///
    /// # Errors
    /// `MISSING_SCOPE`.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(scope) {
            return Ok(());
        }
        let message = format!("the API key {} lacks the scope {}", self.actor, scope.as_str());
        Err(ApiError::with_message(ApiCode::MissingScope, message))
    }
}

/// Keys that were verified less than a second ago, by the first bytes of their hashes.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<[u8; 8], CachedKey>>);

struct CachedKey {
    secret_hash: [u8; 32],
    verified_at: Timestamp,
    caller: Caller,
}

impl KeyCache {
    fn find(&self, secret_hash: &[u8; 32], now: Timestamp, age_ms_max: i64) -> Option<Caller> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.get(&head_of(secret_hash))?;
        let is_same: bool = cached.secret_hash.ct_eq(secret_hash).into();
        let is_fresh = (0..age_ms_max).contains(&now.millis_since(cached.verified_at));
        (is_same && is_fresh).then(|| cached.caller.clone())
    }

    fn keep(&self, secret_hash: [u8; 32], verified_at: Timestamp, caller: Caller) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_KEYS_MAX {
            cache.clear();
        }
        cache.insert(head_of(&secret_hash), CachedKey { secret_hash, verified_at, caller });
    }
}

fn head_of(secret_hash: &[u8; 32]) -> [u8; 8] {
    let mut head = [0_u8; 8];
    head.copy_from_slice(&secret_hash[..8]);
    head
}

/// The secret of `Authorization: Bearer …`.
fn bearer_secret(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(ApiError::new(ApiCode::MissingApiKey));
    };
    let value = value.to_str().map_err(|_| ApiError::new(ApiCode::InvalidApiKey))?;
    let (scheme, secret) =
        value.split_once(' ').ok_or_else(|| ApiError::new(ApiCode::MissingApiKey))?;
    let secret = secret.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || secret.is_empty() {
        return Err(ApiError::new(ApiCode::MissingApiKey));
    }
    if secret.len() > SECRET_BYTES_MAX {
        return Err(ApiError::new(ApiCode::InvalidApiKey));
    }
    Ok(secret)
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let context = RequestContext::from_request_parts(parts, api).await?;
        let secret_hash: [u8; 32] = Sha256::digest(bearer_secret(&parts.headers)?).into();
        let now = api.now();
        if let Some(caller) = api.keys.find(&secret_hash, now, api.parts.limits.cache_age_ms) {
            return admitted(api, caller).await;
        }
        let looked_up = api.parts.store.api_key(&api.parts.sealing_keys, secret_hash);
        let record = api
            .read(&context, looked_up)
            .await?
            .ok_or_else(|| ApiError::new(ApiCode::InvalidApiKey))?;
        if record.revoked_at.is_some() {
            return Err(ApiError::new(ApiCode::RevokedApiKey));
        }
        let actor = record.id.to_string();
        let caller = Self { tenant: record.tenant, actor, scopes: record.scopes };
        api.keys.keep(secret_hash, now, caller.clone());
        admitted(api, caller).await
    }
}

/// The caller, unless its key asks more often than it may.
async fn admitted(api: &Api, caller: Caller) -> Result<Caller, ApiError> {
    let Some(limit) = &api.parts.key_limit else { return Ok(caller) };
    let asked = limit.cache.admit(&format!("key:{}", caller.actor), limit.rate, 1).await;
    if asked.is_admitted {
        return Ok(caller);
    }
    metrics::counter!("portcullis_intake_refused_total", "why" => "key_rate").increment(1);
    let message = format!(
        "the API key {} asks more often than it may: {} at once are allowed; the next one in {} ms",
        caller.actor,
        limit.rate.burst(),
        asked.retry_after.as_millis().max(1),
    );
    Err(ApiError::with_message(ApiCode::TooManyRequests, message))
}

//! The state behind the handlers: the parts, two small caches, and waits for the database that end in time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use portcullis_core::time::Timestamp;
use portcullis_store::StoreError;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::KeyCache;
use crate::catalog::Catalog;
use crate::error::{ApiCode, ApiError};
use crate::form::read_object;
use crate::parts::{ApiParts, ChainAccess};

/// Shared by every request.
pub(crate) type Api = Arc<ApiState>;

/// See the module.
pub(crate) struct ApiState {
    pub(crate) parts: ApiParts,
    pub(crate) keys: KeyCache,
    pub(crate) started_at: Timestamp,
    /// `/openapi.json`.
    pub(crate) document: Bytes,
    catalog: Mutex<Option<(Timestamp, Arc<Catalog>)>>,
    under_way: Semaphore,
}

/// What a request is known by, and until when it may wait for the database.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) ends_at: Instant,
}

impl ApiState {
    pub(crate) fn new(parts: ApiParts, document: Bytes) -> Self {
        let started_at = parts.store.now();
        let under_way = Semaphore::new(parts.limits.requests_max);
        let (keys, catalog) = (KeyCache::default(), Mutex::new(None));
        Self { parts, keys, started_at, document, catalog, under_way }
    }

    /// By the store's clock: what is shown and compared is timed by it.
    pub(crate) fn now(&self) -> Timestamp {
        self.parts.store.now()
    }

    /// Lets a request with a body in, for as long as the permit is kept: what is under way is bounded, in
    /// number and so in memory.
    pub(crate) fn admit(&self, cost: u32) -> Result<SemaphorePermit<'_>, ApiError> {
        self.under_way.try_acquire_many(cost).map_err(|_| {
            metrics::counter!("portcullis_intake_refused_total", "why" => "too_many_requests")
                .increment(1);
            ApiError::new(ApiCode::TooManyRequests)
        })
    }

    /// Reads the body. The time that the client takes for it is not taken from the wait for the database.
    pub(crate) async fn read_body(
        &self,
        context: &mut RequestContext,
        request: Request,
        bytes_max: usize,
    ) -> Result<Map<String, Value>, ApiError> {
        let began = Instant::now();
        let reading = read_object(request, bytes_max);
        let object = if self.parts.limits.has_timers {
            let wait = Duration::from_millis(self.parts.limits.body_wait_ms);
            let read = tokio::time::timeout(wait, reading).await;
            read.map_err(|_| ApiError::new(ApiCode::RequestTimeout))??
        } else {
            reading.await?
        };
        context.ends_at = later(context.ends_at, began.elapsed());
        Ok(object)
    }

    /// Milliseconds that the request may still wait for the database; at least one, so that a wait that
    /// has an answer at hand gets it.
    pub(crate) fn remaining_ms(context: &RequestContext) -> u64 {
        let remaining = context.ends_at.saturating_duration_since(Instant::now());
        u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Waits for a read: not longer than the request may.
    pub(crate) async fn read<T>(
        &self,
        context: &RequestContext,
        reading: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ApiError> {
        self.bounded(context, ApiCode::DatabaseUnavailable, reading).await
    }

    /// Waits for a write: when it takes too long, nobody knows whether it was committed.
    pub(crate) async fn write<T>(
        &self,
        context: &RequestContext,
        writing: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ApiError> {
        self.bounded(context, ApiCode::OutcomeUnknown, writing).await
    }

    async fn bounded<T>(
        &self,
        context: &RequestContext,
        late: ApiCode,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ApiError> {
        if !self.parts.limits.has_timers {
            return Ok(work.await?);
        }
        let wait = Duration::from_millis(Self::remaining_ms(context));
        if let Ok(outcome) = tokio::time::timeout(wait, work).await {
            return Ok(outcome?);
        }
        tracing::warn!(wait_ms = wait.as_millis(), "the database did not answer in time");
        Err(ApiError::new(late))
    }

    /// The chain of this id, where it is configured.
    pub(crate) fn chain(&self, chain_id: u64) -> Option<&ChainAccess> {
        self.parts.chains.iter().find(|chain| chain.spec().chain_id == chain_id)
    }

    /// A picture of the assets that is fresh enough, and newer if `is_enough` says that it lacks something.
    pub(crate) async fn catalog(
        &self,
        context: &RequestContext,
        is_enough: impl Fn(&Catalog) -> bool,
    ) -> Result<Arc<Catalog>, ApiError> {
        let now = self.now();
        let cached = self.catalog.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((loaded_at, catalog)) = cached {
            let age_ms = now.millis_since(loaded_at);
            if (0..self.parts.limits.cache_age_ms).contains(&age_ms) && is_enough(&catalog) {
                return Ok(catalog);
            }
        }
        let catalog = Arc::new(self.read(context, self.load_catalog()).await?);
        let mut cache = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some((now, Arc::clone(&catalog)));
        Ok(catalog)
    }

    async fn load_catalog(&self) -> Result<Catalog, StoreError> {
        let store = &self.parts.store;
        let assets = store.assets(&self.parts.sealing_keys).await?;
        let mut own = BTreeMap::new();
        for chain in &self.parts.chains {
            own.insert(chain.spec().chain_id, store.own_addresses(chain.spec().chain_id).await?);
        }
        let chains = self.parts.chains.iter().map(ChainAccess::spec).collect();
        Ok(Catalog::new(chains, assets, own))
    }
}

/// An instant, moved on. One that lies beyond the end of time stays where it is.
pub(crate) fn later(instant: Instant, by: Duration) -> Instant {
    instant.checked_add(by).unwrap_or(instant)
}

/// The outermost layer puts it there.
impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Self>().cloned();
        context.ok_or_else(|| ApiError::internal("request", &"it has no context"))
    }
}

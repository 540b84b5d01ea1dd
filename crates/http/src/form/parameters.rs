//! Query parameters: each known, each at most once.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::Uri;
use portcullis_core::time::Timestamp;

use super::fields::{Problems, shown};
use super::instant::parse_rfc3339;
use crate::catalog::Catalog;
use crate::error::{ApiCode, ApiError};

/// The parameters of one query that nobody read yet, and their problems.
#[derive(Debug)]
pub(crate) struct Parameters {
    values: BTreeMap<String, String>,
    pub(crate) problems: Problems,
}

impl Parameters {
    /// Splits the query.
    ///
    /// # Errors
    /// `INVALID_PARAMETER` when it cannot be split, and for a parameter that is there twice.
    pub(crate) fn read(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| ApiError::new(ApiCode::InvalidParameter))?;
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            if values.insert(name.clone(), value).is_some() {
                let name: String = name.chars().take(64).collect();
                return Err(ApiError::of_field(ApiCode::InvalidParameter, &name, "is there twice"));
            }
        }
        Ok(Self { values, problems: Problems::default() })
    }

    /// Takes a parameter. An empty one is a problem: a caller whose variable was empty would otherwise
    /// get everything, as if it had asked for no filter.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let value = self.values.remove(name)?;
        if value.is_empty() {
            let message = "is empty: give it a value, or leave it out";
            self.problems.add(ApiCode::InvalidParameter, name, message);
            return None;
        }
        Some(value)
    }

    /// Takes a parameter that `parse` has to accept; `wanted` says what it may be.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.take(name)?;
        let value = parse(&text);
        if value.is_none() {
            let message = format!("must be {wanted}, not {}", shown(&text));
            self.problems.add(ApiCode::InvalidParameter, name, message);
        }
        value
    }

    /// Takes how many items of a list are wanted: from 1 to `most`, and `usual` where nothing is said.
    pub(crate) fn limit(&mut self, usual: u64, most: u64) -> u64 {
        let wanted = format!("a number from 1 to {most}");
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=most).contains(limit));
        self.parsed("limit", &wanted, read).unwrap_or(usual.min(most))
    }

    /// Whether the asset of the query, if there is one, is registered.
    pub(crate) fn knows_asset(&self, catalog: &Catalog) -> bool {
        let asset = self.values.get("asset");
        asset.is_none_or(|symbol| catalog.assets_called(symbol).next().is_some())
    }

    /// Whatever is left does not go together with `name`.
    ///
    /// # Errors
    /// Every problem that was found.
    pub(crate) fn finish_alone(mut self, name: &str) -> Result<(), ApiError> {
        if !self.values.is_empty() {
            let message = "goes together with no other parameter";
            self.problems.add(ApiCode::InvalidParameter, name, message);
        }
        self.values.clear();
        self.finish()
    }

    /// Takes an instant.
    pub(crate) fn instant(&mut self, name: &str) -> Option<Timestamp> {
        self.parsed(name, "a time such as 2026-11-20T15:59:59Z", parse_rfc3339)
    }

    /// Whatever is left is unknown.
    ///
    /// # Errors
    /// Every problem that was found.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        for name in self.values.into_keys().take(16) {
            let shown: String = name.chars().take(64).collect();
            self.problems.add(
                ApiCode::UnknownParameter,
                &shown,
                "is not a parameter of this query",
            );
        }
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.into_error()) }
    }
}

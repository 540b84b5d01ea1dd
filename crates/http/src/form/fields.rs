//! Reading an object field by field, so that every problem of a body is told at once.

use serde_json::{Map, Value};

use super::json::kind_of;
use crate::error::{ApiCode, ApiError, FieldProblem};

/// The problems of one body, or of one item of a batch.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldProblem>);

impl Problems {
    pub(crate) fn add(&mut self, code: ApiCode, field: &str, message: impl Into<String>) {
        self.0.push(FieldProblem { field: field.to_owned(), code, message: message.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong with one of these fields.
    pub(crate) fn concern(&self, names: &[&str]) -> bool {
        self.0.iter().any(|problem| names.contains(&problem.field.as_str()))
    }

    /// Whether one of them has this code.
    pub(crate) fn has(&self, code: ApiCode) -> bool {
        self.0.iter().any(|problem| problem.code == code)
    }

    /// Whether all of them could go away by a change of settings, the request being well-formed.
    pub(crate) fn all_depend_on_settings(&self) -> bool {
        self.0.iter().all(|problem| problem.code.depends_on_settings())
    }

    pub(crate) fn into_error(self) -> ApiError {
        ApiError::of_fields(self.0)
    }
}

/// The fields of an object that nobody read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    object: Map<String, Value>,
}

impl Fields {
    pub(crate) const fn new(object: Map<String, Value>) -> Self {
        Self { object }
    }

    /// Takes a field; `null` is as good as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// Takes an optional text.
    pub(crate) fn text(&mut self, name: &str, problems: &mut Problems) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                let message = format!("must be a string, not {}", kind_of(&other));
                problems.add(ApiCode::WrongType, name, message);
                None
            }
        }
    }

    /// Takes a text that has to be there.
    pub(crate) fn required_text(&mut self, name: &str, problems: &mut Problems) -> Option<String> {
        if self.object.get(name).is_none_or(Value::is_null) {
            self.object.remove(name);
            problems.add(ApiCode::MissingField, name, "is required");
            return None;
        }
        self.text(name, problems)
    }

    /// Whatever is left is unknown.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for (name, _) in self.object.into_iter().take(16) {
            let shown: String = name.chars().take(64).collect();
            problems.add(ApiCode::UnknownField, &shown, "is not a field of this request");
        }
    }
}

/// Client text, cut for a message.
pub(crate) fn shown(text: &str) -> String {
    let head: String = text.chars().take(64).collect();
    if head.len() < text.len() { format!("{head:?}…") } else { format!("{head:?}") }
}

//! The fields of an event or a span, collected in their order.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// The names that a correlation id goes by in spans and events, the strongest first.
const CORRELATION_NAMES: [&str; 3] = ["correlation_id", "request_id", "withdrawal_id"];

/// Fields in the order in which they were recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(existing, _)| *existing == name) {
            Some((_, existing)) => *existing = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes the text of the field out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(existing, _)| *existing == name)?;
        Some(self.0.remove(index).1)
    }

    /// The fields of an outer span, below those that are here already.
    pub(crate) fn inherit(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if !self.0.iter().any(|(existing, _)| existing == name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    /// What connects this line with others, where the fields say it.
    pub(crate) fn correlation(&self) -> Option<String> {
        CORRELATION_NAMES.iter().find_map(|wanted| {
            let (_, value) = self.0.iter().find(|(name, _)| name == wanted)?;
            match value {
                Value::String(text) if text.is_empty() => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }
        })
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    // JSON numbers end at 2^53 for most readers; wider integers travel as text.
    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field.name(), value.to_string().into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field.name(), value.to_string().into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        self.put(field.name(), text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}").into());
    }
}

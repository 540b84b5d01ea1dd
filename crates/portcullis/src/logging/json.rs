//! The line for machines.

use serde_json::Value;

use super::event::Fields;
use super::layer::Line;

/// The names that every line has; a field of the same name is written with this before it.
const RESERVED: [&str; 6] = ["timestamp", "level", "service", "correlationId", "message", "target"];
const RENAMED: &str = "field_";

/// One JSON object, the required names first.
pub(super) fn format(line: &Line<'_>, fields: &Fields) -> String {
    let mut text = String::with_capacity(256);
    text.push('{');
    for (name, value) in [
        ("timestamp", line.timestamp.as_str()),
        ("level", line.level.as_str()),
        ("service", line.service),
        ("correlationId", line.correlation),
        ("message", line.message),
        ("target", line.target),
    ] {
        push(&mut text, name, &Value::from(value));
    }
    for (name, value) in &fields.0 {
        if RESERVED.contains(name) {
            push(&mut text, &format!("{RENAMED}{name}"), value);
        } else {
            push(&mut text, name, value);
        }
    }
    text.push_str("}\n");
    text
}

fn push(text: &mut String, name: &str, value: &Value) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push_str(&Value::from(name).to_string());
    text.push(':');
    text.push_str(&value.to_string());
}

//! The line for people.

use std::fmt::Write;

use serde_json::Value;
use tracing::Level;

use super::event::Fields;
use super::layer::Line;

/// Time, level, message, then `name=value`.
pub(super) fn format(line: &Line<'_>, fields: &Fields, color: bool) -> String {
    let (start, dim, end) =
        if color { (color_of(line.level), "\u{1b}[2m", "\u{1b}[0m") } else { ("", "", "") };
    // The date is known to who sits before the terminal.
    let time = line.timestamp.get(11..23).unwrap_or(&line.timestamp);
    let mut text =
        format!("{dim}{time}{end} {start}{:<5}{end} {}", line.level.as_str(), plain(line.message));
    for (name, value) in &fields.0 {
        let value = match value {
            Value::String(words) if !words.contains([' ', '"']) => plain(words),
            other => other.to_string(),
        };
        // Writing to a String cannot fail.
        let _written = write!(text, " {dim}{name}={end}{value}");
    }
    text.push('\n');
    text
}

const fn color_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG | Level::TRACE => "\u{1b}[36m",
    }
}

/// Control characters shown as escapes, so that no text from outside writes to the terminal.
fn plain(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut plain, letter| {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
        plain
    })
}

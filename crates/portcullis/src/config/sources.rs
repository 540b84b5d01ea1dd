//! The effective configuration as text, with where each value came from.

use std::collections::BTreeMap;
use std::fmt::Write;

use toml::Value;

use super::Config;

/// What is said of a value that nobody set.
const DEFAULT: &str = "default";

impl Config {
    /// TOML that is this configuration, without its secrets; behind each value a comment says where it came from.
    pub(crate) fn print_with_sources(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.print() {
            match value {
                Value::Table(table) => {
                    self.write_table(&mut text, &format!("[{name}]"), &name, &table);
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.write_item(&mut text, &name, &format!("{name}[{index}]"), item);
                    }
                }
                other => self.write_value(&mut text, "", &name, &other),
            }
        }
        text
    }

    /// Where each effective value came from, by its full name.
    pub(crate) fn sources(&self) -> BTreeMap<String, String> {
        let mut sources = BTreeMap::new();
        collect(&mut sources, "", &Value::Table(self.print()));
        for (key, source) in &mut sources {
            *source = self.source_of(key);
        }
        sources
    }

    fn source_of(&self, key: &str) -> String {
        self.origins.get(key).map_or_else(|| DEFAULT.to_owned(), ToString::to_string)
    }

    fn write_item(&self, text: &mut String, header: &str, path: &str, item: &Value) {
        if let Value::Table(table) = item {
            self.write_table(text, &format!("[[{header}]]"), path, table);
            for (key, value) in table {
                let Value::Array(items) = value else { continue };
                for (index, item) in items.iter().enumerate() {
                    let (header, path) =
                        (format!("{header}.{key}"), format!("{path}.{key}[{index}]"));
                    self.write_item(text, &header, &path, item);
                }
            }
        }
    }

    /// The values of a section; the sections below it come after them.
    fn write_table(&self, text: &mut String, header: &str, path: &str, table: &toml::Table) {
        let blank = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{blank}{header}");
        for (key, value) in table.iter().filter(|(_, value)| is_plain(value)) {
            self.write_value(text, path, key, value);
        }
        if header.starts_with("[[") {
            return;
        }
        for (key, value) in table {
            let full = format!("{path}.{key}");
            match value {
                Value::Table(table) => {
                    self.write_table(text, &format!("[{full}]"), &full, table);
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.write_item(text, &full, &format!("{full}[{index}]"), item);
                    }
                }
                _ => {}
            }
        }
    }

    fn write_value(&self, text: &mut String, path: &str, key: &str, value: &Value) {
        let full = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let _written = writeln!(text, "{key} = {value}  # {}", self.source_of(&full));
    }
}

/// Whether it is a value, and not a section or a list of them. No key holds a list of values.
const fn is_plain(value: &Value) -> bool {
    !matches!(value, Value::Table(_) | Value::Array(_))
}

fn collect(sources: &mut BTreeMap<String, String>, path: &str, value: &Value) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(sources, &full, value);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(sources, &format!("{path}[{index}]"), item);
            }
        }
        _ => {
            sources.insert(path.to_owned(), String::new());
        }
    }
}

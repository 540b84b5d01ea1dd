//! The reference of the configuration, as commented TOML and as JSON Schema. Both are what `config reference` and `config
//! schema` print, and both are checked in: a test compares.

mod keys;
mod signer;

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::section::REPEATED;
use super::tree::ENVIRONMENT_PREFIX;

/// Sections that are known with one `signer.kind` and unknown with another: their names are comments too.
const CHOSEN: [&str; 4] = ["signer.aws", "signer.kms", "signer.secret", "signer.pkcs11"];

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A whole number, from and to.
    Integer(u64, u64),
    /// `true` or `false`.
    Flag,
    /// One of these.
    Words(&'static [&'static str]),
    /// The path of a file or directory.
    Path,
    /// Text that is in no message; a file can hold it, under the key with `_file` behind its name.
    Secret,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key: &'static str,
    kind: Kind,
    /// What holds where it is not set; empty where that is said in words, or nothing.
    default: &'static str,
    about: &'static str,
}

const fn entry(key: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Entry {
    Entry { key, kind, default, about }
}

impl Entry {
    /// The section and the name in it.
    fn parts(&self) -> (&'static str, &'static str) {
        self.key.rsplit_once('.').unwrap_or(("", self.key))
    }

    /// The default as TOML, or an example of the kind.
    fn example(&self) -> String {
        match self.kind {
            Kind::Integer(..) | Kind::Flag if !self.default.is_empty() => self.default.to_owned(),
            Kind::Integer(least, _) => least.to_string(),
            Kind::Flag => "true".to_owned(),
            Kind::Text | Kind::Words(_) | Kind::Path | Kind::Secret => {
                toml::Value::from(self.default).to_string()
            }
        }
    }

    fn allowed(&self) -> String {
        match self.kind {
            Kind::Integer(least, most) => format!(" {least} to {most}."),
            Kind::Words(words) => format!(" One of {}.", words.join(", ")),
            Kind::Secret => format!(" Or {}_file.", self.parts().1),
            Kind::Text | Kind::Flag | Kind::Path => String::new(),
        }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text | Kind::Path | Kind::Secret => json!({ "type": "string" }),
            Kind::Integer(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Words(words) => json!({ "type": "string", "enum": words }),
        };
        schema["description"] = self.about.into();
        match self.kind {
            _ if self.default.is_empty() => {}
            Kind::Integer(..) | Kind::Flag => {
                schema["default"] = serde_json::from_str(self.default).unwrap_or(Value::Null);
            }
            _ => schema["default"] = self.default.into(),
        }
        schema
    }
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    keys::GROUPS.into_iter().flatten()
}

/// Every key with its meaning and its default, as a TOML file in which everything is a comment but the names of
/// the sections that are always there.
pub(crate) fn reference() -> String {
    let mut text = format!(
        "# Every key of the configuration, with its default; what has none shows an empty value. Printed by\n\
         # `portcullis config reference`. Each is also an environment variable: {ENVIRONMENT_PREFIX}SECTION__KEY, and\n\
         # {ENVIRONMENT_PREFIX}CHAIN__0__KEY for the first [[chain]]. docs/guide/configuration.md explains.\n"
    );
    let mut current = "";
    for entry in entries() {
        let (section, name) = entry.parts();
        if section != current {
            let header = if REPEATED.contains(&section) {
                format!("# [[{section}]]")
            } else if CHOSEN.contains(&section) {
                format!("# [{section}]")
            } else {
                format!("[{section}]")
            };
            // Writing to a string cannot fail.
            let _written = writeln!(text, "\n{header}");
            current = section;
        }
        let _written = writeln!(text, "# {}{}", entry.about, entry.allowed());
        let _written = writeln!(text, "# {name} = {}", entry.example());
    }
    text
}

/// The same as a JSON Schema, for editors and for who writes the configuration by a program.
pub(crate) fn json_schema() -> Value {
    let mut root = object();
    for entry in entries() {
        let (section, name) = entry.parts();
        let mut path = String::new();
        let mut place = &mut root;
        for part in section.split('.') {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
            let is_list = REPEATED.contains(&path.as_str());
            let next = &mut place["properties"][part];
            if next.is_null() {
                *next =
                    if is_list { json!({ "type": "array", "items": object() }) } else { object() };
            }
            place = if is_list { &mut next["items"] } else { next };
        }
        place["properties"][name] = entry.schema();
        if matches!(entry.kind, Kind::Secret) {
            let about = format!("A file that holds {}.", entry.key);
            place["properties"][format!("{name}_file")] =
                json!({ "type": "string", "description": about });
        }
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "The configuration of Portcullis".into();
    root
}

fn object() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": Map::new() })
}

#[cfg(test)]
pub(super) fn known_keys() -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for entry in entries() {
        keys.push(entry.key.to_owned());
        if matches!(entry.kind, Kind::Secret) {
            keys.push(format!("{}_file", entry.key));
        }
    }
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    #[test]
    fn the_reference_is_a_configuration_that_changes_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("portcullis.toml");
        std::fs::write(&path, reference()).expect("writable");
        let layers = Layers { file: Some(path), ..Layers::default() };
        let config = Config::load(layers).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.sources().values().filter(|source| *source != "default").count(), 0);
    }

    #[test]
    fn what_the_guide_has_is_what_is_printed() {
        let guide = include_str!("../../../../../docs/guide/configuration-reference.toml");
        assert_eq!(guide, reference(), "write it anew: portcullis config reference");
        let schema = include_str!("../../../../../docs/guide/configuration.schema.json");
        let printed = serde_json::to_string_pretty(&json_schema()).expect("plain data");
        assert_eq!(schema.trim_end(), printed, "write it anew: portcullis config schema");
    }

    #[test]
    fn defaults_are_of_their_kind() {
        for entry in entries() {
            let text = format!("value = {}", entry.example());
            assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{}: {text}", entry.key);
        }
    }
}

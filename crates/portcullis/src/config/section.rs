//! Reads one section of the merged configuration, key by key, and collects what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use secrecy::SecretString;

use super::problem::{Origin, Problem, nearest};
use super::secret::{REDACTED, SecretSource};
use super::tree::Node;

/// Sections that may stand several times.
pub(crate) const REPEATED: [&str; 6] = [
    "seal.previous",
    "signer.kms.key",
    "signer.pkcs11.key",
    "chain",
    "chain.provider",
    "chain.cap",
];

/// What is known while a configuration is read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Everything that is wrong so far.
    pub(crate) problems: Vec<Problem>,
    /// Where relative paths of the file begin.
    pub(crate) base: PathBuf,
    /// Every key that was looked for, known as `chain.provider.url`.
    pub(crate) known: BTreeSet<String>,
    /// Where each value came from that was set, by its full name: `chain[0].network`.
    pub(crate) origins: BTreeMap<String, Origin>,
}

impl Reading {
    /// Nothing is read yet.
    pub(crate) fn new(problems: Vec<Problem>, base: PathBuf) -> Self {
        Self { problems, base, known: BTreeSet::new(), origins: BTreeMap::new() }
    }
}

/// One section. Every key that is asked for is known; what remains at the end is not.
pub(crate) struct Section<'a> {
    reading: &'a mut Reading,
    path: String,
    entries: BTreeMap<String, Node>,
    known: Vec<&'static str>,
    origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Section<'a> {
    /// The section at `path` (empty for the top of the file).
    pub(crate) fn new(reading: &'a mut Reading, path: &str, node: Option<Node>) -> Self {
        let entries = match node {
            None => BTreeMap::new(),
            Some(Node::Table(entries)) => entries,
            Some(Node::Leaf(value, origin)) => {
                let allowed = format!("it is a section; write [{path}] and its keys below it");
                let value = shown(&value);
                reading.problems.push(Problem::Value {
                    key: path.to_owned(),
                    value,
                    origin,
                    allowed,
                });
                BTreeMap::new()
            }
            Some(Node::List(_)) => {
                reading.problems.push(Problem::Value {
                    key: path.to_owned(),
                    value: "[[…]]".to_owned(),
                    origin: Origin::File,
                    allowed: format!("it exists once; write [{path}] with single brackets"),
                });
                BTreeMap::new()
            }
        };
        Self {
            reading,
            path: path.to_owned(),
            entries,
            known: Vec::new(),
            origins: BTreeMap::new(),
        }
    }

    /// The dotted name of `key` here.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reads the section `name` below this one.
    pub(crate) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        self.known.push(name);
        let path = self.key(name);
        let node = self.entries.remove(name);
        let mut section = Section::new(self.reading, &path, node);
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Reads the repeated section `[[name]]` below this one.
    pub(crate) fn sections<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> T,
    ) -> Vec<T> {
        self.known.push(name);
        let path = self.key(name);
        let items = match self.entries.remove(name) {
            None => Vec::new(),
            Some(Node::List(items)) => items,
            Some(Node::Leaf(toml::Value::Array(items), _)) if items.is_empty() => Vec::new(),
            Some(Node::Leaf(value, origin)) => {
                let allowed = format!("it is a list of sections; write [[{path}]]");
                self.refuse_at(&path, shown(&value), origin, allowed);
                Vec::new()
            }
            Some(Node::Table(_)) => {
                let allowed = format!("it may exist several times; write [[{path}]]");
                self.refuse_at(&path, "[…]".to_owned(), Origin::File, allowed);
                Vec::new()
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let mut section = Section::new(self.reading, &format!("{path}[{index}]"), Some(item));
            values.push(read(&mut section));
            section.finish();
        }
        values
    }

    fn take(&mut self, key: &'static str) -> Option<(toml::Value, Origin)> {
        self.known.push(key);
        // `chain[0].provider[1].url` is the key `chain.provider.url`.
        let full = self.key(key);
        let name = full.split('.').map(without_index).collect::<Vec<_>>().join(".");
        self.reading.known.insert(name);
        match self.entries.remove(key)? {
            Node::Leaf(value, origin) => {
                self.origins.insert(key, origin.clone());
                self.reading.origins.insert(full, origin.clone());
                Some((value, origin))
            }
            Node::Table(_) | Node::List(_) => {
                let allowed = "it is a single value, not a section".to_owned();
                self.refuse_at(&self.key(key), "{…}".to_owned(), Origin::File, allowed);
                None
            }
        }
    }

    /// Text that `parse` accepts; `allowed` says which that is.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (value, origin) = self.take(key)?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.refuse_at(&self.key(key), shown(&value), origin, allowed.to_owned());
        }
        parsed
    }

    /// Text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, "text that is not empty", |text| {
            (!text.trim().is_empty()).then(|| text.to_owned())
        })
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let allowed = format!("one of {}", names.join(", "));
        self.parsed(key, &allowed, |text| {
            words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (value, origin) = self.take(key)?;
        let number = match (&value, &origin) {
            (toml::Value::Integer(number), _) => u64::try_from(*number).ok(),
            // The environment and the flags know only text.
            (toml::Value::String(text), Origin::Environment(_) | Origin::Flag(_)) => {
                text.parse().ok()
            }
            _ => None,
        };
        let within = number.filter(|number| bounds.contains(number));
        if within.is_none() {
            let allowed = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            self.refuse_at(&self.key(key), shown(&value), origin, allowed);
        }
        within
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (value, origin) = self.take(key)?;
        let flag = match (&value, &origin) {
            (toml::Value::Boolean(flag), _) => Some(*flag),
            (toml::Value::String(text), Origin::Environment(_) | Origin::Flag(_)) => {
                text.parse().ok()
            }
            _ => None,
        };
        if flag.is_none() {
            self.refuse_at(&self.key(key), shown(&value), origin, "true or false".to_owned());
        }
        flag
    }

    /// A path. One of the file begins beside the file, others in the working directory.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let (value, origin) = self.take(key)?;
        match value.as_str().filter(|text| !text.is_empty()) {
            Some(text) if origin == Origin::File => Some(self.reading.base.join(text)),
            Some(text) => Some(PathBuf::from(text)),
            None => {
                let allowed = "the path of a file or directory".to_owned();
                self.refuse_at(&self.key(key), shown(&value), origin, allowed);
                None
            }
        }
    }

    /// Where the file's relative paths begin, with `name` behind it: the place of a default.
    pub(crate) fn beside_the_file(&self, name: &str) -> PathBuf {
        self.reading.base.join(name)
    }

    /// A secret, given as `key` or in the file that `file_key` names. Its value is in no message.
    pub(crate) fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<SecretSource> {
        let direct = self.take(key);
        let path = self.path(file_key);
        let full = self.key(key);
        match (direct, path) {
            (Some((_, origin)), Some(_)) => {
                let allowed = format!("set {full} or {full}_file, not both");
                self.refuse_at(&full, REDACTED.to_owned(), origin, allowed);
                None
            }
            (Some((value, origin)), None) => {
                let secret = value.as_str().filter(|text| !text.trim().is_empty());
                if secret.is_none() {
                    let allowed = "text that is not empty".to_owned();
                    self.refuse_at(&full, REDACTED.to_owned(), origin.clone(), allowed);
                }
                let secret = SecretString::from(secret?.to_owned());
                Some(SecretSource::direct(full, origin, secret))
            }
            (None, Some(path)) => {
                let origin = self.origins.get(file_key).cloned().unwrap_or(Origin::File);
                Some(SecretSource::file(self.key(file_key), origin, path))
            }
            (None, None) => None,
        }
    }

    /// What `value` holds, or a problem that says what has to be set.
    pub(crate) fn required<T>(&mut self, key: &str, allowed: &str, value: Option<T>) -> Option<T> {
        let full = self.key(key);
        let already = self.reading.problems.iter().any(|problem| match problem {
            Problem::Value { key, .. } => *key == full || *key == format!("{full}_file"),
            Problem::Unknown { .. } | Problem::Missing { .. } => false,
        });
        if value.is_none() && !already {
            self.reading.problems.push(Problem::Missing { key: full, allowed: allowed.to_owned() });
        }
        value
    }

    /// Records that the value of `key` is not allowed.
    pub(crate) fn refuse(&mut self, key: &str, value: impl Display, allowed: impl Display) {
        let full = self.key(key);
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::File);
        self.refuse_at(&full, value.to_string(), origin, allowed.to_string());
    }

    fn refuse_at(&mut self, key: &str, value: String, origin: Origin, allowed: String) {
        let key = key.to_owned();
        self.reading.problems.push(Problem::Value { key, value, origin, allowed });
    }

    /// Names the keys that nobody asked for.
    pub(crate) fn finish(mut self) {
        for (key, node) in std::mem::take(&mut self.entries) {
            let origin = origin_of(&node);
            let hint = match nearest(&key, self.known.iter().copied()) {
                Some(name) => format!("did you mean {}?", self.key(name)),
                None => format!("known here are {}", self.known.join(", ")),
            };
            let key = self.key(&key);
            self.reading.problems.push(Problem::Unknown { key, origin, hint });
        }
    }
}

fn origin_of(node: &Node) -> Origin {
    match node {
        Node::Leaf(_, origin) => origin.clone(),
        Node::Table(entries) => entries.values().next().map_or(Origin::File, origin_of),
        Node::List(items) => items.first().map_or(Origin::File, origin_of),
    }
}

/// The value as a message shows it.
fn shown(value: &toml::Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 80 {
        let short: String = text.chars().take(77).collect();
        return format!("{short}…");
    }
    text
}

fn without_index(part: &str) -> &str {
    part.split_once('[').map_or(part, |(name, _)| name)
}

//! The layers of a configuration, merged: file below environment below flags.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::{ConfigError, Origin, Problem};

/// What environment variables of the configuration begin with.
pub(crate) const ENVIRONMENT_PREFIX: &str = "PORTCULLIS__";

/// A value of the merged configuration, and where it came from.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A single value, or a list of single values.
    Leaf(toml::Value, Origin),
    /// A section.
    Table(BTreeMap<String, Node>),
    /// Repeated sections.
    List(Vec<Node>),
}

impl Node {
    /// Nothing yet.
    pub(crate) fn empty() -> Self {
        Self::Table(BTreeMap::new())
    }

    /// Parses the text of the file at `path`.
    pub(crate) fn from_file(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            let message = error.message().to_owned();
            ConfigError::Malformed { path: path.to_owned(), line, message }
        })?;
        Ok(Self::from_toml(toml::Value::Table(table)))
    }

    fn from_toml(value: toml::Value) -> Self {
        match value {
            toml::Value::Table(table) => Self::Table(
                table.into_iter().map(|(key, value)| (key, Self::from_toml(value))).collect(),
            ),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                Self::List(items.into_iter().map(Self::from_toml).collect())
            }
            leaf => Self::Leaf(leaf, Origin::File),
        }
    }

    /// Lays the environment over the tree: `PORTCULLIS__SERVER__LISTEN` is `server.listen`, and
    /// `PORTCULLIS__CHAIN__0__NETWORK` is the `network` of the first `[[chain]]`.
    pub(crate) fn overlay_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<Problem> {
        let mut named: Vec<(Vec<String>, String, String)> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase();
                Some((path.split("__").map(str::to_owned).collect(), name, value))
            })
            .collect();
        // `CHAIN__9` before `CHAIN__10`: a list grows one by one.
        named.sort_by_key(|(path, ..)| {
            path.iter().map(|part| (part.parse::<usize>().ok(), part.clone())).collect::<Vec<_>>()
        });
        named
            .into_iter()
            .filter_map(|(path, name, value)| {
                let origin = Origin::Environment(name);
                self.set(&path, toml::Value::String(value), origin).err()
            })
            .collect()
    }

    /// Sets one value. A secret and its `_file` form are one setting: the higher layer replaces both.
    pub(crate) fn set(
        &mut self,
        path: &[String],
        value: toml::Value,
        origin: Origin,
    ) -> Result<(), Problem> {
        let (last, parents) = match path.split_last() {
            Some((last, parents)) if !path.iter().any(String::is_empty) => (last, parents),
            _ => return Err(misplaced(path, origin, "a name is empty")),
        };
        let mut node = self;
        for (depth, part) in parents.iter().enumerate() {
            let next_is_index = path[depth + 1].parse::<usize>().is_ok();
            node = match node.child(part, next_is_index) {
                Some(child) => child,
                None => return Err(misplaced(path, origin, "no section is there")),
            };
        }
        let Self::Table(table) = node else {
            return Err(misplaced(path, origin, "no section is there"));
        };
        let twin = match last.strip_suffix("_file") {
            Some(stem) => stem.to_owned(),
            None => format!("{last}_file"),
        };
        let lower = |node: &Self| !matches!(node, Self::Leaf(_, at) if same_layer(at, &origin));
        if table.get(&twin).is_some_and(lower) {
            table.remove(&twin);
        }
        table.insert(last.clone(), Self::Leaf(value, origin));
        Ok(())
    }

    /// How many `[[name]]` there are at the top.
    pub(crate) fn count(&self, name: &str) -> usize {
        match self {
            Self::Table(table) => match table.get(name) {
                Some(Self::List(items)) => items.len(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Which of the `[[name]]` at the top has that text under `key`.
    pub(crate) fn position(&self, name: &str, key: &str, text: &str) -> Option<usize> {
        let Self::Table(table) = self else { return None };
        let Some(Self::List(items)) = table.get(name) else { return None };
        items.iter().position(|item| {
            let Self::Table(entries) = item else { return false };
            matches!(entries.get(key), Some(Self::Leaf(value, _)) if value.as_str() == Some(text))
        })
    }

    /// Whether a value is there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let mut node = self;
        for part in path.split('.') {
            let child = match node {
                Self::Table(table) => table.get(part),
                Self::List(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                Self::Leaf(..) => None,
            };
            match child {
                Some(child) => node = child,
                None => return false,
            }
        }
        true
    }

    /// The child by name or index, made where it is absent: an index may be one behind the last.
    fn child(&mut self, part: &str, of_list: bool) -> Option<&mut Self> {
        match self {
            Self::Table(table) => {
                Some(table.entry(part.to_owned()).or_insert_with(|| {
                    if of_list { Self::List(Vec::new()) } else { Self::empty() }
                }))
            }
            Self::List(items) => {
                let index: usize = part.parse().ok()?;
                if index == items.len() {
                    items.push(Self::empty());
                }
                items.get_mut(index)
            }
            Self::Leaf(..) => None,
        }
    }
}

/// Of the environment the long names are a layer of their own, above the usual ones.
fn same_layer(left: &Origin, right: &Origin) -> bool {
    match (left, right) {
        (Origin::Environment(left), Origin::Environment(right)) => {
            left.starts_with(ENVIRONMENT_PREFIX) == right.starts_with(ENVIRONMENT_PREFIX)
        }
        _ => std::mem::discriminant(left) == std::mem::discriminant(right),
    }
}

fn misplaced(path: &[String], origin: Origin, why: &str) -> Problem {
    let hint = format!(
        "{why}; the form is {ENVIRONMENT_PREFIX}SECTION__KEY, and \
         {ENVIRONMENT_PREFIX}CHAIN__0__KEY for repeated sections, counted from 0 without gaps"
    );
    Problem::Unknown { key: path.join("."), origin, hint }
}

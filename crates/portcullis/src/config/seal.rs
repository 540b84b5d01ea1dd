//! `[seal]`: the keys that accepted withdrawals and other rows are sealed with.

use portcullis_core::seal::{SealKeyId, SealingKeys};
use zeroize::Zeroizing;

use super::integer;
use super::problem::Problem;
use super::secret::SecretSource;
use super::section::Section;

/// One sealing key.
#[derive(Clone, Debug)]
struct SealKey {
    id: SealKeyId,
    key: SecretSource,
}

/// `[seal]`
#[derive(Clone, Debug, Default)]
pub(crate) struct SealConfig {
    current: Option<SealKey>,
    previous: Vec<SealKey>,
}

const KEY: &str =
    "64 hexadecimal digits, not all 0 (32 random bytes); `portcullis init` writes a file of them";

impl SealConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let current = read_key(section, SealKeyId(1));
        let previous: Vec<SealKey> = section
            .sections("previous", |previous| {
                let read = read_key(previous, SealKeyId(0));
                if read.as_ref().is_some_and(|key| key.id == SealKeyId(0)) {
                    previous.required("key_id", "the number of this older key", None::<()>);
                }
                let file = "the older key, or the file that holds it";
                previous.required("key", file, read)
            })
            .into_iter()
            .flatten()
            .collect();
        let mut seen: Vec<SealKeyId> = current.iter().map(|key| key.id).collect();
        for key in &previous {
            if seen.contains(&key.id) {
                section.refuse("previous", key.id.0, "every key has a key_id of its own");
            }
            seen.push(key.id);
        }
        Self { current, previous }
    }

    /// The keys.
    pub(crate) fn keys(&self) -> Result<SealingKeys, Problem> {
        let current = self.current.as_ref().ok_or_else(|| Problem::Missing {
            key: "seal.key_file".to_owned(),
            allowed: format!("a file with {KEY}"),
        })?;
        let keys = SealingKeys::new(current.id, current.key.parse(KEY, parse_key)?);
        self.previous.iter().try_fold(keys, |keys, older| {
            Ok(keys.with_verifying(older.id, older.key.parse(KEY, parse_key)?))
        })
    }

    /// Everything that is wrong with the keys themselves. That there is none is not said again where
    /// `is_told`.
    pub(super) fn problems(&self, is_told: bool) -> Vec<Problem> {
        if self.current.is_none() {
            return if is_told { Vec::new() } else { self.keys().err().into_iter().collect() };
        }
        let keys = self.current.iter().chain(&self.previous);
        keys.filter_map(|key| key.key.parse(KEY, parse_key).err()).collect()
    }

    /// What is told when no API key and no asset of the database has a seal of these keys.
    pub(crate) fn misfit(&self) -> Problem {
        let allowed = "the key, with its number in seal.key_id, that the API keys and assets of this \
                       database were sealed with; after a rotation the older key belongs into \
                       [[seal.previous]]. Nothing that was sealed before verifies with this one";
        match &self.current {
            Some(current) => {
                current.key.refused(&format!("{allowed} (seal.key_id = {})", current.id.0))
            }
            None => {
                Problem::Missing { key: "seal.key_file".to_owned(), allowed: allowed.to_owned() }
            }
        }
    }

    pub(super) fn print(&self) -> toml::Table {
        let mut table = self.current.as_ref().map(print_key).unwrap_or_default();
        let previous: Vec<toml::Value> =
            self.previous.iter().map(|key| toml::Value::Table(print_key(key))).collect();
        if !previous.is_empty() {
            table.insert("previous".into(), previous.into());
        }
        table
    }
}

fn read_key(section: &mut Section<'_>, id_without: SealKeyId) -> Option<SealKey> {
    let id = section.number("key_id", 1..=u64::from(u32::MAX));
    let id = id.and_then(|id| u32::try_from(id).ok()).map_or(id_without, SealKeyId);
    section.secret("key", "key_file").map(|key| SealKey { id, key })
}

fn print_key(key: &SealKey) -> toml::Table {
    let (name, value) = key.key.printed("key");
    toml::Table::from_iter([
        ("key_id".to_owned(), integer(u64::from(key.id.0))),
        (name, value.into()),
    ])
}

fn parse_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), key.as_mut_slice()).ok()?;
    // Everybody knows that one: a file of zeros is a template that nobody filled in.
    key.iter().any(|byte| *byte != 0).then_some(key)
}

//! `[signer]` `kind`, and the section of each kind: who holds the private keys.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use portcullis_core::address::parse_address;
use portcullis_core::chain::ChainSpec;
use portcullis_keys::keyring::AwsAccess;

use crate::config::secret::SecretSource;
use crate::config::section::Section;

/// Who holds the keys.
#[derive(Clone, Debug)]
pub(crate) enum HolderConfig {
    Keystore,
    Kms(KmsConfig),
    Secret(SecretConfig),
    Token(TokenConfig),
}

/// `[signer.kms]`
#[derive(Clone, Debug)]
pub(crate) struct KmsConfig {
    pub(crate) access: AwsAccess,
    pub(crate) concurrency: usize,
    pub(crate) keys: Vec<KeyConfig>,
}

/// `[signer.secret]`
#[derive(Clone, Debug)]
pub(crate) struct SecretConfig {
    pub(crate) access: AwsAccess,
    pub(crate) name: String,
    pub(crate) wrapping: WrapWord,
    pub(crate) kms_key: Option<String>,
    pub(crate) kept_for: Duration,
}

/// Who wraps the data key of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrapWord {
    Kms,
    Operator,
    Both,
}

/// `[signer.pkcs11]`
#[derive(Clone, Debug)]
pub(crate) struct TokenConfig {
    pub(crate) module: PathBuf,
    pub(crate) token: String,
    pub(crate) pin: Option<SecretSource>,
    pub(crate) sessions_max: usize,
    pub(crate) keys: Vec<KeyConfig>,
}

/// A key that its holder knows by a name: an id of KMS, or a label.
#[derive(Clone, Debug)]
pub(crate) struct KeyConfig {
    pub(crate) name: String,
    pub(crate) chain: &'static ChainSpec,
    pub(crate) address: Option<Address>,
}

#[derive(Clone, Copy)]
enum Kind {
    Keystore,
    Kms,
    Secret,
    Token,
}

const KINDS: [(&str, Kind); 4] = [
    ("keystore", Kind::Keystore),
    ("kms", Kind::Kms),
    ("secrets-manager", Kind::Secret),
    ("pkcs11", Kind::Token),
];

const WRAPPINGS: [(&str, WrapWord); 3] =
    [("kms", WrapWord::Kms), ("operator", WrapWord::Operator), ("both", WrapWord::Both)];

const ADDRESS: &str = "the key's address with its EIP-55 checksum";

impl HolderConfig {
    /// Reads the kind and the section of that kind. A section of another kind is an unknown key.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        match section.word("kind", &KINDS).unwrap_or(Kind::Keystore) {
            Kind::Keystore => Self::Keystore,
            Kind::Kms => {
                let access = section.section("aws", read_access);
                Self::Kms(section.section("kms", |it| KmsConfig::read(it, access)))
            }
            Kind::Secret => {
                let access = section.section("aws", read_access);
                Self::Secret(section.section("secret", |it| SecretConfig::read(it, access)))
            }
            Kind::Token => Self::Token(section.section("pkcs11", TokenConfig::read)),
        }
    }

    pub(crate) const fn is_keystore(&self) -> bool {
        matches!(self, Self::Keystore)
    }

    /// The kind, as the configuration names it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Keystore => "keystore",
            Self::Kms(_) => "kms",
            Self::Secret(_) => "secrets-manager",
            Self::Token(_) => "pkcs11",
        }
    }

    pub(super) fn print(&self, table: &mut toml::Table) {
        table.insert("kind".into(), self.kind().into());
        match self {
            Self::Keystore => {}
            Self::Kms(kms) => {
                table.insert("aws".into(), print_access(&kms.access).into());
                let mut section = toml::Table::new();
                section.insert("concurrency".into(), count(kms.concurrency));
                section.insert("key".into(), print_keys("id", &kms.keys));
                table.insert("kms".into(), section.into());
            }
            Self::Secret(secret) => {
                table.insert("aws".into(), print_access(&secret.access).into());
                table.insert("secret".into(), secret.print().into());
            }
            Self::Token(token) => {
                table.insert("pkcs11".into(), token.print().into());
            }
        }
    }
}

impl KmsConfig {
    fn read(section: &mut Section<'_>, access: AwsAccess) -> Self {
        let concurrency =
            section.number("concurrency", 1..=256).and_then(|it| usize::try_from(it).ok());
        let keys = read_keys(section, "id");
        Self { access, concurrency: concurrency.unwrap_or(32), keys }
    }
}

impl SecretConfig {
    fn read(section: &mut Section<'_>, access: AwsAccess) -> Self {
        let name = section.text("name");
        let name = section.required("name", "the name of the secret", name);
        let wrapping = section.word("wrapping", &WRAPPINGS).unwrap_or(WrapWord::Kms);
        let mut kms_key = section.text("kms_key");
        if wrapping == WrapWord::Operator {
            if let Some(key) = &kms_key {
                section.refuse("kms_key", key, "left out with wrapping = \"operator\"");
            }
        } else {
            let allowed = "the symmetric key of KMS that wraps the data key: its id, ARN or alias";
            kms_key = section.required("kms_key", allowed, kms_key);
        }
        let kept_s = section.number("kept_seconds", 0..=86_400).unwrap_or(300);
        let kept_for = Duration::from_secs(kept_s);
        Self { access, name: name.unwrap_or_default(), wrapping, kms_key, kept_for }
    }

    fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("name".into(), self.name.clone().into());
        let word = WRAPPINGS.iter().find(|(_, word)| *word == self.wrapping);
        table.insert("wrapping".into(), word.map_or("kms", |(name, _)| *name).into());
        if let Some(key) = &self.kms_key {
            table.insert("kms_key".into(), key.clone().into());
        }
        table.insert("kept_seconds".into(), crate::config::integer(self.kept_for.as_secs()));
        table
    }
}

impl TokenConfig {
    fn read(section: &mut Section<'_>) -> Self {
        let module = section.path("module");
        let module =
            section.required("module", "the PKCS#11 library of the module's maker", module);
        let token = section.text("token");
        let token = section.required("token", "the label of the token", token);
        let pin = section.secret("pin", "pin_file");
        let pin = section.required("pin", "the PIN of the token's user, better as pin_file", pin);
        let sessions =
            section.number("sessions_max", 1..=256).and_then(|it| usize::try_from(it).ok());
        Self {
            module: module.unwrap_or_default(),
            token: token.unwrap_or_default(),
            pin,
            sessions_max: sessions.unwrap_or(8),
            keys: read_keys(section, "label"),
        }
    }

    fn print(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("module".into(), self.module.display().to_string().into());
        table.insert("token".into(), self.token.clone().into());
        if let Some(pin) = &self.pin {
            let (key, value) = pin.printed("pin");
            table.insert(key, value.into());
        }
        table.insert("sessions_max".into(), count(self.sessions_max));
        table.insert("key".into(), print_keys("label", &self.keys));
        table
    }
}

fn read_access(section: &mut Section<'_>) -> AwsAccess {
    let defaults = AwsAccess::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    AwsAccess {
        region: section.text("region"),
        endpoint: section.parsed(
            "endpoint",
            "a URL that begins with http:// or https://",
            |text| {
                (text.starts_with("http://") || text.starts_with("https://"))
                    .then(|| text.to_owned())
            },
        ),
        request_timeout: milliseconds(
            section.number("request_timeout_ms", 50..=60_000),
            defaults.request_timeout,
        ),
        call_timeout: milliseconds(
            section.number("call_timeout_ms", 50..=600_000),
            defaults.call_timeout,
        ),
        tries_max: section
            .number("tries_max", 1..=10)
            .and_then(|tries| u32::try_from(tries).ok())
            .unwrap_or(defaults.tries_max),
    }
}

fn print_access(access: &AwsAccess) -> toml::Table {
    let mut table = toml::Table::new();
    if let Some(region) = &access.region {
        table.insert("region".into(), region.clone().into());
    }
    if let Some(endpoint) = &access.endpoint {
        table.insert("endpoint".into(), endpoint.clone().into());
    }
    for (key, wait) in
        [("request_timeout_ms", access.request_timeout), ("call_timeout_ms", access.call_timeout)]
    {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        table.insert(key.into(), crate::config::integer(milliseconds));
    }
    table.insert("tries_max".into(), crate::config::integer(u64::from(access.tries_max)));
    table
}

fn read_keys(section: &mut Section<'_>, name: &'static str) -> Vec<KeyConfig> {
    let keys: Vec<KeyConfig> =
        section.sections("key", |it| read_key(it, name)).into_iter().flatten().collect();
    section.required(
        "key",
        "at least one [[key]] with its network",
        (!keys.is_empty()).then_some(()),
    );
    keys
}

fn read_key(section: &mut Section<'_>, name: &'static str) -> Option<KeyConfig> {
    let networks: Vec<&str> = ChainSpec::ALL.iter().map(|chain| chain.network).collect();
    let allowed = format!("one of {}", networks.join(", "));
    let given = section.text(name);
    let given = section.required(name, "how its holder calls the key", given);
    let chain = section.parsed("network", &allowed, ChainSpec::by_network);
    let chain = section.required("network", &allowed, chain);
    let address = section.parsed("address", ADDRESS, |text| parse_address(text).ok());
    Some(KeyConfig { name: given?, chain: chain?, address })
}

fn print_keys(name: &str, keys: &[KeyConfig]) -> toml::Value {
    let keys = keys.iter().map(|key| {
        let mut table = toml::Table::new();
        table.insert(name.to_owned(), key.name.clone().into());
        table.insert("network".into(), key.chain.network.into());
        if let Some(address) = key.address {
            table.insert("address".into(), address.to_checksum(None).into());
        }
        toml::Value::Table(table)
    });
    toml::Value::Array(keys.collect())
}

fn count(number: usize) -> toml::Value {
    crate::config::integer(number as u64)
}

//! Who holds the keys of a fleet's signers: one keystore for each, or the same keys for both and a journal that they share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use k256::ecdsa::SigningKey;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::proxy::Proxy;
use super::servers::listens;
use crate::installation::{Installation, NETWORK};
use crate::service::Service;

const REGION: &str = "eu-central-1";
const PIN: &str = "924613";
const OFFICER_PIN: &str = "817263";
const TOKEN: &str = "portcullis";
/// The folder of the token, which is taken away and put back.
const TOKENS: &str = "tokens";
const TOKENS_AWAY: &str = "tokens-away";
/// What a private key of the curve secp256k1 has before and after its 32 bytes, in PKCS#8; then comes the public key.
const PKCS8_HEAD: &str = "308184020100301006072a8648ce3d020106052b8104000a046d306b0201010420";
const PKCS8_MIDDLE: &str = "a144034200";

/// Who holds the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// A keystore with wallets of its own for each signer, and a journal file beside it
    #[default]
    Apart,
    /// One keystore, whose wallets both signers serve
    Shared,
    /// AWS KMS
    Kms,
    /// AWS Secrets Manager
    SecretsManager,
    /// A PKCS#11 token, of `SoftHSM2`
    Pkcs11,
}

impl Keys {
    /// Whether both signers have the same keys, and so need a journal in a database.
    pub(super) const fn are_shared(self) -> bool {
        !matches!(self, Self::Apart)
    }

    const fn is_keystore(self) -> bool {
        matches!(self, Self::Apart | Self::Shared)
    }
}

/// What holds them, running.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) keys: Keys,
    dir: PathBuf,
    /// KMS and Secrets Manager, and what stands before them.
    moto: Option<(Service, SocketAddr)>,
    pub(super) proxy: Option<Proxy>,
}

impl Holder {
    /// Starts what `keys` need; `moto_at` is a free address.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub(super) async fn start(
        keys: Keys,
        root: &Path,
        dir: &Path,
        moto_at: SocketAddr,
    ) -> Result<Self> {
        let mut holder = Self { keys, dir: dir.to_path_buf(), moto: None, proxy: None };
        match keys {
            Keys::Apart | Keys::Shared => {}
            Keys::Kms | Keys::SecretsManager => {
                let mut command = Command::new(root.join("target/tools/moto/bin/python"));
                command.arg(root.join("crates/testkit/moto_server.py"));
                command.arg(moto_at.port().to_string()).current_dir(dir);
                let moto = Service::start("the keys' moto", command, &dir.join("moto-keys.log"));
                let moto = moto.context("`cargo xtask test` installs it")?;
                listens(moto_at, &moto).await?;
                holder.moto = Some((moto, moto_at));
                holder.proxy = Some(Proxy::before(moto_at, false).await?);
            }
            Keys::Pkcs11 => {
                std::fs::create_dir(dir.join(TOKENS))?;
                let text = format!(
                    "directories.tokendir = {}\nlog.level = ERROR\nslots.removable = true\n",
                    dir.join(TOKENS).display()
                );
                std::fs::write(holder.token_settings(), text)?;
                let label = ["--label", TOKEN, "--pin", PIN, "--so-pin", OFFICER_PIN];
                holder.softhsm(&[&["--init-token", "--free"], &label[..]].concat()).await?;
            }
        }
        Ok(holder)
    }

    /// The installation, with what its environment needs for these keys.
    pub(super) fn equip(&self, installation: Installation) -> Installation {
        match self.keys {
            Keys::Apart | Keys::Shared => installation,
            Keys::Kms | Keys::SecretsManager => {
                installation.with("AWS_ACCESS_KEY_ID", "test").with("AWS_SECRET_ACCESS_KEY", "test")
            }
            Keys::Pkcs11 => {
                installation.with("SOFTHSM2_CONF", &self.token_settings().display().to_string())
            }
        }
    }

    /// Makes `count` keys and, where they are shared, sets the signers up for the journal at `journal_url`.
    ///
    /// # Errors
    /// The holder refuses, or a command of `portcullis` fails.
    pub(super) async fn make_keys(
        &self,
        installation: &Installation,
        count: u16,
        journal_url: Option<&str>,
    ) -> Result<Vec<Address>> {
        let config = installation.config();
        let Some(url) = journal_url else { return installation.new_keys(count) };
        let journal = format!("\n[signer.journal]\nkind = \"mysql\"\nurl = \"{url}\"\n");
        if self.keys.is_keystore() {
            let text = std::fs::read_to_string(config)?;
            std::fs::write(config, format!("{text}{journal}"))?;
            return installation.new_keys(count);
        }
        let signer = format!("{}{journal}", self.section(count).await?);
        let text = without_section(&std::fs::read_to_string(config)?, "signer");
        std::fs::write(config, format!("{text}\n{signer}"))?;
        if self.keys == Keys::SecretsManager {
            installation.new_keys(count)?;
        }
        let id = installation.begin_journal()?;
        std::fs::write(config, format!("{text}\n{signer}id = \"{id}\"\n"))?;
        let keys = installation.keys()?;
        ensure!(keys.len() == usize::from(count), "{} keys instead of {count}", keys.len());
        Ok(keys)
    }

    /// The section of the configuration, without its journal.
    async fn section(&self, count: u16) -> Result<String> {
        let aws = self.proxy.as_ref().map(|proxy| {
            format!(
                "[signer.aws]\nregion = \"{REGION}\"\nendpoint = \"http://{}\"\n\
                 request_timeout_ms = 4000\ncall_timeout_ms = 8000\ntries_max = 2\n",
                proxy.address()
            )
        });
        let mut text = aws.unwrap_or_default();
        let kind = match self.keys {
            Keys::Apart | Keys::Shared => anyhow::bail!("a keystore has a section already"),
            Keys::Kms => {
                text.push_str("[signer.kms]\nconcurrency = 4\n");
                for _ in 0..count {
                    let id = self.new_kms_key("ECC_SECG_P256K1", "SIGN_VERIFY").await?;
                    text.push_str(&key("kms", "id", &id));
                }
                "kind = \"kms\"\n".to_owned()
            }
            Keys::SecretsManager => {
                let wrapping = self.new_kms_key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await?;
                text = format!(
                    "{text}[signer.secret]\nname = \"portcullis/hot\"\nwrapping = \"both\"\n\
                     kms_key = \"{wrapping}\"\nkept_seconds = 1\n"
                );
                format!("kind = \"secrets-manager\"\nsecond_secret = \"{}\"\n", "07".repeat(32))
            }
            Keys::Pkcs11 => {
                text = format!(
                    "[signer.pkcs11]\nmodule = \"{}\"\ntoken = \"{TOKEN}\"\npin = \"{PIN}\"\n",
                    module()?.display()
                );
                for number in 0..count {
                    let label = format!("payouts-{number}");
                    self.new_token_key(&label, number).await?;
                    text.push_str(&key("pkcs11", "label", &label));
                }
                "kind = \"pkcs11\"\n".to_owned()
            }
        };
        Ok(format!("[signer]\n{kind}{text}"))
    }

    async fn new_kms_key(&self, spec: &str, usage: &str) -> Result<String> {
        let (_, moto_at) = self.moto.as_ref().context("KMS does not run")?;
        let credential = format!("Credential=test/20260101/{REGION}/kms/aws4_request");
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .post(format!("http://{moto_at}/"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "TrentService.CreateKey")
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=00"),
            )
            .body(json!({ "KeySpec": spec, "KeyUsage": usage }).to_string())
            .send()
            .await?;
        let told: Value = serde_json::from_str(&answer.text().await?)?;
        let id = told["KeyMetadata"]["KeyId"].as_str();
        id.map(str::to_owned).with_context(|| format!("KMS made no key: {told}"))
    }

    async fn new_token_key(&self, label: &str, number: u16) -> Result<()> {
        let file = self.dir.join(format!("{label}.pem"));
        std::fs::write(&file, new_private_key()?)?;
        let (path, id) = (file.display().to_string(), format!("{number:04x}"));
        let of_key = ["--import", &path, "--token", TOKEN, "--label", label];
        self.softhsm(&[&of_key[..], &["--id", &id, "--pin", PIN]].concat()).await
    }

    async fn softhsm(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", self.token_settings())
            .output()
            .await
            .context("softhsm2-util could not be started: install softhsm2")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "softhsm2-util ended with {}: {said}", output.status);
        Ok(())
    }

    fn token_settings(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    /// Takes the token away.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn take_token(&self) -> Result<()> {
        Ok(std::fs::rename(self.dir.join(TOKENS), self.dir.join(TOKENS_AWAY))?)
    }

    /// Puts the token back.
    ///
    /// # Errors
    /// It is there, or lost.
    pub(super) fn put_token_back(&self) -> Result<()> {
        Ok(std::fs::rename(self.dir.join(TOKENS_AWAY), self.dir.join(TOKENS))?)
    }

    /// Ends what was started.
    ///
    /// # Errors
    /// It had ended by itself.
    pub(super) async fn stop(self) -> Result<()> {
        match self.moto {
            Some((moto, _)) => moto.kill().await,
            None => Ok(()),
        }
    }
}

fn key(kind: &str, by: &str, name: &str) -> String {
    format!("[[signer.{kind}.key]]\n{by} = \"{name}\"\nnetwork = \"{NETWORK}\"\n")
}

/// A new private key of the curve secp256k1, as a file that `softhsm2-util` imports.
fn new_private_key() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let signing = SigningKey::from_bytes(&bytes.into())?;
    let mut document = hex::decode(PKCS8_HEAD)?;
    document.extend(bytes);
    document.extend(hex::decode(PKCS8_MIDDLE)?);
    document.extend(signing.verifying_key().to_encoded_point(false).as_bytes());
    let text = STANDARD.encode(document);
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
}

/// The library of `SoftHSM2`.
fn module() -> Result<PathBuf> {
    ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"]
        .iter()
        .map(|folder| Path::new(folder).join("libsofthsm2.so"))
        .find(|path| path.is_file())
        .context("SoftHSM2 is not installed: `cargo xtask test` installs it, or install softhsm2")
}

/// The text of a TOML file without one of its sections, and what is below it.
pub(super) fn without_section(text: &str, section: &str) -> String {
    let is_part = |header: &str| {
        let name = header.trim().trim_matches(['[', ']']);
        name == section || name.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut kept = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            is_inside = is_part(line);
        }
        if !is_inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_goes_with_its_keys_and_nothing_else_does() {
        let text = "[a]\nx = 1\n\n[signer]\n# of it\ny = 2\n[signer.kms]\nw = 1\n\
                    [[signer.kms.key]]\nv = 1\n[[chain]]\nz = 3\n[signers]\nu = 1\n";
        let kept = "[a]\nx = 1\n\n[[chain]]\nz = 3\n[signers]\nu = 1\n";
        assert_eq!(without_section(text, "signer"), kept);
    }

    #[test]
    fn a_private_key_is_a_file_that_holds_both_halves() {
        let text = new_private_key().unwrap();
        let inner = text.lines().nth(1).unwrap();
        let document = STANDARD.decode(inner).unwrap();
        assert_eq!(document.len(), 0x84 + 3);
        let signing = SigningKey::from_slice(&document[33..65]).unwrap();
        let point = signing.verifying_key().to_encoded_point(false);
        assert_eq!(&document[document.len() - 65..], point.as_bytes());
    }
}

//! What the manifests say: which crate may use which, and what every crate declares.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Finding, names};
use crate::toolchain;

/// What a crate may import of the workspace. `ARCHITECTURE.md` draws it.
enum Imports {
    /// These, by name.
    Only(&'static [&'static str]),
    /// All but the project's own commands.
    Everything,
}

const CORE: &str = "portcullis-core";
const STORE: &str = "portcullis-store";
const EVM: &str = "portcullis-evm";
const KEYS: &str = "portcullis-keys";
const CACHE: &str = "portcullis-cache";
const TESTKIT: &str = "portcullis-testkit";
const SIMULATOR: &str = "portcullis-simulator";
const YARDSTICK: &str = "portcullis-yardstick";
const COMMANDS: &str = "xtask";

/// Every crate of the workspace. The four in the middle never import each other, `http` cannot reach
/// the keys, and the project's commands, which judge the engine, share no code with it.
const DIRECTION: [(&str, Imports); 12] = [
    (CORE, Imports::Only(&[])),
    (STORE, Imports::Only(&[CORE])),
    (EVM, Imports::Only(&[CORE])),
    (KEYS, Imports::Only(&[CORE])),
    (CACHE, Imports::Only(&[CORE])),
    (TESTKIT, Imports::Only(&[CORE])),
    ("portcullis-engine", Imports::Only(&[CORE, STORE, EVM, KEYS, CACHE])),
    ("portcullis-http", Imports::Only(&[CORE, STORE, EVM, CACHE])),
    (SIMULATOR, Imports::Everything),
    ("portcullis", Imports::Everything),
    (YARDSTICK, Imports::Only(&[])),
    (COMMANDS, Imports::Only(&[SIMULATOR])),
];

/// Crates from outside and their homes. The keys have a journal that may be a database of its own, and never see the store's
/// (docs/adr/0008-journal-in-sql.md). The simulator speaks to a database behind the store's back: it puts old ones back, as
/// somebody with a copy would. The yardstick is one insert, and nothing of ours.
const HOMES: [(&str, &[&str]); 6] = [
    ("sea-orm", &[STORE]),
    ("sqlx", &[STORE, KEYS, SIMULATOR, YARDSTICK]),
    ("revm", &[TESTKIT]),
    ("rusqlite", &[COMMANDS]),
    ("redis", &[CACHE]),
    ("aws-sdk-sqs", &["portcullis-engine"]),
];

/// What `cargo metadata` says of the workspace, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    edition: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    rust_version: Option<String>,
    /// The registries that it may go to: an empty list is `publish = false`.
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for the usual kind.
    kind: Option<String>,
    /// Where it is, for a crate of the workspace.
    path: Option<String>,
}

/// Checks the manifests of the workspace at `root`.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root);
    let answer = toolchain::run(&mut command, "cargo")?;
    let metadata: Metadata =
        serde_json::from_str(&answer).context("cargo metadata answered something unknown")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let text = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {}", package.manifest_path))?;
        let path = Path::new(&package.manifest_path);
        let file = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        findings.extend(check_direction(package, &file));
        findings.extend(check_declarations(package, &file));
        findings.extend(check_manifest(&text, &file)?);
    }
    Ok(findings)
}

/// Which crate may use which.
fn check_direction(package: &Package, file: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(word) = names::empty_word(&package.name) {
        findings.push(Finding::in_file(
            file,
            format!("the crate {} says {word:?}, which says nothing", package.name),
            "Name it for the one reason why it exists.",
        ));
    }
    let Some((_, imports)) = DIRECTION.iter().find(|(name, _)| *name == package.name) else {
        findings.push(Finding::in_file(
            file,
            format!("the crate {} has no place in the direction of crates", package.name),
            "Give it one in xtask/src/tidy/crates.rs and in ARCHITECTURE.md, with the reason.",
        ));
        return findings;
    };
    for dependency in &package.dependencies {
        let is_test_only = dependency.kind.as_deref() == Some("dev");
        let (is_allowed, why) = if dependency.path.is_some() {
            let is_allowed = match imports {
                Imports::Only(list) => list.contains(&dependency.name.as_str()),
                Imports::Everything => dependency.name != COMMANDS,
            };
            (is_allowed || (is_test_only && dependency.name == TESTKIT), "the direction of crates")
        } else {
            let home = HOMES.iter().find(|(name, _)| *name == dependency.name);
            let is_home = home.is_none_or(|(_, homes)| homes.contains(&package.name.as_str()));
            (is_home, "the crate that it is private to")
        };
        if !is_allowed {
            findings.push(Finding::in_file(
                file,
                format!("{} uses {}, against {why}", package.name, dependency.name),
                "Move the code to the crate that may use it; ARCHITECTURE.md has the map.",
            ));
        }
    }
    findings
}

/// What every crate declares.
fn check_declarations(package: &Package, file: &str) -> Vec<Finding> {
    let is_filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let wanted = [
        ("license = Apache-2.0", package.license.as_deref() == Some("Apache-2.0")),
        ("edition = 2024", package.edition == "2024"),
        ("a description", is_filled(&package.description)),
        ("a repository", is_filled(&package.repository)),
        ("a rust-version", is_filled(&package.rust_version)),
        ("publish = false", package.publish.as_ref().is_some_and(Vec::is_empty)),
    ];
    wanted
        .into_iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(what, _)| {
            Finding::in_file(
                file,
                format!("{} does not declare {what}", package.name),
                "Take it from the workspace: `KEY.workspace = true`; a description is its own.",
            )
        })
        .collect()
}

/// What only the text of the manifest shows.
fn check_manifest(text: &str, file: &str) -> Result<Vec<Finding>> {
    let manifest: toml::Table =
        toml::from_str(text).with_context(|| format!("{file} is not TOML"))?;
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    if lints.and_then(toml::Value::as_bool) == Some(true) {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::in_file(
        file,
        "it does not take the lints of the workspace",
        "Add `[lints]` with `workspace = true`.",
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: "Cargo.toml".to_owned(),
            edition: "2024".to_owned(),
            license: Some("Apache-2.0".to_owned()),
            description: Some("It does one thing".to_owned()),
            repository: Some("https://example.com".to_owned()),
            rust_version: Some("1.95".to_owned()),
            publish: Some(Vec::new()),
            dependencies: dependencies
                .iter()
                .map(|(name, kind, is_ours)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                    path: is_ours.then(|| "somewhere".to_owned()),
                })
                .collect(),
        }
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        for (from, to) in [
            (CORE, STORE),
            (STORE, EVM),
            (EVM, KEYS),
            (KEYS, STORE),
            (CACHE, STORE),
            (STORE, CACHE),
            (TESTKIT, STORE),
            ("portcullis-http", KEYS),
            ("portcullis-engine", "portcullis-http"),
            ("portcullis", COMMANDS),
            (COMMANDS, STORE),
        ] {
            let findings = check_direction(&package(from, &[(to, None, true)]), "Cargo.toml");
            assert_eq!(findings.len(), 1, "{from} uses {to}");
            assert!(findings[0].what.contains(from) && findings[0].what.contains(to));
        }
    }

    #[test]
    fn what_the_direction_allows_is_not_found() {
        for (from, to, kind) in [
            (STORE, CORE, None),
            ("portcullis-http", EVM, None),
            ("portcullis-engine", KEYS, None),
            ("portcullis", TESTKIT, Some("dev")),
            (KEYS, TESTKIT, Some("dev")),
            (SIMULATOR, "portcullis-engine", None),
        ] {
            let findings = check_direction(&package(from, &[(to, kind, true)]), "Cargo.toml");
            assert_eq!(findings, [], "{from} uses {to}");
        }
        let outside = package("portcullis-engine", &[(TESTKIT, None, true)]);
        assert_eq!(check_direction(&outside, "Cargo.toml").len(), 1, "in tests only");
    }

    #[test]
    fn sql_stays_in_the_store() {
        for library in ["sea-orm", "sqlx"] {
            let outside = package("portcullis-http", &[(library, Some("dev"), false)]);
            assert_eq!(check_direction(&outside, "Cargo.toml").len(), 1, "{library}");
            assert_eq!(check_direction(&package(STORE, &[(library, None, false)]), "a"), []);
        }
    }

    #[test]
    fn a_new_crate_needs_a_place_and_a_name() {
        let findings = check_direction(&package("portcullis-helpers", &[]), "Cargo.toml");
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn every_missing_declaration_is_named() {
        assert_eq!(check_declarations(&package(CORE, &[]), "Cargo.toml"), []);
        let mut bare = package(CORE, &[]);
        bare.license = Some("MIT".to_owned());
        bare.edition = "2021".to_owned();
        bare.description = None;
        bare.repository = None;
        bare.rust_version = None;
        bare.publish = None;
        assert_eq!(check_declarations(&bare, "Cargo.toml").len(), 6);
    }

    #[test]
    fn lints_come_from_the_workspace() {
        assert_eq!(check_manifest("[lints]\nworkspace = true\n", "a").unwrap(), []);
        for bad in ["", "[lints]\nworkspace = false\n", "[lints.clippy]\nall = \"allow\"\n"] {
            assert_eq!(check_manifest(bad, "a").unwrap().len(), 1, "{bad:?}");
        }
    }
}

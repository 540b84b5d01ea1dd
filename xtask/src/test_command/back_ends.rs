//! Which back ends each suite runs on: printed before the tests, and held to the sources by a test.

use std::io::Write;

use anyhow::Result;

use super::servers::Versions;

/// What a suite runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackEnd {
    Memory,
    File,
    Local,
    Sqlite,
    MariaDb,
    Redis,
    Sqs,
    Keystore,
    Kms,
    SecretsManager,
    SoftHsm,
}

/// One suite on one back end.
struct Row {
    suite: &'static str,
    back_end: BackEnd,
    /// The source that runs it there.
    place: &'static str,
    /// The test in it; empty where all of that program's tests run on this back end.
    test: &'static str,
    /// What the test, or the source, says where it chooses the back end.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test holds the table to the sources by it")
    )]
    choice: &'static str,
}

const fn row(
    suite: &'static str,
    back_end: BackEnd,
    place: &'static str,
    test: &'static str,
    choice: &'static str,
) -> Row {
    Row { suite, back_end, place, test, choice }
}

const CACHE: &str = "crates/cache/tests/exercise/promises.rs";
const DOORBELLS: &str = "crates/engine/tests/doorbells/promises.rs";
const SIGNER: &str = "crates/keys/src/signer/tests/holders.rs";
const JOURNAL: &str = "crates/keys/src/journal/exercise.rs";

const ROWS: [Row; 13] = [
    row(
        "store",
        BackEnd::Sqlite,
        "crates/store/tests/exercise/main.rs",
        "",
        "DATABASE: fixture::Database = fixture::Database::Sqlite",
    ),
    row(
        "store",
        BackEnd::MariaDb,
        "crates/store/tests/mariadb.rs",
        "",
        "DATABASE: fixture::Database = fixture::Database::MariaDb",
    ),
    row("cache", BackEnd::Memory, CACHE, "memory_keeps_the_promises", "MemoryCache"),
    row(
        "cache",
        BackEnd::Redis,
        CACHE,
        "redis_keeps_the_promises_between_two_processes",
        "RedisServer",
    ),
    row("doorbell", BackEnd::Local, DOORBELLS, "local_bells_keep_the_promises", "Doorbells::local"),
    row("doorbell", BackEnd::Sqs, DOORBELLS, "sqs_keeps_the_promises_between_processes", "Moto"),
    row(
        "doorbell",
        BackEnd::Redis,
        DOORBELLS,
        "redis_keeps_the_promises_between_processes",
        "RedisServer",
    ),
    row("signer", BackEnd::Keystore, SIGNER, "a_keystore", "bench.signer()"),
    row("signer", BackEnd::SecretsManager, SIGNER, "aws_secrets_manager", "SecretStore"),
    row("signer", BackEnd::Kms, SIGNER, "aws_kms", "KmsKeys"),
    row("signer", BackEnd::SoftHsm, SIGNER, "a_pkcs11_token", "in_own_process"),
    row("journal", BackEnd::File, JOURNAL, "a_file", "Site::File"),
    row("journal", BackEnd::MariaDb, JOURNAL, "a_database", "Site::Sql(MariaDb"),
];

/// What nothing here can start.
const NOT_RUN: &str =
    "MySQL 8.4; SQS, KMS and Secrets Manager of Amazon itself; a hardware security module";

/// Prints which suite runs on what; of the unit tests alone where only those run.
pub(super) fn print(out: &mut impl Write, versions: &Versions, only_units: bool) -> Result<()> {
    for row in ROWS.iter().filter(|row| !only_units || row.place.contains("/src/")) {
        let back_end = described(row.back_end, versions);
        writeln!(out, "   {:<9} on {back_end:<42} {}", row.suite, place_of(row))?;
    }
    writeln!(out, "   not run: {NOT_RUN}")?;
    Ok(())
}

fn place_of(row: &Row) -> String {
    match row.test {
        "" => row.place.to_owned(),
        test => format!("{} {test}", row.place),
    }
}

fn described(back_end: BackEnd, versions: &Versions) -> String {
    match back_end {
        BackEnd::Memory => "memory".to_owned(),
        BackEnd::File => "a file".to_owned(),
        BackEnd::Local => "local bells".to_owned(),
        BackEnd::Sqlite => "SQLite (built in)".to_owned(),
        BackEnd::MariaDb => format!("MariaDB {}", versions.mariadb),
        BackEnd::Redis => format!("Redis {}", versions.redis),
        BackEnd::Sqs => format!("SQS ({})", versions.moto),
        BackEnd::Keystore => "the keystore".to_owned(),
        BackEnd::Kms => format!("AWS KMS ({})", versions.moto),
        BackEnd::SecretsManager => format!("AWS Secrets Manager ({})", versions.moto),
        BackEnd::SoftHsm => format!("PKCS#11 (SoftHSM2 {})", versions.softhsm),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::toolchain::workspace_root;

    fn versions() -> Versions {
        let of = |text: &str| text.to_owned();
        Versions { redis: of("7"), mariadb: of("10.11"), softhsm: of("2.6"), moto: of("moto 5") }
    }

    fn printed(only_units: bool) -> String {
        let mut out = Vec::new();
        print(&mut out, &versions(), only_units).expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    /// The lines of a test that runs whenever its program does.
    fn test_in(source: &str, name: &str) -> Option<String> {
        let file = syn::parse_file(source).expect("Rust");
        let function = file.items.iter().find_map(|item| match item {
            syn::Item::Fn(function) if function.sig.ident == name => Some(function),
            _ => None,
        })?;
        let is = |attribute: &syn::Attribute, name: &str| {
            attribute.path().segments.last().is_some_and(|last| last.ident == name)
        };
        let is_test = function.attrs.iter().any(|attribute| is(attribute, "test"));
        let is_left_out =
            function.attrs.iter().any(|attribute| is(attribute, "ignore") || is(attribute, "cfg"));
        let first = function.sig.ident.span().start().line;
        let last = function.block.brace_token.span.close().end().line;
        let lines: Vec<&str> =
            source.lines().skip(first - 1).take(last.saturating_sub(first) + 1).collect();
        (is_test && !is_left_out).then(|| lines.join("\n"))
    }

    #[test]
    fn what_is_printed_is_in_the_sources() {
        for row in &ROWS {
            let source = std::fs::read_to_string(workspace_root().join(row.place))
                .unwrap_or_else(|error| panic!("{}: {error}", row.place));
            let text = match row.test {
                "" => source,
                test => test_in(&source, test)
                    .unwrap_or_else(|| panic!("{} has no test {test}", row.place)),
            };
            assert!(text.contains(row.choice), "{} does not say {}", place_of(row), row.choice);
            assert!(text.contains("exercise"), "{} runs another suite", place_of(row));
        }
    }

    #[test]
    fn the_store_suite_is_the_same_on_every_database() {
        let read = |place: &str| {
            let text = std::fs::read_to_string(workspace_root().join(place)).expect("it is there");
            let file = syn::parse_file(&text).expect("Rust");
            let modules = file.items.into_iter().filter_map(|item| match item {
                syn::Item::Mod(module) => Some(module.ident.to_string()),
                _ => None,
            });
            modules.collect::<BTreeSet<_>>()
        };
        let [on_files, on_server] = [ROWS[0].place, ROWS[1].place].map(read);
        // Of an SQLite file alone: its backups, its growth, and what another process does to it.
        let of_files: BTreeSet<_> = on_files.difference(&on_server).map(String::as_str).collect();
        assert_eq!(of_files, BTreeSet::from(["backup", "files", "size"]));
    }

    #[test]
    fn the_unit_tests_have_the_suites_of_the_keys() {
        let all = printed(false);
        for said in [
            "store     on SQLite",
            "store     on MariaDB 10.11",
            "doorbell  on SQS (moto 5)",
            "signer    on PKCS#11 (SoftHSM2 2.6)",
            "journal   on a file",
            NOT_RUN,
        ] {
            assert!(all.contains(said), "{said} is not in:\n{all}");
        }
        let units = printed(true);
        assert!(units.contains("signer    on AWS KMS (moto 5)"), "{units}");
        assert!(!units.lines().any(|line| line.starts_with("   store ")), "{units}");
    }
}

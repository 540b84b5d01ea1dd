//! The repository works everywhere, so it names no folder of one machine and no private host.

use super::Finding;
use super::tree::Source;

/// Folders that exist on somebody's machine only. In two parts, so that this file keeps its own rule.
const FOLDERS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];

/// Ends of host names that only a private network resolves.
const PRIVATE_DOMAINS: [&str; 5] = ["internal", "corp", "lan", "intranet", "local"];

/// Settings that would send a build to one particular registry, by the file that takes them.
const REGISTRY_SETTINGS: [(&str, &[&str]); 4] = [
    ("package-lock.json", &["\"resolved\""]),
    (".npmrc", &["registry="]),
    (".cargo/config.toml", &["[source", "[registr", "replace-with"]),
    ("Cargo.toml", &["registry ="]),
];

/// The only source of packages in the lock file.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in source.lines() {
        for folder in FOLDERS {
            if names_folder(text, folder) {
                findings.push(Finding::at_line(
                    &source.path,
                    line,
                    format!("{folder} is a folder of one machine"),
                    "Write the path from the root of the repository, or take it as an argument.",
                ));
            }
        }
        if let Some(host) = private_host(text) {
            findings.push(Finding::at_line(
                &source.path,
                line,
                format!("{host} is a host of one private network"),
                "Use example.com in texts, and configuration for what is real.",
            ));
        }
        if let Some(setting) = registry_setting(&source.path, text) {
            findings.push(Finding::at_line(
                &source.path,
                line,
                format!("{setting} ties the build to one registry"),
                "Leave the choice of a mirror to each machine's own settings.",
            ));
        }
    }
    findings
}

/// Whether an absolute path begins with `folder` here; `src/` and more before it make it relative.
fn names_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-.}*~/".contains(letter))
    })
}

/// The first host of a URL in `text` that is private.
fn private_host(text: &str) -> Option<&str> {
    text.match_indices("://").find_map(|(start, mark)| {
        let rest = &text[start.checked_add(mark.len())?..];
        let end =
            rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"-.".contains(letter));
        let host = &rest[..end.unwrap_or(rest.len())];
        let domain = host.trim_end_matches('.').rsplit_once('.')?.1;
        PRIVATE_DOMAINS.contains(&domain).then_some(host)
    })
}

fn registry_setting(path: &str, text: &str) -> Option<String> {
    if path == "Cargo.lock" {
        let source = text.strip_prefix("source = \"")?.trim_end_matches('"');
        return (source != CRATES_IO).then(|| source.to_owned());
    }
    let is_file = |name: &str| path == name || path.ends_with(&format!("/{name}"));
    let (_, settings) = REGISTRY_SETTINGS.iter().find(|(name, _)| is_file(name))?;
    let setting = settings.iter().find(|setting| text.trim_start().starts_with(**setting))?;
    Some((*setting).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn a_folder_of_one_machine_is_found() {
        for folder in FOLDERS {
            assert_eq!(count("docs/a.md", &format!("see {folder}portcullis")), 1, "{folder}");
            assert_eq!(count("docs/a.md", &format!("(`{folder}x`)")), 1, "{folder}");
            assert_eq!(count("docs/a.md", &format!("crates/store/src{folder}row.rs")), 0);
        }
    }

    #[test]
    fn a_private_host_is_found() {
        for host in ["mirror.example.internal", "git.corp", "node.lan"] {
            assert_eq!(count("README.md", &format!("at {}{host}/x", "https://")), 1, "{host}");
        }
        for url in ["https://example.com", "http://127.0.0.1:3000", "http://localhost:8545"] {
            assert_eq!(count("README.md", url), 0, "{url}");
        }
    }

    #[test]
    fn a_setting_that_picks_a_registry_is_found() {
        assert_eq!(count("contracts/package-lock.json", "  \"resolved\": \"x\","), 1);
        assert_eq!(count("contracts/.npmrc", "registry=x"), 1);
        assert_eq!(count(".cargo/config.toml", "[source.crates-io]"), 1);
        assert_eq!(count("Cargo.lock", "source = \"registry+https://example.com/index\""), 1);
        assert_eq!(count("Cargo.lock", &format!("source = \"{CRATES_IO}\"")), 0);
    }
}

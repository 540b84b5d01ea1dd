//! The texts and settings that the repository always has.

use super::Finding;
use super::tree::Source;

/// Files at fixed places, and what each must say.
const TEXTS: [(&str, &str); 9] = [
    ("CHANGELOG.md", "\n## [Unreleased]\n"),
    ("LICENSE", "Apache License"),
    ("README.md", "cargo xtask sandbox"),
    ("README.ko.md", "cargo xtask sandbox"),
    ("CONTRIBUTING.md", "cargo xtask test"),
    ("SECURITY.md", "\n## "),
    ("ARCHITECTURE.md", "Architecture Invariant:"),
    ("clippy.toml", "too-many-lines-threshold = 70\n"),
    ("clippy.toml", "too-many-arguments-threshold = 6\n"),
];

/// An index that names every file of its folder.
const DECISIONS: &str = "docs/adr/";

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let text_of = |path: &str| sources.iter().find(|source| source.path == path);
    let mut findings = Vec::new();
    for (path, words) in TEXTS {
        // A text may begin with what is looked for at the start of a line.
        let is_said =
            text_of(path).is_some_and(|source| format!("\n{}", source.text).contains(words));
        if !is_said {
            findings.push(Finding::in_file(
                path,
                format!("it is missing, or does not say {:?}", words.trim()),
                "Write it: people look for it at this place.",
            ));
        }
    }
    let index = text_of("docs/adr/README.md").map_or("", |source| source.text.as_str());
    for source in sources {
        let name = source.path.strip_prefix(DECISIONS).filter(|name| *name != "README.md");
        if let Some(name) = name.filter(|name| !index.contains(&format!("({name})"))) {
            findings.push(Finding::in_file(
                &source.path,
                format!("docs/adr/README.md does not link to {name}"),
                "Add a line for it there.",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    fn complete() -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for (path, words) in TEXTS {
            match sources.iter_mut().find(|source| source.path == path) {
                Some(source) => source.text.push_str(words),
                None => sources.push(source(path, words)),
            }
        }
        sources.push(source("docs/adr/README.md", "- [One](0001-one.md)"));
        sources.push(source("docs/adr/0001-one.md", "text"));
        sources
    }

    #[test]
    fn a_missing_or_silent_text_is_found() {
        assert_eq!(check(&complete()), []);
        for (path, _) in TEXTS {
            let without: Vec<_> =
                complete().into_iter().filter(|source| source.path != path).collect();
            assert!(check(&without).iter().any(|finding| finding.file == path), "{path}");
        }
        let mut silent = complete();
        silent[0].text = "# Changelog\n\n## [0.1.0]\n".to_owned();
        assert_eq!(check(&silent)[0].file, "CHANGELOG.md");
    }

    #[test]
    fn a_decision_that_the_index_does_not_name_is_found() {
        let mut sources = complete();
        sources.push(source("docs/adr/0002-two.md", "text"));
        let findings = check(&sources);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].file, "docs/adr/0002-two.md");
    }
}

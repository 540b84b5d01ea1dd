//! Marks of unfinished work: what is not done is an issue, not a comment.

use super::Finding;
use super::tree::Source;

/// Words of unfinished work. Each is in two parts, so that this file keeps its own rule.
const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Code of unfinished work, and what to do instead.
const CODE: [(&str, &str); 4] = [
    (concat!("todo", "!("), "Write it, or leave the whole path out until it is written."),
    (concat!("unimplemented", "!("), "Write it, or leave the whole path out until it is written."),
    (concat!("dbg", "!("), "Remove it; `tracing` is for what operators are to see."),
    (concat!("#[ig", "nore"), "Mend the test or remove it; a slow one belongs to `cargo xtask`."),
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.is_generated() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, text) in source.lines() {
        for marker in MARKERS {
            if has_word(text, marker) {
                findings.push(Finding::at_line(
                    &source.path,
                    line,
                    format!("{marker} marks unfinished work"),
                    "Finish it, or open an issue and remove the mark.",
                ));
            }
        }
        if source.has_extension("rs") {
            findings.extend(CODE.iter().filter(|(code, _)| text.contains(code)).map(
                |(code, advice)| {
                    Finding::at_line(&source.path, line, format!("{code} is left over"), *advice)
                },
            ));
        }
    }
    findings
}

/// Whether `word` stands in `text` on its own, not as a part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start..].chars().nth(found.chars().count());
        ![before, after]
            .into_iter()
            .flatten()
            .any(|letter| letter.is_alphanumeric() || letter == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(path: &str, text: String) -> Vec<Option<usize>> {
        let source = Source { path: path.to_owned(), text };
        check(&source).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn every_marker_is_found_on_its_line_in_any_text() {
        for marker in MARKERS {
            assert_eq!(lines_of("docs/a.md", format!("one\n(see {marker}: x)\n")), [Some(2)]);
            assert_eq!(lines_of("docs/a.md", format!("A{marker}B {marker}_1 \u{e9}{marker}")), []);
        }
    }

    #[test]
    fn left_over_code_is_found_in_rust() {
        for (code, _) in CODE {
            assert_eq!(lines_of("crates/a/src/b.rs", format!("fn f() {{\n{code}\n")), [Some(2)]);
            assert_eq!(lines_of("docs/a.md", format!("`{code}`")), []);
        }
    }

    #[test]
    fn what_a_program_wrote_is_not_read() {
        assert_eq!(lines_of("Cargo.lock", MARKERS.join("\n")), []);
    }
}

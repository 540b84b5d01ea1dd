//! Names that say nothing: whatever fits nowhere else ends up behind them.

use super::Finding;

/// Words that no crate, folder, file, module or type has in its name.
const EMPTY_WORDS: [&str; 8] =
    ["util", "utils", "common", "shared", "helper", "helpers", "manager", "managers"];

const ADVICE: &str = "Name it for what it does; code with one user lives beside that user.";

/// Checks the names of a file and of the folders that it lies in.
pub(super) fn check_path(path: &str) -> Option<Finding> {
    let word = path.split('/').find_map(|part| empty_word(part))?;
    Some(Finding::in_file(path, format!("its path says {word:?}, which says nothing"), ADVICE))
}

/// The word of `name` that says nothing, for a name in any of the usual cases.
pub(super) fn empty_word(name: &str) -> Option<&'static str> {
    let words = words(name);
    words.iter().enumerate().find_map(|(index, word)| {
        let empty = EMPTY_WORDS.into_iter().find(|empty| empty == word)?;
        // AWS Secrets Manager is a product, and one of the places that keys come from.
        let is_product = empty == "manager"
            && index.checked_sub(1).is_some_and(|before| words[before] == "secrets");
        (!is_product).then_some(empty)
    })
}

/// The words of `snake_case`, `kebab-case`, `CamelCase` and `file.ext`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        after_lower = letter.is_lowercase() || letter.is_numeric();
    }
    words
}

/// What is wrong with a type of this name.
pub(super) fn check_type(name: &str) -> Option<(String, &'static str)> {
    let word = empty_word(name)?;
    Some((format!("the type {name} says {word:?}, which says nothing"), ADVICE))
}

/// What is wrong with a module of this name.
pub(super) fn check_module(name: &str) -> Option<(String, &'static str)> {
    let word = empty_word(name)?;
    Some((format!("the module {name} says {word:?}, which says nothing"), ADVICE))
}

/// What is wrong with a function of this name.
pub(super) fn check_function(name: &str) -> Option<(String, &'static str)> {
    let rest = name.strip_prefix("get_")?;
    Some((
        format!("the function {name} says get_, which says nothing"),
        if rest.is_empty() {
            "Name it for what it answers."
        } else {
            "A cheap answer needs no verb; else say what it does: read_, find_, fetch_."
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found_in_every_case() {
        for bad in
            ["utils", "sql_utils.rs", "portcullis-common", "NonceManager", "helpers", "SharedState"]
        {
            assert!(empty_word(bad).is_some(), "{bad}");
        }
        for good in ["utility", "commonality", "managed", "SecretsManager", "secrets_manager.rs"] {
            assert_eq!(empty_word(good), None, "{good}");
        }
    }

    #[test]
    fn a_folder_counts_as_much_as_a_file() {
        let finding = check_path("crates/helpers/src/lib.rs").unwrap();
        assert!(finding.what.contains("\"helpers\""), "{finding}");
        assert_eq!(check_path("crates/core/src/lib.rs"), None);
    }

    #[test]
    fn types_modules_and_functions_are_named_for_what_they_do() {
        assert!(check_type("SlotManager").unwrap().0.contains("SlotManager"));
        assert!(check_module("utils").is_some());
        assert!(check_function("get_nonce").is_some());
        assert_eq!(check_function("getaway"), None);
        assert_eq!(check_type("Slot"), None);
    }
}

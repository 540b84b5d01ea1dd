//! Rules about names and shapes in Rust code, read with a real parser.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{
    Ident, ImplItem, ItemEnum, ItemFn, ItemImpl, ItemMod, ItemStruct, ItemTrait, ItemType,
    ItemUnion, TraitItem,
};

use super::tree::Source;
use super::{Finding, names};

/// A trait has fewer methods than this: each of them is written once more for every implementation.
const TRAIT_METHODS_MAX: usize = 10;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    match syn::parse_file(&source.text) {
        Ok(file) => {
            let mut reader = Reader { path: &source.path, findings: Vec::new() };
            reader.visit_file(&file);
            reader.findings
        }
        Err(error) => vec![Finding::at_line(
            &source.path,
            error.span().start().line,
            format!("it is not Rust: {error}"),
            "Make it compile.",
        )],
    }
}

struct Reader<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn add(&mut self, span: Span, complaint: Option<(String, &'static str)>) {
        if let Some((what, advice)) = complaint {
            self.findings.push(Finding::at_line(self.path, span.start().line, what, advice));
        }
    }

    fn type_name(&mut self, name: &Ident) {
        self.add(name.span(), names::check_type(&name.to_string()));
    }

    fn function_name(&mut self, name: &Ident) {
        self.add(name.span(), names::check_function(&name.to_string()));
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.type_name(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.type_name(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast ItemUnion) {
        self.type_name(&item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        self.type_name(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.add(item.ident.span(), names::check_module(&item.ident.to_string()));
        visit::visit_item_mod(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function_name(&item.sig.ident);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        // The names in the implementation of a trait are the trait's.
        if item.trait_.is_none() {
            for inner in &item.items {
                if let ImplItem::Fn(method) = inner {
                    self.function_name(&method.sig.ident);
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.type_name(&item.ident);
        let methods = item.items.iter().filter_map(|inner| match inner {
            TraitItem::Fn(method) => Some(&method.sig.ident),
            _ => None,
        });
        let mut count = 0_usize;
        for name in methods {
            count = count.saturating_add(1);
            self.function_name(name);
        }
        if count >= TRAIT_METHODS_MAX {
            let what = format!(
                "the trait {} has {count} methods; a trait has fewer than {TRAIT_METHODS_MAX}",
                item.ident
            );
            self.add(item.ident.span(), Some((what, "Split it, or use a concrete type.")));
        }
        visit::visit_item_trait(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(text: &str) -> Vec<(Option<usize>, String)> {
        let source = Source { path: "a.rs".to_owned(), text: text.to_owned() };
        check(&source).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn bad_names_are_found_wherever_they_are_declared() {
        for (text, name) in [
            ("struct NonceManager;", "NonceManager"),
            ("enum KeyHelper {}", "KeyHelper"),
            ("trait CommonThings {}", "CommonThings"),
            ("type Shared = u8;", "Shared"),
            ("mod utils {}", "utils"),
            ("fn get_nonce() {}", "get_nonce"),
            ("impl Slot { fn get_nonce(&self) {} }", "get_nonce"),
            ("trait Node { fn get_nonce(&self); }", "get_nonce"),
            ("fn outer() { fn get_inner() {} }", "get_inner"),
        ] {
            let found = whats(&format!("\n{text}\n"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, Some(2), "{text}");
            assert!(found[0].1.contains(name), "{text}: {found:?}");
        }
    }

    #[test]
    fn the_words_of_a_foreign_trait_are_not_ours() {
        assert_eq!(whats("impl Foreign for Slot { fn get_nonce(&self) {} }"), []);
        assert_eq!(whats("struct Slot; fn nonce() { let get_ready = \"get_nonce\"; }"), []);
    }

    #[test]
    fn a_trait_with_ten_methods_is_too_wide() {
        let methods = |count: usize| {
            let list: Vec<_> = (0..count).map(|index| format!("fn m{index}();")).collect();
            whats(&format!("trait Wide {{ type Item; {} }}", list.concat()))
        };
        assert_eq!(methods(9), []);
        assert!(methods(10)[0].1.contains("Wide has 10 methods"), "{:?}", methods(10));
    }

    #[test]
    fn what_does_not_parse_is_said() {
        assert!(whats("fn (")[0].1.starts_with("it is not Rust"));
    }
}

//! Real servers for the tests of this crate: each is started by its test and ends with it. A server that is not installed
//! fails the test, with its name.

pub(crate) mod mariadb;
pub(crate) mod moto;
pub(crate) mod proxy;
pub(crate) mod softhsm;

use std::path::{Path, PathBuf};

/// The first of these files that exists.
pub(crate) fn installed(what: &str, package: &str, places: &[&str]) -> PathBuf {
    places.iter().map(PathBuf::from).find(|place| place.is_file()).unwrap_or_else(|| {
        panic!("{what} is not installed: `cargo xtask test` installs it, or install {package}")
    })
}

/// The root of the checkout.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().and_then(Path::parent).expect("this crate lies two folders deep")
}

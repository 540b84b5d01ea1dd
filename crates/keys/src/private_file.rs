//! Files that only their owner may read: how they are opened, replaced and made durable.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Reading and writing for the owner, nothing for anybody else.
pub(crate) const OWNER_ONLY: u32 = 0o600;

/// The permission bits that others than the owner have, when there are any.
pub(crate) fn open_to_others(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// What tells one file from another that took its name.
pub(crate) fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `path` with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes a new or a renamed entry of the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Waits for the advisory lock of the directory of `path`; it ends with the returned handle. Two
/// processes that change the same keystore change it one after the other.
pub(crate) fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = File::open(directory_of(path))?;
    directory.lock()?;
    Ok(directory)
}

/// Puts `bytes` at `path`, wholly or not at all, whenever the machine stops. `tag` makes the name of
/// the temporary file unique.
pub(crate) fn replace(path: &Path, bytes: &[u8], tag: &str) -> io::Result<()> {
    let temporary = beside(path, &format!(".{tag}.tmp"));
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one that explains; a file left behind is harmless.
        let _left = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

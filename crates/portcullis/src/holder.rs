//! Who this process is among those that share the database: the holder of its leases.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;
use crate::roles::Roles;

/// `identity#incarnation`. A process that ended leaves its leases behind; the next one of the same
/// identity takes them over at once, with a higher fence, instead of waiting for them to run out. The
/// identity is drawn once and kept in a file, so that two machines with the same paths are two; the lock
/// on that file sees to it that only one process has it.
pub(crate) struct Holder {
    /// What the leases are held as.
    pub(crate) name: String,
    /// Freed by the system when the process ends, however it ends.
    _lock: Option<File>,
}

impl Holder {
    /// Takes the identity of these roles in this directory: that of the embedded database, else that of the data.
    pub(crate) fn claim(
        directory: &Path,
        is_embedded: bool,
        roles: &Roles,
        incarnation: &str,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::failed("the data directory cannot be made", &error))?;
        let path = directory.join(format!("{}.lock", roles.service_name()));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure::failed("the lock file cannot be made", &error))?;
        match file.try_lock() {
            Ok(()) => {
                let identity = identity_in(&mut file, incarnation)
                    .map_err(|error| Failure::failed("the lock file cannot be used", &error))?;
                Ok(Self { name: format!("{identity}#{incarnation}"), _lock: Some(file) })
            }
            Err(TryLockError::WouldBlock) if roles.is_everything() => {
                let what_to_do = if is_embedded {
                    "one such process serves an embedded database; stop it first, or serve single roles"
                } else {
                    "it has the identity that lies there; stop it first, or give this one a data.dir of its own"
                };
                Err(Failure::Refused(format!(
                    "another `serve --role all` runs on {}: {what_to_do}",
                    directory.display()
                )))
            }
            Err(TryLockError::WouldBlock) => {
                Ok(Self { name: format!("{incarnation}#{incarnation}"), _lock: None })
            }
            Err(TryLockError::Error(error)) => {
                Err(Failure::failed("the lock file cannot be locked", &error))
            }
        }
    }
}

/// The identity that the file holds; `fresh` where it holds none yet.
fn identity_in(file: &mut File, fresh: &str) -> std::io::Result<String> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let is_identity = |text: &str| {
        text.strip_prefix("run_")
            .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if is_identity(text.trim()) {
        return Ok(text.trim().to_owned());
    }
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(fresh.as_bytes())?;
    file.sync_all()?;
    Ok(fresh.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RoleName;

    /// As `serve` draws them.
    fn run(number: u8) -> String {
        format!("run_{number:032x}")
    }

    #[test]
    fn only_one_process_has_the_identity() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let claim = |roles: &[RoleName], number| {
            Holder::claim(directory.path(), true, &Roles::of(roles), &run(number))
        };
        let identity =
            |holder: &Holder| holder.name.split_once('#').expect("two parts").0.to_owned();
        let first = claim(&[RoleName::Monitor], 1).expect("free");
        let second = claim(&[RoleName::Monitor], 2).expect("beside the first");
        assert_ne!(identity(&first), identity(&second));
        let before = identity(&first);
        drop(first);
        let next = claim(&[RoleName::Monitor], 3).expect("free again");
        assert_eq!(identity(&next), before);
        assert!(next.name.ends_with(&format!("#{}", run(3))));
        let all = claim(&[RoleName::All], 4).expect("free");
        assert!(matches!(claim(&[RoleName::All], 5), Err(Failure::Refused(_))));
        drop(all);
    }

    #[test]
    fn two_machines_with_the_same_paths_are_two() {
        let (one, other) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        let roles = Roles::of(&[RoleName::Signer]);
        let one = Holder::claim(one.path(), true, &roles, &run(1)).expect("free");
        let other = Holder::claim(other.path(), true, &roles, &run(2)).expect("free");
        assert_eq!(one.name, format!("{0}#{0}", run(1)));
        assert_eq!(other.name, format!("{0}#{0}", run(2)));
    }

    #[test]
    fn a_damaged_lock_file_is_written_anew() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(
            directory.path().join("api.lock"),
            "something much longer than an identity is",
        )
        .expect("writable");
        let roles = Roles::of(&[RoleName::Api]);
        drop(Holder::claim(directory.path(), true, &roles, &run(1)).expect("free"));
        let next = Holder::claim(directory.path(), true, &roles, &run(2)).expect("free");
        assert_eq!(next.name, format!("{}#{}", run(1), run(2)));
    }
}

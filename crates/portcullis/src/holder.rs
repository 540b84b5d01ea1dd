//! Who this process is among those that share the database: the holder of its leases.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::failure::Failure;
use crate::roles::Roles;

/// `identity#incarnation`. A process that ended leaves its leases behind; the next one of the same
/// identity takes them over at once, with a higher fence, instead of waiting for them to run out. The
/// lock on a file in the data directory sees to it that only one process has the identity.
pub(crate) struct Holder {
    /// What the leases are held as.
    pub(crate) name: String,
    /// Freed by the system when the process ends, however it ends.
    _lock: Option<File>,
}

impl Holder {
    /// Takes the identity of these roles in this data directory.
    pub(crate) fn claim(
        directory: &Path,
        roles: &Roles,
        incarnation: &str,
    ) -> Result<Self, Failure> {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::failed("the data directory cannot be made", &error))?;
        let roles_name = roles.service_name();
        let path = directory.join(format!("{roles_name}.lock"));
        let file = File::create(&path)
            .map_err(|error| Failure::failed("the lock file cannot be made", &error))?;
        match file.try_lock() {
            Ok(()) => {
                let identity = path.canonicalize().unwrap_or(path);
                let name = format!("{}#{incarnation}", identity.display());
                Ok(Self { name, _lock: Some(file) })
            }
            Err(TryLockError::WouldBlock) if roles.is_everything() => {
                Err(Failure::Refused(format!(
                    "another `serve --role all` runs on {}: one such process serves an embedded \
                     database; stop it first, or serve single roles",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RoleName;

    #[test]
    fn only_one_process_has_the_identity() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let claim =
            |roles: &[RoleName], run| Holder::claim(directory.path(), &Roles::of(roles), run);
        let identity =
            |holder: &Holder| holder.name.split_once('#').expect("two parts").0.to_owned();
        let first = claim(&[RoleName::Monitor], "run_1").expect("free");
        let second = claim(&[RoleName::Monitor], "run_2").expect("beside the first");
        assert_ne!(identity(&first), identity(&second));
        let before = identity(&first);
        drop(first);
        let next = claim(&[RoleName::Monitor], "run_3").expect("free again");
        assert_eq!(identity(&next), before);
        assert!(next.name.ends_with("#run_3"));
        let all = claim(&[RoleName::All], "run_4").expect("free");
        assert!(matches!(claim(&[RoleName::All], "run_5"), Err(Failure::Refused(_))));
        drop(all);
    }
}

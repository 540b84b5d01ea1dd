//! Who may have which secret. In a fleet each process is given what its roles need and nothing else; what it was given too
//! much is refused at its start, because a secret that is there can be stolen there.

use portcullis_engine::Role;

use super::Config;
use super::problem::Problem;

/// Sections that hold secrets, the roles that may have them, and why no other.
const OWNERS: [(&str, &[Role], &str); 1] = [(
    "signer",
    &[Role::Signer],
    "only a process with the signer role may have what opens the keys; take it out of this process's \
     configuration and environment",
)];

impl Config {
    /// Whether processes are held to their own secrets: on request, and wherever the database is not an embedded one. On
    /// one host that shares a file, one configuration for all roles is a convenience.
    pub(crate) fn is_strict(&self) -> bool {
        self.server.strict_credentials.unwrap_or_else(|| !self.database.is_embedded())
    }

    /// Refuses what a process of these roles must not have.
    ///
    /// # Errors
    /// Every value that was set and is somebody else's.
    pub(crate) fn refuse_foreign_credentials(&self, roles: &[Role]) -> Result<(), Vec<Problem>> {
        if !self.is_strict() {
            return Ok(());
        }
        let mut problems = Vec::new();
        for (section, owners, why) in OWNERS {
            if roles.iter().any(|role| owners.contains(role)) {
                continue;
            }
            let prefix = format!("{section}.");
            let set = self.origins.iter().filter(|(key, _)| key.starts_with(&prefix));
            problems.extend(set.map(|(key, origin)| Problem::Value {
                key: key.clone(),
                value: "(set)".to_owned(),
                origin: origin.clone(),
                allowed: why.to_owned(),
            }));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

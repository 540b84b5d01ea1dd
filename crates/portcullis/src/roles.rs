//! Which roles a process runs.

use portcullis_engine::Role;

use crate::cli::RoleName;

/// The roles of one process, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles(Vec<Role>);

impl Roles {
    /// From the command line.
    pub(crate) fn of(names: &[RoleName]) -> Self {
        if names.contains(&RoleName::All) {
            return Self(Role::ALL.to_vec());
        }
        let mut roles = Vec::new();
        for role in names.iter().filter_map(|name| role_of(*name)) {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
        Self(roles)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Role] {
        &self.0
    }

    /// Those that the engine steps: all but the API.
    pub(crate) fn workers(&self) -> Vec<Role> {
        self.0.iter().copied().filter(|role| *role != Role::Api).collect()
    }

    /// Whether requests are taken in here.
    pub(crate) fn has_api(&self) -> bool {
        self.0.contains(&Role::Api)
    }

    /// Whether keys are needed here.
    pub(crate) fn has_signer(&self) -> bool {
        self.0.contains(&Role::Signer)
    }

    /// The port of probes and metrics where the API is not served: the first role's.
    pub(crate) fn port(&self) -> u16 {
        self.0.first().map_or(Role::Api.port(), |role| role.port())
    }

    /// The `service` of the log: `portcullis` with every role, else the roles.
    pub(crate) fn service_name(&self) -> String {
        if self.is_everything() { "portcullis".to_owned() } else { self.names() }
    }

    /// Whether this process runs every role.
    pub(crate) fn is_everything(&self) -> bool {
        self.0 == Role::ALL
    }

    /// Their names.
    pub(crate) fn names(&self) -> String {
        self.0.iter().map(|role| role.as_str()).collect::<Vec<_>>().join("+")
    }
}

/// `None` stands for all of them.
const fn role_of(name: RoleName) -> Option<Role> {
    match name {
        RoleName::All => None,
        RoleName::Api => Some(Role::Api),
        RoleName::Processor => Some(Role::Processor),
        RoleName::Signer => Some(Role::Signer),
        RoleName::Broadcaster => Some(Role::Broadcaster),
        RoleName::Monitor => Some(Role::Monitor),
        RoleName::Recovery => Some(Role::Recovery),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_named_and_have_their_ports() {
        let all = Roles::of(&[RoleName::Signer, RoleName::All]);
        assert_eq!(
            (all.service_name().as_str(), all.has_api(), all.has_signer()),
            ("portcullis", true, true)
        );
        let two = Roles::of(&[RoleName::Monitor, RoleName::Processor, RoleName::Monitor]);
        assert_eq!((two.service_name().as_str(), two.port()), ("monitor+processor", 3003));
        assert!(!two.has_api() && !two.has_signer());
        for (name, port) in [
            (RoleName::Api, 3000),
            (RoleName::Processor, 3001),
            (RoleName::Signer, 3002),
            (RoleName::Monitor, 3003),
            (RoleName::Broadcaster, 3004),
            (RoleName::Recovery, 3006),
        ] {
            assert_eq!(Roles::of(&[name]).port(), port);
        }
    }
}

//! The roles, each of which is a process of its own here.

/// A role of `portcullis serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Api,
    Processor,
    Signer,
    Broadcaster,
    Monitor,
    Recovery,
}

impl Role {
    pub(crate) const ALL: [Self; 6] = [
        Self::Api,
        Self::Processor,
        Self::Signer,
        Self::Broadcaster,
        Self::Monitor,
        Self::Recovery,
    ];

    /// Those that step through work, and of which a second process makes sense.
    pub(crate) const WORKERS: [Self; 5] =
        [Self::Processor, Self::Signer, Self::Broadcaster, Self::Monitor, Self::Recovery];

    /// As the command line names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Processor => "processor",
            Self::Signer => "signer",
            Self::Broadcaster => "broadcaster",
            Self::Monitor => "monitor",
            Self::Recovery => "recovery",
        }
    }

    /// Its place in [`Role::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_names_are_those_of_the_list() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role.index(), index);
            assert_eq!(format!("{role:?}").to_lowercase(), role.name());
        }
    }
}

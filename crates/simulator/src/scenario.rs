//! What a seed is about: what is drawn once, before the first move.

use portcullis_testkit::SeededEntropy;

use crate::chaos::{Chaos, ChaosSet};

/// How the payments of a run travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RailPlan {
    /// Plain transfers.
    #[default]
    Direct,
    /// Through a vault.
    Vault,
    /// Plain transfers until the middle of the run; from then on a vault is configured.
    Both,
}

/// The second engine of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    None,
    /// On the same database. It signs too, with the same journal, where `signs`.
    SameDatabase {
        signs: bool,
    },
    /// On a copy of the database; the journal stays with the first.
    /// In the end one of them goes: the first, where the second `takes_over`.
    Copy {
        takes_over: bool,
    },
    /// On a copy of the database with a copy of keystore and journal.
    CopyWithJournal,
}

/// How far the second engine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Ahead,
    Running { since: u64 },
    Over,
}

/// What a seed is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) rail: RailPlan,
    pub(crate) second: Second,
    pub(crate) second_stage: Stage,
    /// Whether the vault is still to be configured.
    pub(crate) awaits_vault: bool,
    /// Old copies of the database that are put back with the engine stopped.
    pub(crate) restores: u64,
    /// Old copies that are put back under the running engine.
    pub(crate) silent_restores: u64,
}

impl Scenario {
    pub(crate) fn draw(seed: u64, chaos: ChaosSet, entropy: &mut SeededEntropy) -> Self {
        let rail = match (seed % 2, seed % 10) {
            (0, _) => RailPlan::Direct,
            (_, 9) => RailPlan::Both,
            _ => RailPlan::Vault,
        };
        let signs = entropy.chance(2, 3);
        let second = match entropy.below(10) {
            0..=2 if chaos.has(Chaos::SecondEngines) => Second::SameDatabase { signs },
            3..=5 => match rail {
                RailPlan::Vault if chaos.has(Chaos::SecondJournals) && entropy.chance(2, 3) => {
                    Second::CopyWithJournal
                }
                _ if chaos.has(Chaos::Copies) => Second::Copy { takes_over: entropy.chance(1, 2) },
                _ => Second::None,
            },
            _ => Second::None,
        };
        let of = |kind, drawn| if chaos.has(kind) { drawn } else { 0 };
        let (stopped, silent) = match entropy.below(10) {
            0..=1 => (1, 0),
            2..=3 => (0, 1),
            4 => (1, 1),
            _ => (0, 0),
        };
        Self {
            rail,
            second,
            second_stage: Stage::Ahead,
            awaits_vault: rail == RailPlan::Both,
            restores: of(Chaos::Restores, stopped),
            silent_restores: of(Chaos::SilentRestores, silent),
        }
    }

    /// Whether everything has happened that the seed has.
    pub(crate) fn is_over(&self) -> bool {
        let copies = self.restores.saturating_add(self.silent_restores);
        self.second_stage == Stage::Over && copies == 0 && !self.awaits_vault
    }
}

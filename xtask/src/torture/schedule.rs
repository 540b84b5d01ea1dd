//! What goes wrong when: drawn from a seed before the run begins, one stream for each kind of fault,
//! so that switching one kind off leaves the others as they are.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::role::Role;

/// From one killed role to the next.
const KILL_GAP_MS: std::ops::Range<u64> = 1_800..4_400;
/// How long a killed role stays away.
const AWAY_MS: std::ops::Range<u64> = 20..1_500;
/// From one killed chain to the next.
const CHAIN_GAP_MS: std::ops::Range<u64> = 11_000..23_000;
/// How long a killed chain stays away.
const CHAIN_AWAY_MS: std::ops::Range<u64> = 20..2_500;
/// From the start of one pause of the chain to the start of the next.
const CHAIN_PAUSE_GAP_MS: std::ops::Range<u64> = 9_000..17_000;
/// How long the chain stands still: clients of it wait, and some of them give up.
const CHAIN_PAUSE_MS: std::ops::Range<u64> = 800..4_000;
/// From the start of one pause to the start of the next.
const PAUSE_GAP_MS: std::ops::Range<u64> = 11_000..19_000;
/// From one twin to the next.
const TWIN_GAP_MS: std::ops::Range<u64> = 19_000..29_000;
/// By how much a pause is longer than a lease.
const BEYOND_LEASE_MS: std::ops::Range<u64> = 700..3_500;

/// What can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each kind is switched on and off by itself")]
pub(super) struct Kinds {
    /// SIGKILL to a role.
    pub(super) kills: bool,
    /// SIGKILL to the chain.
    pub(super) chain_kills: bool,
    /// SIGSTOP to the chain.
    pub(super) chain_pauses: bool,
    /// SIGSTOP to a role, for longer than its leases.
    pub(super) pauses: bool,
    /// The same, with a second process of the role meanwhile.
    pub(super) twins: bool,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The role is killed, and started again after a while.
    Kill { role: Role, away_ms: u64 },
    /// The chain is killed, and goes on from an older state after a while.
    KillChain { away_ms: u64 },
    /// The chain stands still for a while: it answers nobody.
    PauseChain { pause_ms: u64 },
    /// The role stands still for a while.
    Pause { role: Role, pause_ms: u64 },
    /// The role stands still; a second process of it is started, and then both run.
    Twin { role: Role, pause_ms: u64, keeps_second: bool },
}

/// A fault and its moment, in milliseconds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) at_ms: u64,
    pub(super) fault: Fault,
}

/// Draws the faults of `duration_ms`, the earliest first. Pauses are longer than `lease_ms`.
pub(super) fn draw(seed: u64, duration_ms: u64, lease_ms: u64, kinds: Kinds) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut stream = |is_on: bool, number: u64, gap_ms: std::ops::Range<u64>, roles: &[Role]| {
        if !is_on {
            return;
        }
        let mut random = StdRng::seed_from_u64(seed ^ number.rotate_right(8));
        let mut deck = Deck::new(roles);
        // The first one comes early, so that a short run has every kind.
        let mut at_ms = random.random_range(gap_ms.clone()) / 2;
        while at_ms < duration_ms {
            let fault = fault(number, deck.draw(&mut random), lease_ms, &mut random);
            planned.push(Planned { at_ms, fault });
            at_ms = at_ms.saturating_add(random.random_range(gap_ms.clone()));
        }
    };
    stream(kinds.kills, KILLS, KILL_GAP_MS, &Role::ALL);
    stream(kinds.chain_kills, CHAIN_KILLS, CHAIN_GAP_MS, &Role::ALL);
    stream(kinds.pauses, PAUSES, PAUSE_GAP_MS, &Role::ALL);
    stream(kinds.twins, TWINS, TWIN_GAP_MS, &Role::WORKERS);
    stream(kinds.chain_pauses, CHAIN_PAUSES, CHAIN_PAUSE_GAP_MS, &Role::ALL);
    planned.sort_by_key(|planned| planned.at_ms);
    planned
}

const KILLS: u64 = 1;
const CHAIN_KILLS: u64 = 2;
const PAUSES: u64 = 3;
const TWINS: u64 = 4;
const CHAIN_PAUSES: u64 = 5;

fn fault(stream: u64, role: Role, lease_ms: u64, random: &mut StdRng) -> Fault {
    let pause_ms = lease_ms.saturating_add(random.random_range(BEYOND_LEASE_MS));
    match stream {
        KILLS => Fault::Kill { role, away_ms: random.random_range(AWAY_MS) },
        CHAIN_KILLS => Fault::KillChain { away_ms: random.random_range(CHAIN_AWAY_MS) },
        PAUSES => Fault::Pause { role, pause_ms },
        CHAIN_PAUSES => Fault::PauseChain { pause_ms: random.random_range(CHAIN_PAUSE_MS) },
        _ => Fault::Twin { role, pause_ms, keeps_second: random.random() },
    }
}

/// Roles in random order, each as often as the others.
struct Deck {
    all: Vec<Role>,
    left: Vec<Role>,
}

impl Deck {
    fn new(roles: &[Role]) -> Self {
        Self { all: roles.to_vec(), left: Vec::new() }
    }

    fn draw(&mut self, random: &mut StdRng) -> Role {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        self.left.pop().unwrap_or(Role::Signer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: Kinds =
        Kinds { kills: true, chain_kills: true, chain_pauses: true, pauses: true, twins: true };
    const NONE: Kinds = Kinds {
        kills: false,
        chain_kills: false,
        chain_pauses: false,
        pauses: false,
        twins: false,
    };
    const MINUTE_MS: u64 = 60_000;
    const LEASE_MS: u64 = 3_000;

    fn count(planned: &[Planned], of: fn(Fault) -> bool) -> usize {
        planned.iter().filter(|planned| of(planned.fault)).count()
    }

    const IS_KILL: fn(Fault) -> bool = |fault| matches!(fault, Fault::Kill { .. });
    const IS_CHAIN: fn(Fault) -> bool = |fault| matches!(fault, Fault::KillChain { .. });
    const IS_CHAIN_PAUSE: fn(Fault) -> bool = |fault| matches!(fault, Fault::PauseChain { .. });
    const IS_PAUSE: fn(Fault) -> bool = |fault| matches!(fault, Fault::Pause { .. });
    const IS_TWIN: fn(Fault) -> bool = |fault| matches!(fault, Fault::Twin { .. });

    #[test]
    fn every_kind_comes_within_a_minute_and_kills_most_often() {
        for seed in 0..200 {
            let minute = draw(seed, MINUTE_MS, LEASE_MS, ALL);
            assert!(count(&minute, IS_KILL) >= 13, "seed {seed}");
            assert!(count(&minute, IS_CHAIN) >= 3, "seed {seed}");
            assert!(count(&minute, IS_CHAIN_PAUSE) >= 3, "seed {seed}");
            assert!(count(&minute, IS_PAUSE) >= 3, "seed {seed}");
            assert!(count(&minute, IS_TWIN) >= 2, "seed {seed}");
            assert!(minute.is_sorted_by_key(|planned| planned.at_ms));
            assert!(minute.iter().all(|planned| planned.at_ms < MINUTE_MS));
            let three = draw(seed, 3 * MINUTE_MS, LEASE_MS, ALL);
            assert!(count(&three, IS_KILL) + count(&three, IS_CHAIN) >= 45, "seed {seed}");
        }
    }

    #[test]
    fn a_kind_that_is_off_never_comes_and_the_others_stay_as_they_are() {
        let everything = draw(7, MINUTE_MS, LEASE_MS, ALL);
        let kinds = [
            (Kinds { kills: false, ..ALL }, IS_KILL),
            (Kinds { chain_kills: false, ..ALL }, IS_CHAIN),
            (Kinds { chain_pauses: false, ..ALL }, IS_CHAIN_PAUSE),
            (Kinds { pauses: false, ..ALL }, IS_PAUSE),
            (Kinds { twins: false, ..ALL }, IS_TWIN),
        ];
        for (without, is_off) in kinds {
            let rest: Vec<Planned> =
                everything.iter().copied().filter(|planned| !is_off(planned.fault)).collect();
            assert!(rest.len() < everything.len());
            assert_eq!(draw(7, MINUTE_MS, LEASE_MS, without), rest);
        }
        assert_eq!(draw(7, MINUTE_MS, LEASE_MS, NONE), []);
    }

    #[test]
    fn every_role_is_killed_as_often_as_the_others() {
        let planned = draw(3, 3 * MINUTE_MS, LEASE_MS, ALL);
        let mut kills: BTreeMap<Role, usize> = BTreeMap::new();
        for planned in planned {
            if let Fault::Kill { role, .. } = planned.fault {
                *kills.entry(role).or_default() += 1;
            }
        }
        let (least, most) = (kills.values().min().unwrap(), kills.values().max().unwrap());
        assert_eq!(kills.len(), Role::ALL.len());
        assert!(most - least <= 1, "{kills:?}");
    }

    #[test]
    fn a_pause_is_longer_than_a_lease() {
        for planned in draw(5, 5 * MINUTE_MS, LEASE_MS, ALL) {
            if let Fault::Pause { pause_ms, .. } | Fault::Twin { pause_ms, .. } = planned.fault {
                assert!(pause_ms > LEASE_MS + 500);
            }
        }
    }

    #[test]
    fn a_seed_is_repeatable() {
        assert_eq!(draw(9, MINUTE_MS, LEASE_MS, ALL), draw(9, MINUTE_MS, LEASE_MS, ALL));
        assert_ne!(draw(9, MINUTE_MS, LEASE_MS, ALL), draw(10, MINUTE_MS, LEASE_MS, ALL));
    }
}

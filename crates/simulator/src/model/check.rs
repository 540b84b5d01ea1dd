//! Running the checker, and what it comes back with.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::{Protocol, Step, World};

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Every reachable state.
    Exhaustive,
    /// Until this property is found broken, by the shortest way.
    Breaking(&'static str),
}

/// What a search says of one property.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The property.
    pub name: &'static str,
    /// What is expected of it.
    pub expectation: Expectation,
    /// The steps to the counterexample, or for "sometimes" to the example.
    pub steps: Option<Vec<Step>>,
}

impl Finding {
    /// Whether the protocol is as it should be.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.steps.is_some() == matches!(self.expectation, Expectation::Sometimes)
    }
}

/// What a search comes to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// The longest way that was gone.
    pub depth: usize,
    /// Every property.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The counterexample or example of a property.
    #[must_use]
    pub fn trace(&self, name: &str) -> Option<&[Step]> {
        let finding = self.findings.iter().find(|finding| finding.name == name)?;
        finding.steps.as_deref()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} states, {} steps, depth {}", self.states, self.steps, self.depth)?;
        for finding in &self.findings {
            let verdict = if finding.holds() { "holds" } else { "BROKEN" };
            let kind = match finding.expectation {
                Expectation::Always => "always",
                Expectation::Eventually => "eventually",
                Expectation::Sometimes => "sometimes",
            };
            write!(formatter, "  {verdict}  {kind:<10} {}", finding.name)?;
            match &finding.steps {
                Some(steps) => writeln!(formatter, " ({} steps)", steps.len())?,
                None => writeln!(formatter)?,
            }
        }
        Ok(())
    }
}

/// Explores a protocol.
#[must_use]
pub fn check(protocol: &Protocol, search: Search) -> Report {
    match search {
        Search::Exhaustive => {
            report(protocol, &protocol.clone().checker().threads(2).spawn_bfs().join())
        }
        Search::Breaking(name) => {
            // The checker works in blocks and keeps the last of what a block finds: search again for
            // something shorter until there is nothing.
            let mut shortest = breaking(protocol, name, None);
            while let Some(trace) = shortest.trace(name) {
                let shorter = breaking(protocol, name, NonZeroUsize::new(trace.len() + 1));
                if shorter.trace(name).is_none() {
                    break;
                }
                shortest = shorter;
            }
            shortest
        }
    }
}

/// Searches for a counterexample, among states at less than a depth, which counts the first state.
fn breaking(protocol: &Protocol, name: &'static str, below: Option<NonZeroUsize>) -> Report {
    let wanted = HasDiscoveries::AllOf(BTreeSet::from([name]));
    let mut builder = protocol.clone().checker().finish_when(wanted);
    if let Some(below) = below {
        builder = builder.target_max_depth(below.get());
    }
    report(protocol, &builder.spawn_bfs().join())
}

fn report(protocol: &Protocol, checker: &impl Checker<Protocol>) -> Report {
    let mut found = checker.discoveries();
    let findings = protocol
        .properties()
        .into_iter()
        .map(|property| Finding {
            name: property.name,
            expectation: property.expectation,
            steps: found.remove(property.name).map(|path| {
                let steps = path.into_vec().into_iter();
                steps.filter_map(|(_, step)| step).collect()
            }),
        })
        .collect();
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        findings,
    }
}

/// A step that closes a cycle, if there is one. "Eventually" is only as good as their absence: on a
/// cycle the checker would not notice that nothing ever ends.
#[must_use]
pub fn find_cycle(protocol: &Protocol) -> Option<(Step, World)> {
    /// `true` while a state is on the current path.
    type Seen = HashMap<u64, bool>;
    let mut seen = Seen::new();
    let mut path: Vec<(u64, Vec<(Step, World)>)> = Vec::new();
    for world in protocol.init_states() {
        let key = key_of(&world);
        seen.insert(key, true);
        path.push((key, protocol.next_steps(&world)));
        while let Some((key, ahead)) = path.last_mut() {
            let Some((step, world)) = ahead.pop() else {
                seen.insert(*key, false);
                path.pop();
                continue;
            };
            let key = key_of(&world);
            match seen.get(&key) {
                Some(true) => return Some((step, world)),
                Some(false) => {}
                None => {
                    seen.insert(key, true);
                    let ahead = protocol.next_steps(&world);
                    path.push((key, ahead));
                }
            }
        }
    }
    None
}

fn key_of(world: &World) -> u64 {
    let mut hasher = Mixer(0);
    world.hash(&mut hasher);
    hasher.finish()
}

/// A plain multiplicative hash: a state is thousands of small writes, and nobody attacks it.
struct Mixer(u64);

impl Mixer {
    /// The golden ratio's bits, and a rotation so that high bits come back low.
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }
}

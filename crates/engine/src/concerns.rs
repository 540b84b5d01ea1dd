//! What this process lacks at the moment: told in the log when it begins and when it is over, shown by `/readyz` and by a
//! gauge in between.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::time::Timestamp;

/// What can be lacking. A new one needs its name, what it stops, and what an operator does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// A clock that shows the time of the database server.
    Clock,
    /// Room on the disk of the database.
    Disk,
    /// The signer's journal.
    Journal,
    /// Whoever holds the keys: a KMS, a store of secrets, a token.
    Keys,
    /// The server of the queues between processes.
    Queues,
}

impl Component {
    /// Every component.
    pub const ALL: [Self; 5] = [Self::Clock, Self::Disk, Self::Journal, Self::Keys, Self::Queues];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Journal => "journal",
            Self::Keys => "keys",
            Self::Queues => "queues",
        }
    }

    /// Whether requests must not be sent to a process that lacks it. What only keeps payments waiting is no such thing.
    #[must_use]
    pub const fn is_blocking(self) -> bool {
        matches!(self, Self::Disk)
    }

    /// What it stops, and what to do.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Clock => {
                "payments go on by the server's; the times in this log are wrong, or the server's are: set the clock"
            }
            Self::Disk => {
                "nothing is accepted or paid, and nothing is lost: free space; it goes on by itself"
            }
            Self::Journal => {
                "nothing is signed, withdrawals are accepted and wait: look after what holds the journal; it goes on by \
                 itself unless this says otherwise"
            }
            Self::Keys => {
                "payments of these wallets wait: look after what holds the keys; they go on by themselves"
            }
            Self::Queues => {
                "doorbells come by timer, and what scales by the queues reads old numbers; payments go on"
            }
        }
    }

    /// Whether payments go on without it.
    const fn is_dispensable(self) -> bool {
        matches!(self, Self::Clock | Self::Queues)
    }
}

/// Something that is lacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What.
    pub component: Component,
    /// Since when, why, and what to do.
    pub detail: String,
}

/// What is lacking, as the parts of one process report it. Cheap to clone; the clones share it.
#[derive(Clone, Debug, Default)]
pub struct Concerns(Arc<Mutex<BTreeMap<Component, Lack>>>);

/// Who misses a component, and since when the first of them did.
#[derive(Debug)]
struct Lack {
    since: Timestamp,
    /// Why, by who misses it: a wallet, a queue, a part of the process.
    why: BTreeMap<String, String>,
}

impl Concerns {
    /// Reports that `who` misses a component. The log tells it once, until nobody misses it any more.
    pub fn failing(&self, component: Component, who: &str, now: Timestamp, why: &dyn Display) {
        let mut lacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !lacks.contains_key(&component);
        let lack =
            lacks.entry(component).or_insert_with(|| Lack { since: now, why: BTreeMap::new() });
        lack.why.insert(who.to_owned(), why.to_string());
        drop(lacks);
        if !is_new {
            return;
        }
        gauge(component, true);
        let (name, remedy) = (component.as_str(), component.remedy());
        if component.is_dispensable() {
            tracing::warn!(component = name, who, "{why}: {remedy}");
        } else {
            tracing::error!(component = name, who, "{why}: {remedy}");
        }
    }

    /// Reports that `who` has a component. Says whether it had missed it.
    pub fn well(&self, component: Component, who: &str) -> bool {
        let mut lacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lack) = lacks.get_mut(&component) else { return false };
        let had_missed = lack.why.remove(who).is_some();
        let since = lack.since;
        let is_over = lack.why.is_empty();
        if is_over {
            lacks.remove(&component);
        }
        drop(lacks);
        if is_over {
            gauge(component, false);
            let (name, since) = (component.as_str(), since.to_rfc3339());
            tracing::info!(component = name, since, "it is well again");
        }
        had_missed
    }

    /// All that is lacking now.
    #[must_use]
    pub fn all(&self) -> Vec<Concern> {
        let lacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lacks.iter().map(|(component, lack)| lack.concern(*component)).collect()
    }

    /// Sets the gauge of every component, so that one that never fails is seen as well.
    pub fn show_gauges(&self) {
        let lacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for component in Component::ALL {
            gauge(component, lacks.contains_key(&component));
        }
    }
}

impl Lack {
    fn concern(&self, component: Component) -> Concern {
        let since = self.since.to_rfc3339();
        let (who, why) = self.why.first_key_value().map_or(("", ""), |(who, why)| (who, why));
        let others = match self.why.len().saturating_sub(1) {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        let remedy = component.remedy();
        Concern { component, detail: format!("since {since}: {who}{others}: {why}: {remedy}") }
    }
}

fn gauge(component: Component, is_lacking: bool) {
    metrics::gauge!("portcullis_concerns", "component" => component.as_str()).set(if is_lacking {
        1.0
    } else {
        0.0
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_lacking_until_nobody_misses_it() {
        let concerns = Concerns::default();
        let at = Timestamp::from_millis;
        assert!(!concerns.well(Component::Keys, "0xb"), "it was well");
        concerns.failing(Component::Keys, "0xb", at(1_000), &"no answer");
        concerns.failing(Component::Keys, "0xa", at(2_000), &"throttled");
        concerns.failing(Component::Keys, "0xa", at(3_000), &"throttled again");
        let [concern] = &concerns.all()[..] else { panic!("{concerns:?}") };
        assert_eq!(concern.component, Component::Keys);
        assert!(
            concern.detail.starts_with(
                "since 1970-01-01T00:00:01.000Z: 0xa (and 1 more): throttled again: payments of"
            ),
            "{}",
            concern.detail
        );
        assert!(concerns.well(Component::Keys, "0xb"));
        assert!(!concerns.well(Component::Keys, "0xb"), "told once");
        assert_eq!(concerns.all().len(), 1);
        assert!(concerns.well(Component::Keys, "0xa"));
        assert_eq!(concerns.all(), []);
        concerns.failing(Component::Keys, "0xa", at(9_000), &"no answer");
        assert!(concerns.all()[0].detail.starts_with("since 1970-01-01T00:00:09.000Z: 0xa: no"));
    }

    #[test]
    fn only_what_intake_needs_is_blocking() {
        let blocking = Component::ALL.into_iter().filter(|component| component.is_blocking());
        assert_eq!(blocking.collect::<Vec<_>>(), [Component::Disk]);
    }
}

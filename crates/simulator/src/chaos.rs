//! What can go wrong in a run, each kind with a switch and a counter.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use thiserror::Error;

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $name:literal,)+) => {
        /// A kind of trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Chaos {
            $($(#[$meta])* $kind,)+
        }

        impl Chaos {
            /// Every kind.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$kind),+];

            /// The name of its counter and of its switch.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A role, or a client's request, ends between two effects.
    Crashes = "crashes",
    /// The chain drops blocks.
    Reorgs = "reorgs",
    /// An old copy of the database is put back while the engine is stopped, as `portcullis restore` does.
    Restores = "restores",
    /// A node acts and its answer is lost.
    LostAnswers = "lost_answers",
    /// A whole process ends.
    PowerCuts = "power_cuts",
    /// A role sleeps between two effects for longer than its lease lives.
    Sleeps = "sleeps",
    /// An old copy of the database takes its place under the running engine.
    SilentRestores = "silent_restores",
    /// A second engine runs on the same database.
    SecondEngines = "second_engines",
    /// A second engine starts on a copy of the database, and is refused the journal.
    Copies = "copies",
    /// A second engine signs on a copy of the database with a copy of the journal.
    SecondJournals = "second_journals",
    /// A client does not see the answer to its request.
    LostRequests = "lost_requests",
    /// A doorbell does not ring.
    LostDoorbells = "lost_doorbells",
    /// A doorbell rings again later.
    RepeatedDoorbells = "repeated_doorbells",
    /// An operator cancels a slot.
    Cancels = "cancels",
    /// A client takes a withdrawal back that is not bound yet.
    ClientCancels = "client_cancels",
    /// Withdrawals that the vault cannot pay, for the token refuses the recipient: given up, and the number voided.
    Voids = "voids",
    /// Blocks whose base fee is above the engine's cap.
    FeeSpikes = "fee_spikes",
    /// Transactions that the pool drops because the first of their account bids too little.
    Stranded = "stranded",
    /// Times that a pool forgets everything.
    PoolRestarts = "pool_restarts",
    /// A request never arrives.
    Dropped = "dropped",
    /// A provider answers 429, as HTTP status or inside a batch.
    RateLimited = "rate_limited",
    /// A provider answers with a JSON-RPC error inside HTTP 200.
    RpcErrors = "rpc_errors",
    /// A provider answers `null` where there is something.
    NullReads = "null_reads",
    /// One read is answered by a node some blocks behind.
    StaleReads = "stale_reads",
    /// Reads of a provider that stays behind for a while.
    LaggingReads = "lagging_reads",
    /// Requests that a provider on a minority branch answers.
    ForkedViews = "forked_views",
    /// Bytes reach the pool blocks later, after an error was answered.
    AcceptedLate = "accepted_late",
    /// Bytes are accepted, and dropped at once.
    Forgotten = "forgotten",
    /// A request arrives twice.
    Duplicated = "duplicated",
}

/// A name that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no kind of trouble; they are {all}", all = names())]
pub struct UnknownChaos(String);

fn names() -> String {
    Chaos::ALL.map(Chaos::as_str).join(", ")
}

impl fmt::Display for Chaos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Chaos {
    type Err = UnknownChaos;

    fn from_str(text: &str) -> Result<Self, UnknownChaos> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownChaos(text.to_owned()))
    }
}

/// The kinds that are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChaosSet(u64);

impl ChaosSet {
    /// Every kind.
    pub const ALL: Self = Self((1 << Chaos::ALL.len()) - 1);

    /// None.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn with(self, kind: Chaos) -> Self {
        Self(self.0 | (1 << kind as u32))
    }

    /// These but one.
    #[must_use]
    pub const fn without(self, kind: Chaos) -> Self {
        Self(self.0 & !(1 << kind as u32))
    }

    /// Whether a kind is among them.
    #[must_use]
    pub const fn has(self, kind: Chaos) -> bool {
        self.0 & (1 << kind as u32) != 0
    }
}

/// How often each kind happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Chaos::ALL.len()]);

impl Counts {
    /// How often one kind happened.
    #[must_use]
    pub const fn of(&self, kind: Chaos) -> u64 {
        self.0[kind as usize]
    }

    /// Counts one more.
    pub(crate) const fn count(&mut self, kind: Chaos) {
        self.add(kind, 1);
    }

    /// Counts some more.
    pub(crate) const fn add(&mut self, kind: Chaos, times: u64) {
        let count = &mut self.0[kind as usize];
        *count = count.saturating_add(times);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for kind in Chaos::ALL {
            self.add(kind, other.of(kind));
        }
    }
}

/// One field for each kind.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Chaos::ALL.len()))?;
        for kind in Chaos::ALL {
            map.serialize_entry(kind.as_str(), &self.of(kind))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_switched_one_by_one() {
        for kind in Chaos::ALL {
            assert!(ChaosSet::ALL.has(kind) && !ChaosSet::NONE.has(kind));
            let only = ChaosSet::NONE.with(kind);
            let others = ChaosSet::ALL.without(kind);
            for other in Chaos::ALL {
                assert_eq!((only.has(other), others.has(other)), (other == kind, other != kind));
            }
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let message = "rain".parse::<Chaos>().expect_err("no kind").to_string();
        assert!(message.contains("lost_answers"), "{message}");
    }

    #[test]
    fn counts_are_fields_by_name() {
        let mut counts = Counts::default();
        counts.add(Chaos::Reorgs, 2);
        counts += counts;
        assert_eq!(counts.of(Chaos::Reorgs), 4);
        let json = serde_json::to_value(counts).expect("a map of numbers");
        assert_eq!((&json["reorgs"], &json["crashes"]), (&4.into(), &0.into()));
    }
}

//! Small things that every test needs: a clock that is told, entropy from a seed, keys, transactions.

mod clock;
mod entropy;
mod key;
mod transaction;

pub use clock::TestClock;
pub use entropy::SeededEntropy;
pub use key::{DevKey, dev_key};
pub use transaction::{SignedTestTransaction, TestTransaction};

//! Where a process can end: the points around each effect on the world outside it.
//!
//! A commit, a write to the journal and a request to a node each pass a gate before and after. In
//! production there is no gate. The simulator's gate pauses a role there, lets others go first, and
//! ends it between any two effects by dropping its future.

use std::future::Future;
use std::pin::Pin;

/// A place right before or right after one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EffectPoint {
    /// The effect: a transaction's name, `journal`, an RPC method.
    pub effect: &'static str,
    /// Whether the effect has happened; its answer has not been seen yet.
    pub happened: bool,
}

/// Lets a role through to its next effect, or not.
pub trait EffectGate: Send + Sync + 'static {
    /// Resolves when the role may go on.
    fn pass(&self, point: EffectPoint) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

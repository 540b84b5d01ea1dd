//! Where the simulator stops a request: before the node sees it, and between its effect and the answer.

use futures::future::BoxFuture;

/// Which side of the node a request is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The node has not seen the request: dropping the caller now means that nothing was sent.
    BeforeNode,
    /// The node has done what was asked: dropping the caller now loses only the answer.
    AfterNode,
}

/// A request at one of its two stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatePoint {
    /// The provider, as [`crate::SimTransport::named`] called it.
    pub provider: String,
    /// Which stop.
    pub stage: Stage,
    /// The JSON-RPC methods of the packet, in its order.
    pub methods: Vec<String>,
}

/// Decides when a request goes on. A scheduler holds the future back to pause or reorder roles, or drops
/// the role that waits for it.
pub trait Gate: Send + Sync {
    /// Resolves when the request may go on.
    fn pass(&self, point: GatePoint) -> BoxFuture<'static, ()>;
}

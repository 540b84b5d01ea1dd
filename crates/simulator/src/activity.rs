//! An activity: one step of a role, or one request of a client, as far as its next effect.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use futures::future::BoxFuture;

use crate::chaos::Chaos;
use crate::gate::ControlGate;

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Processor,
    Signer,
    Broadcaster,
    Monitor,
    Recovery,
    /// A client of this engine's API.
    Client,
    /// An operator at this engine's command line.
    Operator,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Processor,
        Self::Signer,
        Self::Broadcaster,
        Self::Monitor,
        Self::Recovery,
        Self::Client,
        Self::Operator,
    ];
}

/// Who acts: somebody's part at one of the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Actor {
    pub(crate) engine: usize,
    pub(crate) part: Part,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} of engine {}", self.part, self.engine)
    }
}

/// What a finished activity came to.
#[derive(Clone, Debug)]
pub(crate) enum Finished {
    /// A step, and whether it did anything. An error says what was wrong; nothing is lost by it.
    Step(Result<bool, String>),
    /// A request's status and body; `None` when the client did not get the answer.
    Request { promises: Vec<usize>, answer: Option<(u16, Vec<u8>)> },
    /// The status that a client got who took a withdrawal back, and the kind of trouble that this is.
    Cancel { status: u16, kind: Chaos },
}

/// A future that stops at gates.
pub(crate) struct Activity {
    id: u64,
    gate: ControlGate,
    future: BoxFuture<'static, Finished>,
}

impl Activity {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn new(id: u64, gate: ControlGate, future: BoxFuture<'static, Finished>) -> Self {
        Self { id, gate, future }
    }

    /// Goes on to the next gate; `None` when it stands there, else what it came to.
    pub(crate) async fn advance(&mut self) -> Option<Finished> {
        self.gate.release(self.id);
        let (id, gate, future) = (self.id, &self.gate, &mut self.future);
        poll_fn(move |context| {
            gate.set_current(id);
            match future.as_mut().poll(context) {
                Poll::Ready(finished) => Poll::Ready(Some(finished)),
                Poll::Pending if gate.is_paused(id) => Poll::Ready(None),
                // Waiting for the database's or the journal's thread: real, and short.
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

//! Stops a role for good before one effect, so that a test can end it there.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_testkit::{Gate, GatePoint, Stage};
use tokio::sync::Notify;

/// Where somebody is stopped: before the commit of a transaction, or before a request to the node.
#[derive(Clone, Default)]
pub(crate) struct StopBefore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    effect: Mutex<Option<&'static str>>,
    reached: Notify,
}

impl StopBefore {
    /// Stops whoever comes to `effect`: the name of a transaction, or an RPC method.
    pub(crate) fn arm(&self, effect: &'static str) {
        *self.0.effect.lock().unwrap_or_else(PoisonError::into_inner) = Some(effect);
    }

    /// Runs `step` until it stands before the armed effect, and ends it there.
    pub(crate) async fn end_there(&self, step: impl Future) {
        tokio::select! {
            _ = step => panic!("it went by"),
            () = self.0.reached.notified() => {}
        }
        *self.0.effect.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn stops(&self, is_here: impl Fn(&str) -> bool) -> bool {
        let armed = *self.0.effect.lock().unwrap_or_else(PoisonError::into_inner);
        let stops = armed.is_some_and(is_here);
        if stops {
            self.0.reached.notify_one();
        }
        stops
    }
}

impl EffectGate for StopBefore {
    fn pass(&self, point: EffectPoint) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let stops = !point.happened && self.stops(|effect| effect == point.effect);
        if stops { Box::pin(std::future::pending()) } else { Box::pin(std::future::ready(())) }
    }
}

impl Gate for StopBefore {
    fn pass(&self, point: GatePoint) -> BoxFuture<'static, ()> {
        let is_here = |effect: &str| point.methods.iter().any(|method| method == effect);
        let stops = point.stage == Stage::BeforeNode && self.stops(is_here);
        if stops { Box::pin(std::future::pending()) } else { Box::pin(std::future::ready(())) }
    }
}

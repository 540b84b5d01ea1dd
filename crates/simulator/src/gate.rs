//! The gate at which activities stop: one for the store, the journal and the transport alike.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use portcullis_core::effect::{EffectGate, EffectPoint};
use portcullis_keys::signer::JOURNAL_EFFECT;
use portcullis_testkit::{Gate, GatePoint};

/// Shared by everything that has effects. Closed, it stops whoever comes to it until the scheduler
/// lets that activity through.
#[derive(Clone, Default)]
pub(crate) struct ControlGate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_closed: bool,
    /// The activity that is being polled.
    current: u64,
    next_pause: u64,
    pauses: BTreeMap<u64, Pausing>,
}

struct Pausing {
    activity: u64,
    /// Whether it stands around a write to the journal: others of the same journal wait for it.
    is_at_journal: bool,
    is_released: bool,
    waker: Option<Waker>,
}

impl ControlGate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops activities from now on, or lets all pass.
    pub(crate) fn set_closed(&self, is_closed: bool) {
        self.state().is_closed = is_closed;
    }

    /// Says who is polled next.
    pub(crate) fn set_current(&self, activity: u64) {
        self.state().current = activity;
    }

    /// Whether the activity stands at a gate.
    pub(crate) fn is_paused(&self, activity: u64) -> bool {
        self.state().pauses.values().any(|pause| pause.activity == activity && !pause.is_released)
    }

    /// The activities that stand around a write to the journal.
    pub(crate) fn at_journal(&self) -> Vec<u64> {
        let state = self.state();
        let at_journal = state.pauses.values().filter(|pause| pause.is_at_journal);
        at_journal.map(|pause| pause.activity).collect()
    }

    /// Lets an activity through wherever it stands.
    pub(crate) fn release(&self, activity: u64) {
        let mut wakers = Vec::new();
        for pause in self.state().pauses.values_mut().filter(|pause| pause.activity == activity) {
            pause.is_released = true;
            wakers.extend(pause.waker.take());
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn pause(&self, is_at_journal: bool) -> Pause {
        let mut state = self.state();
        if !state.is_closed {
            return Pause { gate: self.clone(), id: None };
        }
        let id = state.next_pause;
        state.next_pause = id.wrapping_add(1);
        let activity = state.current;
        let pausing = Pausing { activity, is_at_journal, is_released: false, waker: None };
        state.pauses.insert(id, pausing);
        Pause { gate: self.clone(), id: Some(id) }
    }
}

/// One stop at the gate. Dropped, it is forgotten.
struct Pause {
    gate: ControlGate,
    id: Option<u64>,
}

impl Future for Pause {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(id) = self.id else { return Poll::Ready(()) };
        let mut state = self.gate.state();
        let Some(pause) = state.pauses.get_mut(&id) else { return Poll::Ready(()) };
        if pause.is_released {
            return Poll::Ready(());
        }
        pause.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.gate.state().pauses.remove(&id);
        }
    }
}

impl EffectGate for ControlGate {
    fn pass(&self, point: EffectPoint) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.pause(point.effect == JOURNAL_EFFECT))
    }
}

impl Gate for ControlGate {
    fn pass(&self, _point: GatePoint) -> BoxFuture<'static, ()> {
        Box::pin(self.pause(false))
    }
}

//! `decide`: the one function that moves a withdrawal, and says what the move causes.

use thiserror::Error;

use super::code::{FailureReason, HoldReason, StateCode};
use super::state::{BlockRef, InvalidTransition, State};
use crate::id::SlotId;

/// How a binding came to be released. Each is positive evidence, never an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// Our own cancel is final in its slot.
    Canceled {
        /// Whether the client asked for it: then the withdrawal ends, else it is queued again.
        requested: bool,
    },
    /// Its transaction is final and reverted: on the `direct` rail it has failed.
    Reverted,
    /// Its transaction is final and reverted for want of gas: it rides again with more.
    OutOfGas,
    /// On the vault rail: the receipt shows that its item failed, or that the whole call reverted. Its number is
    /// free and guards the next ride.
    Unpaid {
        /// Whether it had all the rides that it gets: then somebody has to decide.
        is_last_ride: bool,
    },
    /// Its number is voided for good, after every slot that carried it was finally consumed without paying.
    Voided {
        /// Whether the client wanted it back; else it has failed.
        requested: bool,
    },
    /// The slot that was to void its number was consumed without doing so.
    NotVoided,
    /// The slot was bound, and no byte was ever signed for it: neither the store nor the journal has any.
    NeverSigned,
}

/// What happened to a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The processor took it.
    ValidationStarted,
    /// Policy lets it pass.
    PolicyPassed,
    /// Policy refuses it.
    PolicyRefused,
    /// Policy asks for somebody's consent.
    ApprovalRequired,
    /// That consent was given.
    Approved,
    /// That consent was refused.
    ApprovalRefused,
    /// The client takes it back.
    CancelRequested,
    /// The signer bound it.
    Bound(SlotId),
    /// The signer bound it to a slot that voids its number.
    BoundToVoid(SlotId),
    /// Its signed bytes are committed.
    AttemptCommitted,
    /// Its bytes are about to be sent.
    SendStarted,
    /// A provider took them.
    SendAccepted,
    /// A block holds the payment.
    Included(BlockRef),
    /// A block holds the payment, in a slot that it left on the vault rail before a reorg.
    IncludedBy(SlotId, BlockRef),
    /// The chain's confirmations are there.
    Confirmed,
    /// The conservative depth is there.
    Finalized,
    /// The block that held it left the chain.
    Reorged,
    /// Its binding was released.
    Released(ReleaseCause),
    /// The node refuses to execute it, and no byte was ever signed.
    PreflightReverted,
    /// Somebody has to decide.
    Held(HoldReason),
    /// An operator let it go on.
    Resumed,
    /// An operator gave it up, while nothing carries it and the vault never did.
    GivenUp,
}

/// What a move causes, to be committed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ledger: held → paid out.
    Settle,
    /// Ledger: paid out → held. Never to available: a reorg proves nothing about the payment.
    Unsettle,
    /// Ledger: held → available.
    Release,
    /// The payment's live binding ends.
    Unbind,
    /// Policy, approval and screening run again before it is bound once more.
    Revalidate,
    /// Nothing is left to do: the work row goes.
    Finish,
}

/// An event that does not fit the state. The caller's picture is old: read again, never force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The state does not allow the move.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// It is where the event would bring it already.
    #[error("a withdrawal is {0} already")]
    Already(StateCode),
}

/// Moves a withdrawal.
///
/// # Errors
/// [`Refused`] when the event does not fit; nothing may be written then.
pub fn decide(state: State, event: Event) -> Result<(State, Vec<Effect>), Refused> {
    let moved = match event {
        Event::ValidationStarted => (state.validate()?, vec![]),
        Event::PolicyPassed | Event::Approved | Event::Resumed => queue(state, event)?,
        Event::PolicyRefused | Event::ApprovalRefused => {
            (state.reject()?, vec![Effect::Release, Effect::Finish])
        }
        Event::ApprovalRequired => (state.await_approval()?, vec![]),
        Event::CancelRequested => (state.cancel()?, vec![Effect::Release, Effect::Finish]),
        Event::GivenUp => (state.give_up()?, vec![Effect::Release, Effect::Finish]),
        Event::Bound(slot) => (state.bind(slot)?, vec![]),
        Event::BoundToVoid(slot) => bind_to_void(state, slot)?,
        Event::AttemptCommitted => (state.sign()?, vec![]),
        Event::SendStarted => (state.begin_broadcast()?, vec![]),
        Event::SendAccepted => (state.finish_broadcast()?, vec![]),
        Event::Included(block) => include(state, block)?,
        Event::IncludedBy(slot, block) => include_by(state, slot, block)?,
        Event::Confirmed => (state.confirm()?, vec![Effect::Settle]),
        Event::Finalized => (state.finalize()?, vec![Effect::Finish]),
        Event::Reorged => reorg(state)?,
        Event::Released(cause) => release(state, cause)?,
        Event::PreflightReverted => fail_preflight(state)?,
        Event::Held(reason) => hold(state, reason)?,
    };
    Ok(moved)
}

type Moved = (State, Vec<Effect>);

/// Each of the three ways into the queue starts from its own state.
fn queue(state: State, event: Event) -> Result<Moved, Refused> {
    let expected = match event {
        Event::PolicyPassed => StateCode::Validating,
        Event::Approved => StateCode::AwaitingApproval,
        _ => StateCode::Held,
    };
    if state.code() != expected {
        return Err(state.cannot_become(StateCode::Queued).into());
    }
    let effects = if event == Event::Resumed { vec![Effect::Revalidate] } else { vec![] };
    Ok((state.queue()?, effects))
}

fn include(state: State, block: BlockRef) -> Result<Moved, Refused> {
    match state {
        State::Confirming { block: known, .. } if known == block => {
            Err(Refused::Already(StateCode::Confirming))
        }
        other => Ok((other.include(block)?, vec![])),
    }
}

/// The slot that carries it now goes on without it: the vault skips its number there.
fn include_by(state: State, slot: SlotId, block: BlockRef) -> Result<Moved, Refused> {
    let effects = if state.slot().is_some() { vec![Effect::Unbind] } else { vec![] };
    Ok((state.include_by(slot, block)?, effects))
}

fn bind_to_void(state: State, slot: SlotId) -> Result<Moved, Refused> {
    match state {
        State::Held { reason: HoldReason::Voiding, slot: None } => {
            Ok((State::Held { reason: HoldReason::Voiding, slot: Some(slot) }, vec![]))
        }
        other => Err(other.cannot_become(StateCode::Held).into()),
    }
}

fn reorg(state: State) -> Result<Moved, Refused> {
    let effects = match state {
        State::Confirmed { .. } => vec![Effect::Unsettle],
        _ => vec![],
    };
    Ok((state.reorg()?, effects))
}

/// Back to the queue, or out, when positive evidence released the binding.
/// A confirmed withdrawal is reached only through [`Event::Reorged`], which unsettles it first.
fn release(state: State, cause: ReleaseCause) -> Result<Moved, Refused> {
    let bound = matches!(
        state,
        State::Signing { .. }
            | State::Signed { .. }
            | State::Broadcasting { .. }
            | State::Broadcasted { .. }
            | State::Confirming { .. }
            | State::Held { slot: Some(_), .. }
    );
    let never_signed = matches!(state, State::Signing { .. });
    let voiding = matches!(state, State::Held { reason: HoldReason::Voiding, .. });
    let of_void = matches!(cause, ReleaseCause::Voided { .. } | ReleaseCause::NotVoided);
    match cause {
        _ if !bound || voiding != of_void => Err(state.cannot_become(StateCode::Queued).into()),
        ReleaseCause::NeverSigned if !never_signed => {
            Err(state.cannot_become(StateCode::Queued).into())
        }
        ReleaseCause::Canceled { requested: true } => {
            Ok((State::Canceled, vec![Effect::Unbind, Effect::Release, Effect::Finish]))
        }
        ReleaseCause::Canceled { requested: false }
        | ReleaseCause::OutOfGas
        | ReleaseCause::NeverSigned
        | ReleaseCause::Unpaid { is_last_ride: false } => {
            Ok((State::Queued, vec![Effect::Unbind, Effect::Revalidate]))
        }
        ReleaseCause::Reverted => {
            let failed = State::Failed { reason: FailureReason::Reverted };
            Ok((failed, vec![Effect::Unbind, Effect::Release, Effect::Finish]))
        }
        ReleaseCause::Unpaid { is_last_ride: true } => {
            Ok((State::Held { reason: HoldReason::Failing, slot: None }, vec![Effect::Unbind]))
        }
        ReleaseCause::NotVoided => {
            Ok((State::Held { reason: HoldReason::Voiding, slot: None }, vec![Effect::Unbind]))
        }
        ReleaseCause::Voided { requested } => {
            let failed = State::Failed { reason: FailureReason::Voided };
            let ended = if requested { State::Canceled } else { failed };
            Ok((ended, vec![Effect::Unbind, Effect::Release, Effect::Finish]))
        }
    }
}

fn fail_preflight(state: State) -> Result<Moved, Refused> {
    match state {
        State::Queued => {
            let failed = State::Failed { reason: FailureReason::Preflight };
            Ok((failed, vec![Effect::Release, Effect::Finish]))
        }
        other => Err(other.cannot_become(StateCode::Failed).into()),
    }
}

fn hold(state: State, reason: HoldReason) -> Result<Moved, Refused> {
    match state {
        State::Held { reason: known, .. } if known == reason => {
            Err(Refused::Already(StateCode::Held))
        }
        other => Ok((other.hold(reason)?, vec![])),
    }
}

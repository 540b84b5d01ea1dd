//! Every move of every state in one table, and walks that must stay on its graph.

use alloy_primitives::B256;
use proptest::prelude::*;

use super::StateCode as Code;
use super::{
    BlockRef, Effect, Event, FailureReason, HoldReason, Refused, ReleaseCause, State, decide,
};
use crate::id::SlotId;
use crate::ledger::{Bucket, PostingKind};

const SLOT: SlotId = SlotId::from_bytes([7; 16]);
const OTHER_SLOT: SlotId = SlotId::from_bytes([8; 16]);
const BLOCK: BlockRef = BlockRef { number: 10, hash: B256::ZERO };
const OTHER_BLOCK: BlockRef = BlockRef { number: 11, hash: B256::ZERO };

const STATES: [State; 23] = [
    State::Pending,
    State::Validating,
    State::AwaitingApproval,
    State::Queued,
    State::Signing { slot: SLOT },
    State::Signed { slot: SLOT },
    State::Broadcasting { slot: SLOT },
    State::Broadcasted { slot: SLOT },
    State::Confirming { slot: SLOT, block: BLOCK },
    State::Confirmed { slot: SLOT, block: BLOCK, is_final: false },
    State::Confirmed { slot: SLOT, block: BLOCK, is_final: true },
    State::Held { reason: HoldReason::Compliance, slot: None },
    State::Held { reason: HoldReason::Tamper, slot: None },
    State::Held { reason: HoldReason::Restore, slot: None },
    State::Held { reason: HoldReason::Underpaid, slot: None },
    State::Held { reason: HoldReason::Underpaid, slot: Some(SLOT) },
    State::Rejected,
    State::Canceled,
    State::Failed { reason: FailureReason::Reverted },
    State::Failed { reason: FailureReason::Preflight },
    State::Failed { reason: FailureReason::Voided },
    State::Held { reason: HoldReason::Voiding, slot: None },
    State::Held { reason: HoldReason::Voiding, slot: Some(SLOT) },
];

const EVENTS: [Event; 33] = [
    Event::ValidationStarted,
    Event::PolicyPassed,
    Event::PolicyRefused,
    Event::ApprovalRequired,
    Event::Approved,
    Event::ApprovalRefused,
    Event::CancelRequested,
    Event::Bound(SLOT),
    Event::AttemptCommitted,
    Event::SendStarted,
    Event::SendAccepted,
    Event::Included(BLOCK),
    Event::Included(OTHER_BLOCK),
    Event::Confirmed,
    Event::Finalized,
    Event::Reorged,
    Event::Released(ReleaseCause::Canceled { requested: true }),
    Event::Released(ReleaseCause::Canceled { requested: false }),
    Event::Released(ReleaseCause::Reverted),
    Event::Released(ReleaseCause::OutOfGas),
    Event::Released(ReleaseCause::NeverSigned),
    Event::PreflightReverted,
    Event::Held(HoldReason::Underpaid),
    Event::Resumed,
    Event::GivenUp,
    Event::BoundToVoid(SLOT),
    Event::IncludedBy(OTHER_SLOT, BLOCK),
    Event::Released(ReleaseCause::Unpaid { is_last_ride: false }),
    Event::Released(ReleaseCause::Unpaid { is_last_ride: true }),
    Event::Released(ReleaseCause::Voided { requested: true }),
    Event::Released(ReleaseCause::Voided { requested: false }),
    Event::Released(ReleaseCause::NotVoided),
    Event::Held(HoldReason::Voiding),
];

/// Where each event may be accepted, and where it leads. What is not here is refused.
fn expected(event: Event) -> (&'static [Code], Code) {
    use Code::{
        AwaitingApproval, Broadcasted, Broadcasting, Canceled, Confirmed, Confirming, Failed, Held,
        Pending, Queued, Rejected, Signed, Signing, Validating,
    };
    match event {
        Event::ValidationStarted => (&[Pending], Validating),
        Event::PolicyPassed => (&[Validating], Queued),
        Event::PolicyRefused | Event::ApprovalRefused => {
            (&[Validating, AwaitingApproval], Rejected)
        }
        Event::ApprovalRequired => (&[Validating], AwaitingApproval),
        Event::Approved => (&[AwaitingApproval], Queued),
        Event::CancelRequested => {
            (&[Pending, Validating, AwaitingApproval, Queued, Held], Canceled)
        }
        Event::Bound(_) => (&[Queued], Signing),
        Event::AttemptCommitted => (&[Signing], Signed),
        Event::SendStarted => (&[Signed], Broadcasting),
        Event::SendAccepted => (&[Broadcasting], Broadcasted),
        Event::Included(_) => (&[Signed, Broadcasting, Broadcasted, Confirming], Confirming),
        Event::Confirmed => (&[Confirming], Confirmed),
        Event::Finalized => (&[Confirmed], Confirmed),
        Event::Reorged => (&[Confirming, Confirmed], Broadcasted),
        Event::Released(cause) => released(cause),
        Event::BoundToVoid(_) => (&[Held], Held),
        Event::IncludedBy(..) => (
            &[
                Validating,
                AwaitingApproval,
                Queued,
                Signing,
                Signed,
                Broadcasting,
                Broadcasted,
                Held,
            ],
            Confirming,
        ),
        Event::PreflightReverted => (&[Queued], Failed),
        Event::Held(_) => (
            &[
                Pending,
                Validating,
                AwaitingApproval,
                Queued,
                Signing,
                Signed,
                Broadcasting,
                Broadcasted,
                Confirming,
                Held,
            ],
            Held,
        ),
        Event::Resumed => (&[Held], Queued),
        Event::GivenUp => (&[Held], Canceled),
    }
}

/// Where each release may be accepted, and where it leads.
fn released(cause: ReleaseCause) -> (&'static [Code], Code) {
    use Code::{
        Broadcasted, Broadcasting, Canceled, Confirming, Failed, Held, Queued, Signed, Signing,
    };
    let bound = &[Signing, Signed, Broadcasting, Broadcasted, Confirming, Held];
    match cause {
        ReleaseCause::Canceled { requested: true } => (bound, Canceled),
        ReleaseCause::Reverted => (bound, Failed),
        ReleaseCause::NeverSigned => (&[Signing], Queued),
        ReleaseCause::Canceled { requested: false }
        | ReleaseCause::OutOfGas
        | ReleaseCause::Unpaid { is_last_ride: false } => (bound, Queued),
        ReleaseCause::Unpaid { is_last_ride: true } => (bound, Held),
        ReleaseCause::Voided { requested: true } => (&[Held], Canceled),
        ReleaseCause::Voided { requested: false } => (&[Held], Failed),
        ReleaseCause::NotVoided => (&[Held], Held),
    }
}

/// States of an accepted code that refuse all the same, because of the data that they carry.
fn refused_for_its_data(state: State, event: Event) -> bool {
    let voids =
        matches!(event, Event::Released(ReleaseCause::Voided { .. } | ReleaseCause::NotVoided));
    match (state, event) {
        (State::Held { reason: HoldReason::Voiding, slot: Some(_) }, Event::Released(_)) => !voids,
        (State::Held { reason: HoldReason::Voiding, slot: None }, Event::BoundToVoid(_))
        | (State::Held { reason: HoldReason::Voiding, .. }, Event::IncludedBy(..)) => false,
        (State::Held { reason: HoldReason::Voiding, .. }, _) | (_, Event::BoundToVoid(_)) => true,
        (_, Event::Released(_)) if voids => true,
        (state, Event::Held(HoldReason::Voiding)) => state.slot().is_some(),
        (
            State::Held {
                reason: HoldReason::Tamper | HoldReason::Restore | HoldReason::Underpaid,
                ..
            },
            Event::CancelRequested,
        )
        | (State::Held { reason: HoldReason::Underpaid, .. }, Event::GivenUp)
        | (
            State::Held { slot: Some(_), .. },
            Event::CancelRequested | Event::Resumed | Event::GivenUp,
        )
        | (State::Held { slot: None, .. }, Event::Released(_))
        | (State::Confirmed { is_final: true, .. }, Event::Finalized) => true,
        (State::Confirming { block, .. }, Event::Included(new)) => block == new,
        (State::Held { reason, .. }, Event::Held(new)) => reason == new,
        _ => false,
    }
}

#[test]
fn every_event_in_every_state() {
    for state in STATES {
        for event in EVENTS {
            let (from, to) = expected(event);
            let allowed = from.contains(&state.code()) && !refused_for_its_data(state, event);
            match decide(state, event) {
                Ok((next, _)) => {
                    assert!(allowed, "{state:?} took {event:?}");
                    assert_eq!(next.code(), to, "{state:?} by {event:?}");
                }
                Err(refused) => assert!(!allowed, "{state:?} by {event:?}: {refused}"),
            }
        }
    }
}

#[test]
fn the_slot_stays_until_it_is_released() {
    for state in STATES {
        for event in EVENTS {
            let Ok((next, effects)) = decide(state, event) else { continue };
            let released = effects.contains(&Effect::Unbind);
            let binds =
                matches!(event, Event::Bound(_) | Event::BoundToVoid(_) | Event::IncludedBy(..));
            if state.slot().is_some() {
                assert_eq!(next.slot() != state.slot(), released, "{state:?} by {event:?}");
                assert_eq!(next.slot().is_some(), binds || !released, "{state:?} by {event:?}");
            } else {
                assert!(!released);
                assert_eq!(next.slot().is_some(), binds);
            }
        }
    }
}

#[test]
fn repeated_news_is_told_apart_from_a_wrong_move() {
    let confirming = State::Confirming { slot: SLOT, block: BLOCK };
    assert_eq!(decide(confirming, Event::Included(BLOCK)), Err(Refused::Already(Code::Confirming)));
    let held = State::Held { reason: HoldReason::Underpaid, slot: None };
    let again = decide(held, Event::Held(HoldReason::Underpaid));
    assert_eq!(again, Err(Refused::Already(Code::Held)));
}

#[test]
fn texts_read_back() {
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Ok(*code));
        assert_eq!(serde_json::to_string(code).expect("plain"), format!("{:?}", code.as_str()));
    }
    for reason in HoldReason::ALL {
        assert_eq!(HoldReason::parse(reason.as_str()), Ok(*reason));
    }
    assert!(Code::parse("pending").is_err());
}

/// What one withdrawal did to its account: where its amount stands.
fn post(bucket: Bucket, effect: Effect) -> Bucket {
    match PostingKind::of_effect(effect) {
        None => bucket,
        Some(kind) => {
            let (from, to) = kind.buckets();
            assert_eq!(bucket, from, "{kind} from {bucket:?}");
            to
        }
    }
}

proptest! {
    /// However events come, money is always in exactly one bucket and the state agrees with it.
    #[test]
    fn no_walk_leaves_the_graph(choices in prop::collection::vec(0_usize..EVENTS.len(), 0..60)) {
        let mut state = State::Pending;
        let mut bucket = Bucket::Held;
        for choice in choices {
            let before = state;
            let Ok((next, effects)) = decide(state, EVENTS[choice]) else { continue };
            let ended = matches!(before, State::Rejected | State::Canceled | State::Failed { .. });
            prop_assert!(!ended, "a terminal state moved");
            for effect in effects {
                bucket = post(bucket, effect);
            }
            state = next;
            let expected = match state {
                State::Confirmed { .. } => Bucket::Paid,
                State::Rejected | State::Canceled | State::Failed { .. } => Bucket::Available,
                _ => Bucket::Held,
            };
            prop_assert_eq!(bucket, expected);
        }
    }
}

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
const BLOCK: BlockRef = BlockRef { number: 10, hash: B256::ZERO };
const OTHER_BLOCK: BlockRef = BlockRef { number: 11, hash: B256::ZERO };

const STATES: [State; 17] = [
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
    State::Held { reason: HoldReason::Tamper, slot: None },
    State::Held { reason: HoldReason::Underpaid, slot: Some(SLOT) },
    State::Rejected,
    State::Canceled,
    State::Failed { reason: FailureReason::Reverted },
    State::Failed { reason: FailureReason::Preflight },
];

const EVENTS: [Event; 24] = [
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
        Event::Released(ReleaseCause::Canceled { requested: true }) => {
            (&[Signing, Signed, Broadcasting, Broadcasted, Confirming, Held], Canceled)
        }
        Event::Released(ReleaseCause::Canceled { requested: false } | ReleaseCause::OutOfGas) => {
            (&[Signing, Signed, Broadcasting, Broadcasted, Confirming, Held], Queued)
        }
        Event::Released(ReleaseCause::Reverted) => {
            (&[Signing, Signed, Broadcasting, Broadcasted, Confirming, Held], Failed)
        }
        Event::Released(ReleaseCause::NeverSigned) => (&[Signing], Queued),
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
    }
}

/// States of an accepted code that refuse all the same, because of the data that they carry.
fn refused_for_its_data(state: State, event: Event) -> bool {
    match (state, event) {
        (State::Held { slot: Some(_), .. }, Event::CancelRequested | Event::Resumed)
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
            if state.slot().is_some() {
                assert_eq!(next.slot().is_none(), released, "{state:?} by {event:?}");
            } else {
                assert!(!released);
                assert_eq!(next.slot().is_some(), matches!(event, Event::Bound(_)));
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

//! Payments that ran out of gas: they ride again a few times, and fail then.

use portcullis_core::recovery::OUT_OF_GAS_RIDES_MAX;
use portcullis_core::slot::SlotOutcome;
use portcullis_core::withdrawal::{FailureReason, State};
use portcullis_store::chain::Inclusion;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{Fixture, units};
use crate::rail::{GAS_LIMIT, NONCE_FIRST, block, blocks, inclusion};

/// One ride that reverts after it used this much gas, to its final end.
async fn ride(fixture: &Fixture, record: &WithdrawalRecord, nth: u64, gas_used: u64) {
    let (new, attempt) = fixture.sign(record, NONCE_FIRST + nth).await;
    assert_eq!(fixture.send_due().await, 1);
    let reverted = Inclusion {
        outcome: SlotOutcome::Reverted,
        gas_used,
        ..inclusion(&new, &attempt, block(101, 0))
    };
    fixture.include(reverted).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
    fixture.clock.advance(1);
}

#[tokio::test]
async fn what_used_up_its_gas_rides_again_and_fails_in_the_end() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.advance(blocks(100, 102)).await.expect("advances");
    let record = fixture.queue("w", 100).await;
    for nth in 0..u64::from(OUT_OF_GAS_RIDES_MAX) {
        ride(&fixture, &record, nth, GAS_LIMIT).await;
        assert_eq!(fixture.read(&record).await.state, State::Queued, "ride {nth}");
        let rides = fixture.store.out_of_gas_rides(&[record.id]).await.expect("reads");
        assert_eq!(rides.get(&record.id).copied().map(u64::from), Some(nth + 1));
        assert_eq!(fixture.buckets("alice").await, (units(0), units(100), units(0)), "still held");
        assert_eq!(fixture.validate_all().await, 1, "policy looks at it again");
    }
    ride(&fixture, &record, u64::from(OUT_OF_GAS_RIDES_MAX), GAS_LIMIT).await;
    let failed = State::Failed { reason: FailureReason::Reverted };
    assert_eq!(fixture.read(&record).await.state, failed);
    assert_eq!(fixture.buckets("alice").await, (units(100), units(0), units(0)));
    fixture.check().await;
}

#[tokio::test]
async fn a_revert_with_gas_to_spare_is_the_payments_own() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    fixture.advance(blocks(100, 102)).await.expect("advances");
    let record = fixture.queue("w", 100).await;
    ride(&fixture, &record, 0, GAS_LIMIT / 2).await;
    let failed = State::Failed { reason: FailureReason::Reverted };
    assert_eq!(fixture.read(&record).await.state, failed);
    assert_eq!(fixture.store.out_of_gas_rides(&[record.id]).await.map(|it| it.len()), Ok(0));
    fixture.check().await;
}

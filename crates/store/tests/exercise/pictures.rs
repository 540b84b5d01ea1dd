//! Reads beside a writer: what one read sees fits together, whatever moves on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_core::withdrawal::StateCode;
use portcullis_store::withdrawal::WithdrawalFilter;

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{block, blocks, inclusion, reorg};

/// A payment that goes in and out of blocks, while others look at it from all sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_read_sees_half_a_move() {
    let fixture = Arc::new(Fixture::open().await);
    let (record, new, attempt) = fixture.sent("w").await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (fixture, done, id) = (Arc::clone(&fixture), Arc::clone(&done), record.id);
            let slot = new.slot;
            tokio::spawn(async move {
                let filter = WithdrawalFilter { limit: 9, ..WithdrawalFilter::default() };
                let mut seen = [0_u32; 3];
                while !done.load(Ordering::SeqCst) {
                    let store = &fixture.store;
                    let found = store.withdrawal(fixture.tenant, id).await.expect("whole");
                    match found.expect("is there").state.code() {
                        StateCode::Broadcasted => seen[0] += 1,
                        StateCode::Confirming => seen[1] += 1,
                        StateCode::Confirmed => seen[2] += 1,
                        other => panic!("{other}"),
                    }
                    store.withdrawals(fixture.tenant, &filter).await.expect("whole");
                    let open = store.slot(slot).await.expect("whole").expect("is there");
                    assert_eq!(open.payments.len(), 1);
                    store.rides(&[id]).await.expect("whole");
                    store.check_ledger().await.expect("adds up in every picture");
                    let balance = fixture.balance("alice").await;
                    let parts = balance.held.checked_add(balance.paid).expect("small");
                    assert_eq!(parts, balance.deposited);
                }
                seen
            })
        })
        .collect();
    for round in 0..150_u64 {
        let (here, next) =
            (u8::try_from(round).expect("few"), u8::try_from(round + 1).expect("few"));
        fixture.include(inclusion(&new, &attempt, block(102, here))).await.expect("includes");
        if round % 2 == 0 {
            assert_eq!(fixture.confirm(102).await, 1);
        }
        fixture.advance(reorg(101, 102, next)).await.expect("advances");
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        let seen = reader.await.expect("every read was whole");
        assert!(seen.iter().sum::<u32>() > 0, "the reader saw nothing: {seen:?}");
    }
    fixture.check().await;
}

#[tokio::test]
async fn one_reader_is_enough() {
    let fixture = Fixture::open_with(2_000, 1).await;
    let (record, new, attempt) = fixture.sent("w").await;
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    fixture.advance(blocks(103, 103)).await.expect("advances");
    fixture.store.sender_loads(CHAIN, u64::MAX).await.expect("reads");
    fixture.store.rides(&[record.id]).await.expect("reads");
    fixture.store.consumed_slots(CHAIN, &[], 9).await.expect("reads");
    fixture.store.waiting_heads(CHAIN, fixture.now()).await.expect("reads");
    fixture.check().await;
}

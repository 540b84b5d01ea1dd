//! Leases: one writer per name, and a fence against those who wake late.

use portcullis_core::slot::AttemptKind;
use portcullis_store::StoreError;
use portcullis_store::lease::Lease;
use portcullis_store::slot::NewAttempt;

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{LEASE_MS, NONCE_FIRST, block, blocks, inclusion, sender, signed, slot_at};

async fn acquire(fixture: &Fixture, names: &[&str], holder: &str) -> Vec<Lease> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    fixture.store.acquire_leases(&names, holder, LEASE_MS).await.expect("answers")
}

#[tokio::test]
async fn a_lease_is_had_by_one_until_it_expires() {
    let fixture = Fixture::open().await;
    let first = acquire(&fixture, &["a", "b"], "one").await;
    let expected = |name: &str, holder: &str, fence| Lease {
        name: name.to_owned(),
        holder: holder.to_owned(),
        fence,
        expires_at: fixture.now().plus_millis(LEASE_MS),
    };
    assert_eq!(first, [expected("a", "one", 1), expected("b", "one", 1)]);
    assert_eq!(acquire(&fixture, &["a", "c"], "two").await, [expected("c", "two", 1)]);
    fixture.clock.advance(LEASE_MS - 1);
    assert_eq!(acquire(&fixture, &["a"], "one").await, [expected("a", "one", 1)], "prolonged");
    fixture.clock.advance(LEASE_MS - 1);
    assert_eq!(acquire(&fixture, &["a"], "two").await, [], "prolonged indeed");
    assert_eq!(acquire(&fixture, &["b"], "two").await, [expected("b", "two", 2)], "ran out");
    fixture.clock.advance(1);
    assert_eq!(acquire(&fixture, &["a"], "two").await, [expected("a", "two", 2)]);
    assert_eq!(acquire(&fixture, &[], "two").await, []);
}

#[tokio::test]
async fn the_same_holder_after_a_break_has_a_new_fence() {
    let fixture = Fixture::open().await;
    acquire(&fixture, &["a"], "one").await;
    fixture.clock.advance(LEASE_MS);
    assert_eq!(acquire(&fixture, &["a"], "one").await[0].fence, 2);
}

#[tokio::test]
async fn a_lease_of_before_the_break_is_lost_under_the_same_name_of_holder() {
    let fixture = Fixture::open().await;
    let old = fixture.monitor().await;
    fixture.clock.advance(LEASE_MS);
    let new = fixture.monitor().await;
    assert_eq!((&new.holder, new.fence), (&old.holder, 2));
    let late = fixture.store.advance_chain(&old, CHAIN, &blocks(1, 1)).await;
    assert_eq!(late, Err(StoreError::LeaseLost { name: old.name }));
    assert_eq!(fixture.store.advance_chain(&new, CHAIN, &blocks(1, 1)).await, Ok(()));
}

#[tokio::test]
async fn a_restart_takes_over_at_once_and_shuts_its_former_life_out() {
    let fixture = Fixture::open().await;
    let names = ["monitor:137"];
    let before = acquire(&fixture, &names, "host-a#1").await.remove(0);
    assert_eq!(acquire(&fixture, &names, "host-ab#1").await, [], "another identity");
    assert_eq!(acquire(&fixture, &names, "host-a").await.len(), 1, "the same identity");
    let after = acquire(&fixture, &names, "host-a#2").await.remove(0);
    assert_eq!((before.fence, after.fence), (1, 3));
    let late = fixture.store.advance_chain(&before, CHAIN, &blocks(1, 1)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    assert_eq!(fixture.store.advance_chain(&after, CHAIN, &blocks(1, 1)).await, Ok(()));
}

#[tokio::test]
async fn a_lease_given_back_is_free_at_once_and_useless_to_its_giver() {
    let fixture = Fixture::open().await;
    let monitor = fixture.monitor().await;
    fixture.store.release_leases(std::slice::from_ref(&monitor)).await.expect("gives back");
    let late = fixture.store.advance_chain(&monitor, CHAIN, &blocks(1, 1)).await;
    assert_eq!(late, Err(StoreError::LeaseLost { name: monitor.name.clone() }));
    let taken = acquire(&fixture, &[&monitor.name], "two").await;
    assert_eq!(taken[0].fence, 2);
    fixture.store.release_leases(&[monitor]).await.expect("says nothing");
    assert_eq!(acquire(&fixture, &["monitor:137"], "three").await, [], "it was not its own");
}

/// Somebody else takes every lease over after they ran out.
async fn take_over(fixture: &Fixture, names: &[&str]) {
    fixture.clock.advance(LEASE_MS);
    assert_eq!(acquire(fixture, names, "successor").await.len(), names.len());
}

#[tokio::test]
async fn a_late_signer_binds_and_commits_nothing() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let (one, two) = (fixture.queue("one", 10).await, fixture.queue("two", 10).await);
    let lease = fixture.sender_lease(0).await;
    let bound = fixture.new_slot(slot_at(0, NONCE_FIRST), &[one.id]);
    fixture
        .store
        .bind(std::slice::from_ref(&lease), std::slice::from_ref(&bound))
        .await
        .expect("binds");
    take_over(&fixture, &[&lease.name]).await;
    let lost = Err(StoreError::LeaseLost { name: lease.name.clone() });
    let next = fixture.new_slot(slot_at(0, NONCE_FIRST + 1), &[two.id]);
    let leases = [lease];
    assert_eq!(fixture.store.bind(&leases, &[next]).await, lost);
    let attempt = signed(bound.slot, AttemptKind::Payload, 1);
    let attempts = [NewAttempt { slot_id: bound.id, signed: attempt }];
    assert_eq!(fixture.store.commit_attempts(&leases, &attempts, &[]).await, lost);
    assert_eq!(fixture.number("SELECT count(*) FROM slots").await, 1);
    assert_eq!(fixture.number("SELECT count(*) FROM attempts").await, 0);
    assert_eq!(
        fixture.store.senders(CHAIN).await,
        Ok(vec![(sender(0), NONCE_FIRST + 1)]),
        "no nonce was given"
    );
    fixture.check().await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_lost_even_where_nobody_took_it() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("one", 10).await;
    let lease = fixture.sender_lease(0).await;
    fixture.clock.advance(LEASE_MS);
    let new = fixture.new_slot(slot_at(0, NONCE_FIRST), &[record.id]);
    let outcome = fixture.store.bind(&[lease], &[new]).await;
    assert!(matches!(outcome, Err(StoreError::LeaseLost { .. })), "{outcome:?}");
    let unknown = Lease {
        name: "sender:none".into(),
        holder: "test".into(),
        fence: 1,
        expires_at: fixture.now(),
    };
    let outcome = fixture.store.bind(&[unknown], &[]).await;
    assert!(matches!(outcome, Err(StoreError::LeaseLost { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_late_monitor_changes_nothing() {
    let fixture = Fixture::open().await;
    let (sent, new, attempt) = fixture.sent("w").await;
    let lease = fixture.monitor().await;
    let seen = inclusion(&new, &attempt, block(101, 0));
    take_over(&fixture, &[&lease.name]).await;
    let lost = StoreError::LeaseLost { name: lease.name.clone() };
    let include = fixture.store.include(&lease, std::slice::from_ref(&seen)).await;
    assert_eq!(include, Err(lost.clone()));
    let advance = fixture.store.advance_chain(&lease, CHAIN, &blocks(103, 103)).await;
    assert_eq!(advance, Err(lost.clone()));
    assert_eq!(fixture.store.adopt(&lease, &[]).await, Err(lost.clone()));
    assert_eq!(fixture.read(&sent).await, sent, "nothing moved");
    assert_eq!(fixture.store.headers(CHAIN, 9).await.map(|all| all.len()), Ok(3));
    // The successor goes on; the late one cannot confirm or end what that one saw.
    let successor = acquire(&fixture, &[&lease.name], "successor").await.remove(0);
    fixture.store.include(&successor, &[seen]).await.expect("includes");
    assert_eq!(fixture.store.confirm(&lease, (CHAIN, 200), 9, 9).await, Err(lost.clone()));
    assert_eq!(fixture.store.confirm(&successor, (CHAIN, 200), 9, 9).await, Ok(1));
    assert_eq!(fixture.end_paid(&lease, 101).await, Err(lost));
    assert_eq!(fixture.end_paid(&successor, 101).await, Ok(1));
    fixture.check().await;
}

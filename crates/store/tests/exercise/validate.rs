//! The processor's transaction: verdicts, daily windows, order.

use std::sync::Mutex;

use portcullis_core::amount::Amount;
use portcullis_core::id::TenantId;
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::{Priority, State};
use portcullis_store::intake::Submission;
use portcullis_store::transition::Stage;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{CHAIN, Fixture, accepted, kinds, pass, units};

/// Passes while the day's total is at most `most`.
fn at_most(most: u64) -> impl Fn(&WithdrawalRecord, Amount) -> Verdict + Send + Sync {
    move |_, total| {
        if total > units(most) {
            Verdict::Refuse(Rule::DailyMax)
        } else {
            Verdict::Pass(Rule::Default)
        }
    }
}

#[tokio::test]
async fn a_verdict_sends_each_withdrawal_its_way() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let good = fixture.accept("good", "alice", 10).await;
    let bad = fixture.accept("bad", "alice", 20).await;
    assert_eq!(fixture.store.has_work(Stage::Validate).await, Ok(true));
    let judge = |record: &WithdrawalRecord, _total| {
        assert_eq!(record.state, State::Pending, "it is written as judged, not before");
        if record.id == bad.id {
            Verdict::Refuse(Rule::Destination)
        } else {
            Verdict::Pass(Rule::Default)
        }
    };
    fixture.clock.advance(7);
    assert_eq!(fixture.store.validate(10, &judge).await, Ok(2));
    let good = fixture.read(&good).await;
    assert_eq!((good.state, &good.reason), (State::Queued, &None));
    assert_eq!(kinds(&good), ["accepted", "validating", "queued"]);
    assert_eq!(good.timeline[2].detail.as_deref(), Some("rule default"));
    assert_eq!((good.timeline[2].at, good.updated_at), (fixture.now(), fixture.now()));
    let bad = fixture.read(&bad).await;
    assert_eq!((bad.state, bad.reason.as_deref()), (State::Rejected, Some("destination")));
    assert_eq!(bad.timeline[2].detail.as_deref(), Some("rule destination"));
    assert_eq!(fixture.buckets("alice").await, (units(90), units(10), units(0)));
    assert_eq!(fixture.store.has_work(Stage::Validate).await, Ok(false));
    assert_eq!(fixture.store.has_work(Stage::Sign).await, Ok(true));
    assert_eq!(fixture.store.validate(10, &judge).await, Ok(0), "nothing is judged twice");
    fixture.check().await;
}

#[tokio::test]
async fn the_highest_priority_goes_first_and_the_limit_holds() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    for (name, priority) in [
        ("old-standard", Priority::Standard),
        ("old-vip", Priority::Vip),
        ("urgent", Priority::Urgent),
        ("new-standard", Priority::Standard),
        ("new-vip", Priority::Vip),
    ] {
        fixture.clock.advance(1);
        let submission = Submission { priority, ..fixture.submission(name, "alice", 1) };
        accepted(fixture.submit(submission).await);
    }
    let seen = Mutex::new(Vec::new());
    let judge = |record: &WithdrawalRecord, _total| {
        seen.lock().expect("whole").push(record.external_id.to_string());
        Verdict::Pass(Rule::Default)
    };
    assert_eq!(fixture.store.validate(3, &judge).await, Ok(3));
    assert_eq!(*seen.lock().expect("whole"), ["urgent", "old-vip", "new-vip"]);
    assert_eq!(fixture.store.validate(3, &judge).await, Ok(2));
    let order = ["urgent", "old-vip", "new-vip", "old-standard", "new-standard"];
    assert_eq!(*seen.lock().expect("whole"), order);
    let queued = fixture.store.queued(CHAIN, 4).await.expect("reads");
    let names: Vec<_> = queued.iter().map(|record| record.external_id.to_string()).collect();
    assert_eq!(names, order[..4], "the signer takes them in the same order");
    assert_eq!(fixture.store.queued(1, 4).await, Ok(vec![]), "of its own chain");
}

#[tokio::test]
async fn a_day_has_one_window_per_account_and_asset() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_000).await;
    fixture.fund("bob", 1_000).await;
    let mut names = Vec::new();
    for (from, amount) in [("alice", 60), ("alice", 50), ("alice", 40), ("bob", 90)] {
        fixture.clock.advance(1);
        let name = format!("{from}-{amount}");
        names.push(fixture.accept(&name, from, amount).await);
    }
    // 60 fits, 50 more does not and is not counted, 40 more does.
    assert_eq!(fixture.store.validate(10, &at_most(100)).await, Ok(4));
    let mut states = Vec::new();
    for record in &names {
        states.push(fixture.read(record).await.state);
    }
    assert_eq!(states, [State::Queued, State::Rejected, State::Queued, State::Queued]);
    let totals = fixture.pairs("SELECT account_id, total FROM windows ORDER BY 1").await;
    let expected = [("alice", "100"), ("bob", "90")];
    assert_eq!(totals, expected.map(|(of, total)| (of.to_owned(), total.to_owned())));
    fixture.check().await;
}

#[tokio::test]
async fn a_new_day_begins_at_midnight_utc() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 1_000).await;
    let midnight = Timestamp::from_millis((fixture.now().utc_day() + 1) * 86_400_000);
    fixture.clock.set(midnight.plus_millis(-1));
    let last = fixture.accept("last", "alice", 100).await;
    let late = fixture.accept("late", "alice", 1).await;
    assert_eq!(fixture.store.validate(1, &at_most(100)).await, Ok(1));
    assert_eq!(fixture.read(&last).await.state, State::Queued);
    // Accepted on the old day, judged on the new one: it counts where it is judged.
    fixture.clock.set(midnight);
    assert_eq!(fixture.store.validate(1, &at_most(100)).await, Ok(1));
    assert_eq!(fixture.read(&late).await.state, State::Queued);
    let full = fixture.accept("full", "alice", 100).await;
    assert_eq!(fixture.store.validate(1, &at_most(100)).await, Ok(1));
    assert_eq!(fixture.read(&full).await.state, State::Rejected, "1 is counted already");
    let totals = fixture.pairs("SELECT total, '' FROM windows ORDER BY utc_day").await;
    assert_eq!(totals, ["100", "1"].map(|total| (total.to_owned(), String::new())));
}

#[tokio::test]
async fn tenants_with_accounts_of_the_same_name_have_windows_of_their_own() {
    let fixture = Fixture::open().await;
    let other = TenantId::from_bytes([2; 16]);
    for tenant in [fixture.tenant, other] {
        let mut deposit = fixture.deposit_of("alice", 100);
        deposit.tenant = tenant;
        fixture.store.deposit(&fixture.keys, &deposit).await.expect("credits");
        let submission = Submission { tenant, ..fixture.submission("w", "alice", 80) };
        accepted(fixture.submit(submission).await);
        assert_eq!(fixture.store.validate(10, &at_most(100)).await, Ok(1));
    }
    let totals = fixture.pairs("SELECT total, '' FROM windows").await;
    assert_eq!(totals, ["80", "80"].map(|total| (total.to_owned(), String::new())));
}

#[tokio::test]
async fn totals_do_not_wrap_around() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let record = fixture.accept("w", "alice", 10).await;
    let most = Amount::from_atomic(alloy_primitives::U256::MAX);
    let day = fixture.now().utc_day();
    let full = format!(
        "INSERT INTO windows SELECT tenant_id, account_id, asset_id, {day}, '{most}' FROM withdrawals"
    );
    assert_eq!(fixture.sql(full).await, 1);
    assert_eq!(fixture.store.validate(10, &pass).await, Ok(1));
    let record = fixture.read(&record).await;
    assert_eq!((record.state, record.reason.as_deref()), (State::Rejected, Some("daily_max")));
}

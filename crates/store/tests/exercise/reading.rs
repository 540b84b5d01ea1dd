//! Lists, rides and loads.

use std::collections::BTreeMap;

use portcullis_core::id::TenantId;
use portcullis_core::slot::AttemptKind;
use portcullis_core::withdrawal::{Priority, StateCode};
use portcullis_store::intake::Submission;
use portcullis_store::sender::SenderLoad;
use portcullis_store::withdrawal::WithdrawalFilter;

use crate::fixture::{CHAIN, Fixture, accepted, account, address_of, units};
use crate::rail::{GAS_LIMIT, NONCE_FIRST, block, inclusion, sender, signed, slot_at};

async fn list(fixture: &Fixture, filter: WithdrawalFilter) -> Vec<String> {
    let found = fixture.store.withdrawals(fixture.tenant, &filter).await.expect("lists");
    found.iter().map(|record| record.external_id.to_string()).collect()
}

fn filter() -> WithdrawalFilter {
    WithdrawalFilter { limit: 10, ..WithdrawalFilter::default() }
}

#[tokio::test]
async fn lists_are_filtered_and_newest_first() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    fixture.fund("bob", 100).await;
    let start = fixture.now();
    for (name, from) in [("a", "alice"), ("b", "bob"), ("c", "alice")] {
        fixture.accept(name, from, 1).await;
        fixture.clock.advance(10);
    }
    assert_eq!(fixture.validate_all().await, 3);
    let vip = Submission { priority: Priority::Vip, ..fixture.submission("d", "alice", 1) };
    accepted(fixture.submit(vip).await);
    assert_eq!(list(&fixture, filter()).await, ["d", "c", "b", "a"]);
    let cases: [(WithdrawalFilter, &[&str]); 10] = [
        (WithdrawalFilter { account: Some(account("alice")), ..filter() }, &["d", "c", "a"]),
        (WithdrawalFilter { status: Some(StateCode::Pending), ..filter() }, &["d"]),
        (WithdrawalFilter { chain_id: Some(1), ..filter() }, &[]),
        (WithdrawalFilter { asset: Some(fixture.native.id), ..filter() }, &[]),
        (WithdrawalFilter { to: Some(address_of("b")), ..filter() }, &["b"]),
        (WithdrawalFilter { priority: Some(Priority::Standard), ..filter() }, &["c", "b", "a"]),
        (
            WithdrawalFilter { created_from: Some(start.plus_millis(10)), ..filter() },
            &["d", "c", "b"],
        ),
        (WithdrawalFilter { created_to: Some(start.plus_millis(10)), ..filter() }, &["a"]),
        (WithdrawalFilter { limit: 2, ..filter() }, &["d", "c"]),
        (
            WithdrawalFilter {
                account: Some(account("alice")),
                asset: Some(fixture.token.id),
                chain_id: Some(CHAIN),
                status: Some(StateCode::Queued),
                ..filter()
            },
            &["c", "a"],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(&fixture, filter.clone()).await, expected, "{filter:?}");
    }
    let other = fixture.store.withdrawals(TenantId::from_bytes([2; 16]), &filter()).await;
    assert_eq!(other, Ok(vec![]));
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    for n in 0..7 {
        fixture.accept(&format!("w{n}"), "alice", 1).await;
        fixture.clock.advance(1);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = WithdrawalFilter { cursor, limit: 3, ..filter() };
        let page = fixture.store.withdrawals(fixture.tenant, &page).await.expect("lists");
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        seen.extend(page.iter().map(|record| record.external_id.to_string()));
    }
    assert_eq!(seen, ["w6", "w5", "w4", "w3", "w2", "w1", "w0"]);
}

#[tokio::test]
async fn a_withdrawal_is_its_tenants_own() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 100).await;
    let record = fixture.accept("w", "alice", 1).await;
    let stranger = TenantId::from_bytes([2; 16]);
    assert_eq!(fixture.store.withdrawal(stranger, record.id).await, Ok(None));
    let by_name = fixture.store.withdrawal_by_external_id(stranger, &record.external_id).await;
    assert_eq!(by_name, Ok(None));
    assert_eq!(fixture.store.account(stranger, &account("alice")).await, Ok(None));
}

#[tokio::test]
async fn a_sender_counts_what_no_block_has_consumed() {
    let fixture = Fixture::open().await;
    let (_, new, attempt) = fixture.sent("mined").await;
    fixture.register(2).await;
    let second = fixture.queue("second", 40).await;
    let (second, _) = fixture.sign(&second, NONCE_FIRST + 1).await;
    let dearer = signed(second.slot, AttemptKind::Payload, 3);
    fixture.commit(&second, &dearer).await.expect("commits");
    let third = fixture.queue("third", 2).await;
    fixture.bind(&third, NONCE_FIRST + 2).await;
    let filler = fixture.new_slot(slot_at(0, NONCE_FIRST + 3), &[]);
    let lease = fixture.sender_lease(0).await;
    fixture.store.bind(&[lease], &[filler]).await.expect("binds");
    fixture.include(inclusion(&new, &attempt, block(100, 0))).await.expect("includes");
    let mut loads = fixture.store.sender_loads(CHAIN, u64::MAX).await.expect("reads");
    loads.sort_by_key(|load| load.address == sender(1));
    let busy = SenderLoad {
        address: sender(0),
        nonce_next: NONCE_FIRST + 4,
        in_flight: 3,
        promised: BTreeMap::from([(fixture.token.token, units(42))]),
        gas_promised: units(3_000_000_000 * GAS_LIMIT),
        is_held: false,
    };
    let idle = SenderLoad {
        address: sender(1),
        nonce_next: NONCE_FIRST,
        in_flight: 0,
        promised: BTreeMap::new(),
        gas_promised: units(0),
        is_held: false,
    };
    assert_eq!(loads, [busy, idle], "the dearest attempt of each slot counts");
}

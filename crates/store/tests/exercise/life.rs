//! One payment on the direct rail, from its acceptance to its end, and everything seen on the way.

use portcullis_core::intent::SignedAttempt;
use portcullis_core::slot::{AttemptKind, ItemOutcome, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::chain::Inclusion;
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::{AttemptRecord, Ride, WithdrawalRecord};

use crate::fixture::{CHAIN, Fixture, kinds, units};
use crate::rail::{
    GAS_ESTIMATED, GAS_LIMIT, NONCE_FIRST, WHY, block, block_at, blocks, inclusion, items_of,
    reorg, signed, slot_at,
};

const HELD: [u64; 3] = [0, 100, 0];
const PAID: [u64; 3] = [0, 0, 100];

async fn expect(fixture: &Fixture, state: State, buckets: [u64; 3]) {
    let [record] = <[_; 1]>::try_from(fixture.all().await).expect("one withdrawal");
    assert_eq!(record.state, state);
    let [available, held, paid] = buckets.map(units);
    assert_eq!(fixture.buckets("alice").await, (available, held, paid), "in {state:?}");
    fixture.check().await;
}

#[tokio::test]
async fn a_payment_is_followed_to_its_end() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 100).await;
    expect(&fixture, State::Queued, HELD).await;
    let new = fixture.bind(&record, NONCE_FIRST).await;
    let slot = new.id;
    expect(&fixture, State::Signing { slot }, HELD).await;
    let attempt = signed(new.slot, AttemptKind::Payload, 1);
    fixture.commit(&new, &attempt).await.expect("commits");
    expect(&fixture, State::Signed { slot }, HELD).await;
    let sendable = fixture.store.claim_sendable(CHAIN, "claim", 9, 1_000).await.expect("claims");
    assert_eq!(
        (sendable.len(), sendable[0].hash, &sendable[0].raw),
        (1, attempt.hash, &attempt.raw)
    );
    expect(&fixture, State::Broadcasting { slot }, HELD).await;
    fixture.clock.advance(1_000);
    assert_eq!(fixture.send_due().await, 1);
    expect(&fixture, State::Broadcasted { slot }, HELD).await;
    fixture.advance(blocks(100, 112)).await.expect("advances");
    let seen = inclusion(&new, &attempt, block(101, 0));
    fixture.include(seen).await.expect("includes");
    let block = block(101, 0);
    expect(&fixture, State::Confirming { slot, block }, HELD).await;
    assert_eq!(fixture.confirm(100).await, 0, "not deep enough");
    expect(&fixture, State::Confirming { slot, block }, HELD).await;
    assert_eq!(fixture.confirm(101).await, 1);
    expect(&fixture, State::Confirmed { slot, block, is_final: false }, PAID).await;
    assert_eq!(fixture.confirm(101).await, 0, "once");
    assert_eq!(fixture.deep(100).await, [], "not deep enough");
    assert_eq!(fixture.number("SELECT count(*) FROM work").await, 1);
    assert_eq!(fixture.finalize(101).await, 1);
    expect(&fixture, State::Confirmed { slot, block, is_final: true }, PAID).await;
    assert_eq!(fixture.number("SELECT count(*) FROM work").await, 0, "nothing is left to do");
    expect_shown(&fixture, &new, &attempt).await;
}

/// What a finished payment shows of its way.
async fn expect_shown(fixture: &Fixture, new: &NewSlot, attempt: &SignedAttempt) {
    let [ended] = <[_; 1]>::try_from(fixture.all().await).expect("one withdrawal");
    let expected = [
        "accepted",
        "validating",
        "queued",
        "bound",
        "signed",
        "broadcasting",
        "broadcasted",
        "included",
        "confirmed",
        "finalized",
    ];
    assert_eq!(kinds(&ended), expected);
    assert_eq!(ended.timeline[3].detail.as_deref(), Some(WHY));
    assert_eq!(ended.timeline[7].detail.as_deref(), Some("block 101"));
    let rides = fixture.store.rides(&[ended.id]).await.expect("reads");
    let shown = AttemptRecord {
        hash: attempt.hash,
        ordinal: 1,
        kind: AttemptKind::Payload,
        fees: attempt.fees,
        gas_limit: GAS_LIMIT,
        committed_at: fixture.now().plus_millis(-1_000),
        sent_at: Some(fixture.now()),
        last_outcome: Some("accepted".into()),
        gas_used: Some(51_234),
        effective_gas_price_wei: Some(30_000_000_000),
    };
    let ride = Ride {
        withdrawal: ended.id,
        slot_id: new.id,
        slot: slot_at(0, NONCE_FIRST),
        rail: Rail::Direct,
        stage: SlotStage::Final,
        block: Some(block(101, 0)),
        live: true,
        payments: 1,
        gas_estimated: Some(GAS_ESTIMATED),
        attempts: vec![shown],
    };
    assert_eq!(rides, [ride]);
}

#[tokio::test]
async fn a_block_may_be_seen_before_the_answer_to_a_send() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let record = fixture.queue("w", 100).await;
    let (new, attempt) = fixture.sign(&record, NONCE_FIRST).await;
    fixture.store.claim_sendable(CHAIN, "claim", 9, 60_000).await.expect("claims");
    fixture.advance(blocks(100, 102)).await.expect("advances");
    fixture.include(inclusion(&new, &attempt, block(100, 0))).await.expect("includes");
    // Now the broadcaster records its send: it is noted, and nothing moves back.
    let result = portcullis_store::send::SendResult {
        slot_id: new.id,
        hash: attempt.hash,
        outcome: "accepted".into(),
        accepted: true,
        due_at: fixture.now(),
    };
    fixture.store.record_sends("claim", &[result]).await.expect("records");
    assert_eq!(fixture.read(&record).await.state.code(), StateCode::Confirming);
    assert_eq!(fixture.send_due().await, 0, "a consumed slot is not sent again");
    fixture.check().await;
}

#[tokio::test]
async fn a_reorg_takes_a_confirmed_payment_back_and_frees_nothing() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);
    expect(
        &fixture,
        State::Confirmed { slot: new.id, block: block(101, 0), is_final: false },
        PAID,
    )
    .await;
    fixture.clock.advance(5);
    fixture.advance(reorg(100, 103, 1)).await.expect("advances");
    expect(&fixture, State::Broadcasted { slot: new.id }, HELD).await;
    let hashes: Vec<_> =
        fixture.store.headers(CHAIN, 9).await.expect("reads").iter().map(|it| it.block).collect();
    assert_eq!(hashes, [block(100, 0), block(101, 1), block(102, 1), block(103, 1)]);
    assert_eq!(fixture.send_due().await, 1, "the same bytes are due at once");
    let seen = inclusion(&new, &attempt, block(103, 1));
    fixture.include(seen).await.expect("includes again");
    assert_eq!((fixture.confirm(103).await, fixture.finalize(103).await), (1, 1));
    expect(&fixture, State::Confirmed { slot: new.id, block: block(103, 1), is_final: true }, PAID)
        .await;
    let record = fixture.read(&record).await;
    let tail = ["included", "confirmed", "reorged", "included", "confirmed", "finalized"];
    assert_eq!(kinds(&record)[7..], tail);
    let postings = fixture.pairs("SELECT kind, amount FROM postings ORDER BY id").await;
    let kinds: Vec<&str> = postings.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["deposit", "reserve", "settle", "unsettle", "settle"]);
}

#[tokio::test]
async fn a_reorg_below_the_payment_leaves_it_alone() {
    let fixture = Fixture::open().await;
    let (_, new, attempt) = fixture.sent("w").await;
    fixture.include(inclusion(&new, &attempt, block(101, 0))).await.expect("includes");
    fixture.advance(reorg(101, 103, 1)).await.expect("advances");
    expect(&fixture, State::Confirming { slot: new.id, block: block(101, 0) }, HELD).await;
}

#[tokio::test]
async fn a_payment_that_arrived_short_is_held() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let items = items_of(&new, ItemOutcome::Short);
    let short = Inclusion { items, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(short).await.expect("includes");
    let reason = portcullis_core::withdrawal::HoldReason::Underpaid;
    let held = State::Held { reason, slot: Some(new.id) };
    expect(&fixture, held, HELD).await;
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    expect(&fixture, held, HELD).await;
    let record = fixture.read(&record).await;
    assert_eq!(record.reason.as_deref(), Some("underpaid"));
    let detail = record.timeline.last().and_then(|event| event.detail.clone());
    assert_eq!(detail, Some(format!("transaction {}", attempt.hash)));
}

#[tokio::test]
async fn what_consumed_a_slot_is_told_with_the_slot() {
    let fixture = Fixture::open().await;
    let (record, new, attempt) = fixture.sent("w").await;
    let outcome = SlotOutcome::Reverted;
    let seen = Inclusion { outcome, ..inclusion(&new, &attempt, block(101, 0)) };
    fixture.include(seen).await.expect("includes");
    fixture.confirm(101).await;
    let [deep] = <[_; 1]>::try_from(fixture.deep(101).await).expect("one");
    assert_eq!((deep.outcome, deep.hash), (outcome, attempt.hash));
    assert_eq!((deep.block, deep.block_at), (block(101, 0), block_at(101)));
    let carried = WithdrawalRecord { timeline: Vec::new(), ..fixture.read(&record).await };
    assert_eq!(deep.open.payments, [carried]);
    let too_young = block_at(101).plus_millis(-1);
    let young = fixture.store.deep_slots(CHAIN, 101, too_young, 9).await;
    assert_eq!(young, Ok(vec![]), "deep, but not old enough");
}

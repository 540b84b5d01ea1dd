//! Payments that reconcile finds in a call of the vault after the monitor has read what the call did with the others.

use portcullis_core::intent::SignedAttempt;
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::slot::{ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::chain::Inclusion;
use portcullis_store::intake::{Submission, Submitted};
use portcullis_store::reconcile::{ImportedEnd, ImportedPayment, ImportedRequest, SlotImport};
use portcullis_store::slot::NewSlot;
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::{Fixture, units};
use crate::rail::{NONCE_FIRST, block, block_at, blocks, inclusion};
use crate::vault::{codes, outcomes, release, ride};

use ItemOutcome::{Failed, Paid};

/// A payment, and the call that carries it alone, sent. Blocks 100 to 104 are stored.
async fn called(fixture: &Fixture) -> (WithdrawalRecord, NewSlot, SignedAttempt) {
    let one = fixture.queue("one", 100).await;
    fixture.advance(blocks(100, 104)).await.expect("advances");
    let (call, attempt) = ride(fixture, NONCE_FIRST, &[&one], Purpose::Pay).await;
    (one, call, attempt)
}

/// The slot as the journal has it: with these payments.
async fn import(
    fixture: &Fixture,
    new: &NewSlot,
    payments: Vec<ImportedPayment>,
    end: Option<ImportedEnd>,
) {
    let stored = fixture.store.slot(new.slot).await.expect("reads").expect("is there");
    let import = SlotImport {
        id: new.id,
        slot: new.slot,
        seen: Some(stored.stage),
        purpose: Purpose::Pay,
        rail: Rail::Vault,
        payload_digest: new.payload_digest,
        attempts: Vec::new(),
        payments,
        end,
    };
    fixture.store.import_slot(&import).await.expect("imports");
}

/// A request that this database has forgotten, and its payment: the second one that it numbered.
async fn forgotten(fixture: &Fixture) -> (Submission, ImportedPayment) {
    fixture.sql("UPDATE deployment SET sequence_next = 3").await;
    let request = fixture.submission("forgotten", "alice", 50);
    let (token, to, amount) = (request.token, request.to, request.amount);
    let (tenant, name) = (request.tenant, &request.external_id);
    let payment = ImportedPayment {
        number: PayoutNumber { epoch: 1, sequence: 2 },
        reference: PaymentRef::derive(fixture.deployment, tenant, name, token, to, amount),
        request: Some(ImportedRequest {
            withdrawal: request.id,
            tenant,
            external_id: name.clone(),
        }),
        purpose: None,
    };
    (request, payment)
}

/// A retry of the client brings it back.
async fn retried(
    fixture: &Fixture,
    request: portcullis_store::intake::Submission,
) -> WithdrawalRecord {
    match fixture.submit(request).await {
        Submitted::Existing(record) => *record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_read_again_for_what_joins_it() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let two = fixture.queue("two", 50).await;
    let (one, call, attempt) = called(&fixture).await;
    fixture.include(outcomes(&call, &attempt, (101, 0), &[Paid])).await.expect("includes");
    assert_eq!(fixture.confirm(101).await, 1);

    import(&fixture, &call, vec![ImportedPayment::of(&one)], None).await;
    let stage = async || fixture.store.slot(call.slot).await.expect("reads").expect("is").stage;
    assert_eq!(stage().await, SlotStage::Confirmed, "nothing new: nothing is read again");
    import(&fixture, &call, vec![ImportedPayment::of(&one), ImportedPayment::of(&two)], None).await;
    assert_eq!(stage().await, SlotStage::Sent);
    assert_eq!(codes(&fixture, &[&one, &two]).await, [StateCode::Broadcasted; 2]);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(150), units(0)));
    fixture.check().await;

    let both = NewSlot { payments: vec![one.id, two.id], ..call };
    fixture.include(outcomes(&both, &attempt, (101, 0), &[Paid, Paid])).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));
    assert_eq!(codes(&fixture, &[&one, &two]).await, [StateCode::Confirmed; 2]);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(0), units(150)));
    fixture.check().await;
}

#[tokio::test]
async fn what_a_retry_brings_back_is_not_paid_because_its_call_was_mined() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let (one, call, attempt) = called(&fixture).await;
    let (request, payment) = forgotten(&fixture).await;
    import(&fixture, &call, vec![ImportedPayment::of(&one), payment], None).await;
    fixture.include(outcomes(&call, &attempt, (101, 0), &[Paid])).await.expect("includes");
    assert_eq!((fixture.confirm(101).await, fixture.finalize(101).await), (1, 1));

    fixture.fund("alice", 50).await;
    let back = retried(&fixture, request).await;
    assert_eq!(codes(&fixture, &[&one, &back]).await, [StateCode::Broadcasted; 2]);
    assert_eq!(fixture.buckets("alice").await, (units(0), units(150), units(0)));
    fixture.check().await;
    let both = NewSlot { payments: vec![one.id, back.id], ..call };
    fixture.include(outcomes(&both, &attempt, (101, 0), &[Paid, Failed])).await.expect("includes");
    fixture.confirm(101).await;
    assert_eq!(release(&fixture).await, 1, "the vault did not pay it");
    assert_eq!(fixture.finalize(101).await, 1);
    assert_eq!(codes(&fixture, &[&one, &back]).await, [StateCode::Confirmed, StateCode::Queued]);
    fixture.check().await;
}

#[tokio::test]
async fn what_a_final_block_paid_is_paid_when_a_retry_brings_it_back() {
    let fixture = Fixture::open().await;
    fixture.register(1).await;
    let (one, call, attempt) = called(&fixture).await;
    let (request, payment) = forgotten(&fixture).await;
    let Inclusion { hash, block_at: at, gas_used, effective_gas_price_wei, .. } =
        inclusion(&call, &attempt, block(101, 0));
    let end = ImportedEnd {
        outcome: SlotOutcome::Paid,
        hash,
        block: block(101, 0),
        block_at: at,
        gas_used,
        effective_gas_price_wei,
    };
    import(&fixture, &call, vec![ImportedPayment::of(&one), payment], Some(end)).await;

    fixture.fund("alice", 50).await;
    let back = retried(&fixture, request).await;
    for record in [&one, &back] {
        let state = fixture.read(record).await.state;
        assert!(matches!(state, State::Confirmed { is_final: true, .. }), "{state:?}");
    }
    let slot = fixture.store.slot(call.slot).await.expect("reads").expect("is there");
    assert_eq!((slot.stage, slot.items.get(&back.id)), (SlotStage::Final, Some(&Paid)));
    assert_eq!(at, block_at(101));
    fixture.check().await;
}

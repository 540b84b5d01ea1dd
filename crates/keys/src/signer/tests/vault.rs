//! The vault rail: many payments a slot, and what guards a payment that rides again.

use portcullis_core::access_list::ListedAccount;
use portcullis_core::transaction::decode_transaction;
use portcullis_core::vault::read_vault_payment;

use super::*;

const VAULT: Address = Address::repeat_byte(0xf0);

fn vault_signer(bench: &Bench) -> Signer {
    bench.signer_with(ChainCaps { vault: Some(VAULT), ..caps() })
}

/// These payments in one call of the vault.
fn batch(bench: &Bench, nonce: u64, sequences: &[u64]) -> SigningIntent {
    SigningIntent {
        rail: Rail::Vault,
        payments: sequences.iter().map(|sequence| payment(*sequence)).collect(),
        ..bench.pay(nonce, 1)
    }
}

fn void(bench: &Bench, nonce: u64, sequences: &[u64]) -> SigningIntent {
    SigningIntent { purpose: Purpose::Void, ..batch(bench, nonce, sequences) }
}

fn release(bench: &Bench, nonce: u64, sequence: u64, hash: B256) -> Release {
    release_at(bench, nonce, sequence, hash, false)
}

fn release_at(bench: &Bench, nonce: u64, sequence: u64, hash: B256, is_final: bool) -> Release {
    let evidence = ReleaseEvidence {
        block_number: 5,
        block_hash: B256::with_last_byte(5),
        transaction_hash: hash,
        cause: EvidenceCause::ItemFailed,
        is_final,
    };
    Release { number: payment(sequence).number, slot: bench.slot(nonce), evidence }
}

#[tokio::test]
async fn a_batch_calls_the_configured_vault_and_journals_every_payment() {
    let bench = Bench::new();
    let signer = vault_signer(&bench);
    let intent = batch(&bench, 1, &[3, 1, 2]);
    let payload = signer.payload(&intent).expect("a vault is configured");
    assert_eq!(payload.to, VAULT);
    let items = read_vault_payment(&payload.input).expect("a call of pay");
    let numbers: Vec<u64> = items.iter().map(|item| item.number.sequence).collect();
    assert_eq!(numbers, [3, 1, 2], "in the order of the slot");
    sign_one(&signer, intent).await.expect("in order");
    for sequence in [1, 2, 3] {
        let known = signer.journal().payment(payment(sequence).number).expect("journaled");
        assert_eq!(known.rides.len(), 1);
        assert_eq!(known.rides[0].rail, Rail::Vault);
    }
    let shuffled = sign_one(&signer, batch(&bench, 1, &[1, 2, 3])).await;
    assert!(matches!(shuffled, Err(SigningRefusal::SlotUsed { .. })), "{shuffled:?}");
    let fewer = sign_one(&signer, batch(&bench, 1, &[3, 1])).await;
    assert!(matches!(fewer, Err(SigningRefusal::SlotUsed { .. })), "{fewer:?}");
}

#[tokio::test]
async fn without_a_vault_or_with_too_many_payments_nothing_is_signed() {
    let bench = Bench::new();
    let refused = sign_one(&bench.signer(), batch(&bench, 1, &[1])).await;
    assert!(matches!(refused, Err(SigningRefusal::NoVault { .. })), "{refused:?}");
    let signer = vault_signer(&bench);
    let many: Vec<u64> = (1..=201).collect();
    for sequences in [&many[..], &[]] {
        let refused = sign_one(&signer, batch(&bench, 1, sequences)).await;
        assert!(matches!(refused, Err(SigningRefusal::PaymentCount { .. })), "{refused:?}");
    }
    let direct = SigningIntent { rail: Rail::Direct, ..batch(&bench, 1, &[1, 2]) };
    let refused = sign_one(&signer, direct).await;
    assert!(matches!(refused, Err(SigningRefusal::PaymentCount { .. })), "{refused:?}");
    let mut to_vault = payment(1);
    to_vault.to = VAULT;
    let refused = SigningIntent { payments: vec![sealed(to_vault)], ..batch(&bench, 1, &[1]) };
    let refused = sign_one(&signer, refused).await;
    assert!(matches!(refused, Err(SigningRefusal::Destination { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_failed_item_rides_again_under_its_number_and_on_the_vault_only() {
    let bench = Bench::new();
    let signer = vault_signer(&bench);
    let first = sign_one(&signer, batch(&bench, 1, &[1, 2])).await.expect("in order");
    let early = sign_one(&signer, batch(&bench, 2, &[1])).await;
    assert!(matches!(early, Err(SigningRefusal::PaymentElsewhere { .. })), "{early:?}");
    signer.record_release(vec![release(&bench, 1, 1, first.hash)]).await.expect("it fits");
    let direct = sign_one(&signer, bench.pay(2, 1)).await;
    assert!(matches!(direct, Err(SigningRefusal::RodeVault { .. })), "{direct:?}");
    let mut renumbered = batch(&bench, 2, &[1]);
    renumbered.payments[0].number.epoch = 2;
    let again = sealed(renumbered.payments[0].clone());
    renumbered.payments[0] = again;
    let early = sign_one(&signer, renumbered).await;
    assert!(matches!(early, Err(SigningRefusal::RodeVault { .. })), "{early:?}");
    sign_one(&signer, batch(&bench, 2, &[1, 4])).await.expect("under its own number");
    let neighbour = sign_one(&signer, batch(&bench, 3, &[2])).await;
    assert!(matches!(neighbour, Err(SigningRefusal::PaymentElsewhere { .. })), "{neighbour:?}");
}

#[tokio::test]
async fn what_is_voided_is_never_paid_again() {
    let bench = Bench::new();
    let signer = vault_signer(&bench);
    let first = sign_one(&signer, batch(&bench, 1, &[1])).await.expect("in order");
    let early = sign_one(&signer, void(&bench, 2, &[1])).await;
    assert!(matches!(early, Err(SigningRefusal::PaymentElsewhere { .. })), "{early:?}");
    signer.record_release(vec![release(&bench, 1, 1, first.hash)]).await.expect("it fits");
    sign_one(&signer, void(&bench, 2, &[1])).await.expect("it left its slot");
    drop(signer);
    let signer = vault_signer(&bench);
    let paid = sign_one(&signer, batch(&bench, 3, &[1])).await;
    assert!(matches!(paid, Err(SigningRefusal::PaymentVoided { .. })), "{paid:?}");
    sign_one(&signer, void(&bench, 3, &[1])).await.expect("voiding twice is harmless");
}

#[tokio::test]
async fn another_number_rides_when_the_first_ride_is_over_for_good_and_never_directly() {
    let bench = Bench::new();
    let signer = vault_signer(&bench);
    let first = sign_one(&signer, batch(&bench, 1, &[1])).await.expect("in order");
    let mut renumbered = batch(&bench, 2, &[1]);
    renumbered.payments[0].number.epoch = 2;
    renumbered.payments[0] = sealed(renumbered.payments[0].clone());
    let ended = release_at(&bench, 1, 1, first.hash, true);
    signer.record_release(vec![release(&bench, 1, 1, first.hash)]).await.expect("it fits");
    signer.record_release(vec![ended]).await.expect("it is news");
    drop(signer);
    let signer = vault_signer(&bench);
    let direct = sign_one(&signer, bench.pay(2, 1)).await;
    assert!(matches!(direct, Err(SigningRefusal::RodeVault { .. })), "{direct:?}");
    sign_one(&signer, renumbered).await.expect("nothing can pay the first number any more");
}

#[tokio::test]
async fn an_access_list_is_no_part_of_the_payload() {
    let bench = Bench::new();
    let signer = vault_signer(&bench);
    let listed = |slots: usize| {
        let account = ListedAccount { address: VAULT, slots: vec![B256::repeat_byte(3); slots] };
        SigningIntent { access_list: vec![account], ..batch(&bench, 1, &[1, 2]) }
    };
    let plain = sign_one(&signer, batch(&bench, 1, &[1, 2])).await.expect("in order");
    let with_list = sign_one(&signer, listed(2)).await.expect("the same payload in its slot");
    assert_ne!(with_list.hash, plain.hash);
    assert_eq!(with_list.payload_digest, plain.payload_digest);
    let decoded = decode_transaction(&with_list.raw).expect("was signed");
    assert_eq!(decoded.access_list, listed(2).access_list);
    assert_eq!(decoded.payload.digest(bench.slot(1)), plain.payload_digest);

    let refused = sign_one(&signer, listed(15)).await;
    assert!(matches!(refused, Err(SigningRefusal::AccessListTooLong { .. })), "{refused:?}");

    let cancel = SigningIntent { kind: AttemptKind::Cancel, ..listed(2) };
    let canceled = sign_one(&signer, cancel).await.expect("a cancel fits into every slot");
    let decoded = decode_transaction(&canceled.raw).expect("was signed");
    assert!(decoded.payload.is_self_transfer(bench.slot(1).sender));
    assert_eq!(decoded.access_list, []);
}

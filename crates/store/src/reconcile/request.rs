//! A client's retry meets a payment that reconcile imported: the retry names the payer, and intake, which has the
//! sealing key, seals it.

use alloy_primitives::B256;
use portcullis_core::id::{AccountId, DeploymentId, SlotId};
use portcullis_core::ledger::{Bucket, PostingKind};
use portcullis_core::seal::{SealedPayment, SealingKeys, payer_of};
use portcullis_core::slot::{Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::State;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter};

use super::Forgotten;
use super::forgotten::forget;
use super::insert::free_number;
use super::place::{between, bind, mark_item_paid, write_work};
use super::reopen::{JOINED, look_again};
use crate::audit::{AuditEntry, append_audit};
use crate::convert::Place;
use crate::db::{Source, Transaction};
use crate::entity::{slot, withdrawal, work};
use crate::error::StoreError;
use crate::intake::{Submission, withdrawal_row};
use crate::ledger::{NewPosting, Purse, load_balances, open_purse, post};
use crate::timeline;
use crate::transition::{Stage, purse_of};
use crate::withdrawal::{WithdrawalRecord, read_slot_facts};

/// Whether nobody has named its payer yet.
pub(crate) fn is_unclaimed(record: &WithdrawalRecord) -> bool {
    record.request_hash == B256::ZERO && record.account.is_suspense()
}

/// Moves an imported payment from the suspense account to the one that the retry names, if that one covers it, and
/// seals it. The ref says that the retry means this payment. Without cover it stays where it is: paid is paid.
pub(crate) async fn claim_in(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    record: &mut WithdrawalRecord,
    submission: &Submission,
) -> Result<(), StoreError> {
    let bucket = match record.state {
        State::Confirmed { .. } => Bucket::Paid,
        State::Failed { .. } | State::Canceled | State::Rejected => Bucket::Available,
        _ => Bucket::Held,
    };
    let suspense = purse_of(record);
    record.account = submission.account.clone();
    let payer = purse_of(record);
    // A failed one was never booked: there is nothing to move.
    let moves_money = bucket != Bucket::Available;
    if moves_money && !covers(tx, &payer, record).await? {
        tracing::error!(withdrawal = %record.id, account = %payer.account, amount = %record.amount,
            "an imported payment stays on the suspense account: the account that its client names does not cover it");
        record.account = suspense.account;
        return Ok(());
    }
    if moves_money {
        let back = [between(bucket, Bucket::Available), vec![PostingKind::Claim]].concat();
        let back = back.into_iter().map(|kind| (&suspense, kind));
        let forth = between(Bucket::Available, bucket);
        for (purse, kind) in back.chain(forth.into_iter().map(|kind| (&payer, kind))) {
            let posting = NewPosting {
                purse: purse.clone(),
                kind,
                amount: record.amount,
                subject: record.id.to_bytes(),
            };
            post(tx, vec![posting]).await?;
        }
    }
    record.request_hash = submission.request_hash;
    record.metadata.clone_from(&submission.metadata);
    seal(keys, deployment, record);
    let claimed = withdrawal::Entity::update_many()
        .col_expr(withdrawal::Column::AccountId, Expr::value(record.account.as_str()))
        .col_expr(withdrawal::Column::RequestHash, Expr::value(record.request_hash.to_vec()))
        .col_expr(withdrawal::Column::Metadata, Expr::value(record.metadata.clone()))
        .col_expr(withdrawal::Column::SealKeyId, Expr::value(i64::from(record.seal.key_id.0)))
        .col_expr(withdrawal::Column::Mac, Expr::value(record.seal.mac.to_vec()))
        .filter(withdrawal::Column::Id.eq(record.id.to_bytes().to_vec()))
        .filter(withdrawal::Column::RequestHash.eq(B256::ZERO.to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    tx.expect_rows(claimed.rows_affected, 1)?;
    // What waited for its seal waits no longer.
    work::Entity::update_many()
        .col_expr(work::Column::DueAt, Expr::value(tx.now.as_millis()))
        .filter(work::Column::WithdrawalId.eq(record.id.to_bytes().to_vec()))
        .exec(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    audit(tx, record, "withdrawal.claim").await
}

async fn covers(
    tx: &Transaction,
    payer: &Purse,
    record: &WithdrawalRecord,
) -> Result<bool, StoreError> {
    let balances = load_balances(tx, [payer]).await?;
    Ok(balances
        .get(payer)
        .is_some_and(|row| row.is_sound() && row.balance.available >= record.amount))
}

fn seal(keys: &SealingKeys, deployment: DeploymentId, record: &mut WithdrawalRecord) {
    record.seal = keys.seal_payment(&SealedPayment {
        deployment,
        payer: payer_of(record.tenant, &record.account, record.asset),
        chain_id: record.chain_id,
        token: record.token,
        amount: record.amount,
        to: record.to,
        number: record.number,
        reference: record.reference,
    });
}

async fn audit(
    tx: &Transaction,
    record: &WithdrawalRecord,
    action: &'static str,
) -> Result<(), StoreError> {
    let subject = record.id.to_string();
    let detail = format!("{} of account {}", record.number, record.account);
    let entry = AuditEntry {
        tenant: Some(record.tenant),
        actor: "api",
        action,
        subject: &subject,
        detail: &detail,
    };
    append_audit(tx, &entry).await
}

/// Where the slot stands, and the payment with it, its money and its work. `is_read` says whether a block that paid the
/// slot is known to have paid this one too: a call of the vault may have been mined without its items ever having been read.
fn standing(
    row: &slot::Model,
    slot: SlotId,
    is_read: bool,
) -> Result<(State, Bucket, Option<Stage>), StoreError> {
    let facts = read_slot_facts(row)?;
    let outcome = row.outcome.as_deref().and_then(SlotOutcome::parse);
    let sent = (State::Broadcasted { slot }, Bucket::Held, Some(Stage::Monitor));
    Ok(match (facts.stage, outcome, facts.block) {
        (_, Some(SlotOutcome::Paid), _) if !is_read => sent,
        (SlotStage::Included, Some(SlotOutcome::Paid), Some(block)) => {
            (State::Confirming { slot, block }, Bucket::Held, Some(Stage::Monitor))
        }
        (SlotStage::Confirmed, Some(SlotOutcome::Paid), Some(block)) => {
            let state = State::Confirmed { slot, block, is_final: false };
            (state, Bucket::Paid, Some(Stage::Monitor))
        }
        (SlotStage::Final, Some(SlotOutcome::Paid), Some(block)) => {
            (State::Confirmed { slot, block, is_final: true }, Bucket::Paid, None)
        }
        // It is over and did not pay: an ordinary request again, under its old number.
        (SlotStage::Final, ..) => (State::Pending, Bucket::Held, Some(Stage::Validate)),
        _ => sent,
    })
}

/// Makes the row of a payment that only the journal, or the vault's event, still knew. `record` is what intake would
/// have accepted; it gets the payment's own number and id, and stands where the slot does.
pub(crate) async fn revive_in(
    tx: &Transaction,
    keys: &SealingKeys,
    deployment: DeploymentId,
    forgotten: &Forgotten,
    mut record: WithdrawalRecord,
) -> Result<(), StoreError> {
    record.number = free_number(tx, forgotten.number).await?;
    record.id = forgotten.withdrawal.unwrap_or(record.id);
    let key = forgotten.slot.to_bytes();
    let row = tx
        .inner
        .holding_named(slot::Entity::find_by_id(key.to_vec()))
        .one(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    let place = Place { table: "forgotten", row: &key };
    let row = place.known("slot_id", row)?;
    let is_vault = row.rail == Rail::Vault.as_str();
    let slot = forgotten.slot;
    let (state, bucket, stage) = standing(&row, slot, !is_vault || forgotten.is_paid)?;
    record.state = state;
    let payer = purse_of(&record);
    let mut kinds = between(Bucket::Available, bucket);
    if !covers(tx, &payer, &record).await? {
        if state == State::Pending {
            // Nothing of it is under way: intake refuses it as it would any other.
            return forget(tx, forgotten.reference).await;
        }
        record.account = AccountId::suspense();
        record.request_hash = B256::ZERO;
        open_purse(tx, &purse_of(&record)).await?;
        kinds.insert(0, PostingKind::Import);
    }
    seal(keys, deployment, &mut record);
    let mut row = withdrawal_row(&record);
    let detail = Some("a payment that the journal knew");
    row.timeline = ActiveValue::Set(timeline::line(record.created_at, "imported", detail));
    withdrawal::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map_err(|error| tx.failed(&error))?;
    write_work(tx, &record, stage).await?;
    if state != State::Pending {
        bind(tx, &record.id.to_bytes(), slot).await?;
    }
    match state {
        State::Broadcasted { .. } if is_vault => look_again(tx, slot, JOINED).await?,
        State::Confirmed { .. } if is_vault => {
            mark_item_paid(tx, &record.id.to_bytes(), slot).await?;
        }
        _ => {}
    }
    for kind in kinds {
        let posting = NewPosting {
            purse: purse_of(&record),
            kind,
            amount: record.amount,
            subject: record.id.to_bytes(),
        };
        post(tx, vec![posting]).await?;
    }
    forget(tx, forgotten.reference).await?;
    audit(tx, &record, "withdrawal.revive").await
}

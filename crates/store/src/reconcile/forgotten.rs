//! Payments of which too little is left for a withdrawal's row: the table `forgotten`.

use portcullis_core::id::{ExternalId, SlotId, TenantId, WithdrawalId};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use sea_orm::{ActiveValue, ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect, Select};

use super::ImportedPayment;
use crate::convert::{Place, bigint};
use crate::db::{Store, Transaction};
use crate::entity::forgotten;
use crate::error::StoreError;
use crate::intake::Submission;
use crate::ledger::ROWS_PER_STATEMENT;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) reference: PaymentRef,
    pub(crate) number: PayoutNumber,
    pub(crate) request: Option<(TenantId, ExternalId)>,
    pub(crate) withdrawal: Option<WithdrawalId>,
    pub(crate) slot: SlotId,
    /// Whether the slot's final block is known to have paid it.
    pub(crate) is_paid: bool,
}

impl Store {
    /// The refs of payments that wait for their client to say what they pay, or whose they are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forgotten_payments(&self) -> Result<Vec<PaymentRef>, StoreError> {
        let rows: Vec<Vec<u8>> = forgotten::Entity::find()
            .select_only()
            .column(forgotten::Column::Reference)
            .into_tuple()
            .all(&self.reader)
            .await
            .map_err(|error| StoreError::of_statement("forgotten_payments", &error))?;
        let read = |row: &Vec<u8>| Place { table: "forgotten", row }.hash("reference", row);
        rows.iter().map(|row| read(row).map(PaymentRef)).collect()
    }
}

/// Remembers a payment, unless it is there already. `is_paid` says that the slot's final block paid it.
pub(super) async fn remember(
    tx: &Transaction,
    payment: &ImportedPayment,
    slot: SlotId,
    is_paid: bool,
) -> Result<(), StoreError> {
    let reference = payment.reference.0.to_vec();
    forget(tx, payment.reference).await?;
    let request = payment.request.as_ref();
    let row = forgotten::ActiveModel {
        reference: ActiveValue::Set(reference),
        epoch: ActiveValue::Set(bigint(payment.number.epoch)),
        sequence: ActiveValue::Set(bigint(payment.number.sequence)),
        tenant_id: ActiveValue::Set(request.map(|request| request.tenant.to_bytes().to_vec())),
        external_id: ActiveValue::Set(
            request.map(|request| request.external_id.as_str().to_owned()),
        ),
        withdrawal_id: ActiveValue::Set(
            request.map(|request| request.withdrawal.to_bytes().to_vec()),
        ),
        slot_id: ActiveValue::Set(slot.to_bytes().to_vec()),
        created_at: ActiveValue::Set(tx.now.as_millis()),
        paid: ActiveValue::Set(i64::from(is_paid)),
    };
    forgotten::Entity::insert(row)
        .exec_without_returning(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// It has a withdrawal's row now, or is known not to be paid.
pub(crate) async fn forget(tx: &Transaction, reference: PaymentRef) -> Result<(), StoreError> {
    forgotten::Entity::delete_many()
        .filter(forgotten::Column::Reference.eq(reference.0.to_vec()))
        .exec(&tx.inner)
        .await
        .map(|_| ())
        .map_err(|error| tx.failed(&error))
}

/// Asks whether there are any.
pub(crate) fn any_forgotten() -> Select<forgotten::Entity> {
    forgotten::Entity::find().limit(1)
}

/// Those that these requests may be about: by external id, or by ref.
pub(crate) async fn forgotten_requests(
    tx: &Transaction,
    requests: &[(&Submission, PaymentRef)],
) -> Result<Vec<Forgotten>, StoreError> {
    let failed = |error| tx.failed(&error);
    let mut found = Vec::new();
    for requests in requests.chunks(ROWS_PER_STATEMENT) {
        let refs = requests.iter().map(|(_, reference)| reference.0.to_vec());
        let ids = requests.iter().map(|(submission, _)| submission.external_id.as_str());
        let rows = forgotten::Entity::find()
            .filter(
                Condition::any()
                    .add(forgotten::Column::Reference.is_in(refs))
                    .add(forgotten::Column::ExternalId.is_in(ids)),
            )
            .all(&tx.inner)
            .await
            .map_err(failed)?;
        for row in &rows {
            found.push(read(row)?);
        }
    }
    Ok(found)
}

fn read(row: &forgotten::Model) -> Result<Forgotten, StoreError> {
    let place = Place { table: "forgotten", row: &row.reference };
    let request = match (&row.tenant_id, &row.external_id) {
        (Some(tenant), Some(external)) => Some((
            TenantId::from_bytes(place.id("tenant_id", tenant)?),
            place.parsed("external_id", external.parse())?,
        )),
        _ => None,
    };
    let withdrawal = match &row.withdrawal_id {
        Some(id) => Some(WithdrawalId::from_bytes(place.id("withdrawal_id", id)?)),
        None => None,
    };
    Ok(Forgotten {
        reference: PaymentRef(place.hash("reference", &row.reference)?),
        number: PayoutNumber {
            epoch: place.unsigned("epoch", row.epoch)?,
            sequence: place.unsigned("sequence", row.sequence)?,
        },
        request,
        withdrawal,
        slot: SlotId::from_bytes(place.id("slot_id", &row.slot_id)?),
        is_paid: row.paid != 0,
    })
}

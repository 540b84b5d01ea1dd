//! From checked requests to what became of each: the part that a single request and a batch share.

use std::time::Duration;

use portcullis_core::id::{ExternalId, WithdrawalId};
use portcullis_store::intake::{Submission, Submitted};
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::api::{ApiState, RequestContext};
use crate::auth::Caller;
use crate::error::{ApiCode, ApiError};
use crate::form::{Checked, Meaning};

/// Kept back of the wait for intake, so that its own answer comes before ours.
const INTAKE_MARGIN_MS: u64 = 100;

/// What became of a request.
pub(crate) enum Taken {
    /// Accepted and committed.
    Accepted(Box<WithdrawalRecord>),
    /// Accepted before.
    Existing(Box<WithdrawalRecord>),
    /// Nothing was written.
    Refused(ApiError),
}

/// Submits what is good; the results stand in the order of the requests.
///
/// # Errors
/// When the database does not answer, or its answer was lost: then nothing is said of any of them.
pub(crate) async fn take_many(
    api: &ApiState,
    context: &RequestContext,
    caller: &Caller,
    requests: Vec<Checked>,
) -> Result<Vec<Taken>, ApiError> {
    let mut submissions = Vec::new();
    let mut places = Vec::new();
    let mut taken: Vec<Option<Taken>> = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        taken.push(match request {
            Checked::Good(external_id, meaning) => {
                places.push(index);
                submissions.push(submission(api, context, caller, external_id, meaning));
                None
            }
            Checked::RefusedBySettings(external_id, meaning, error) => {
                let earlier =
                    earlier_accepted(api, context, caller, &external_id, &meaning).await?;
                Some(earlier.map_or(Taken::Refused(error), Taken::Existing))
            }
            Checked::Bad(error) => Some(Taken::Refused(error)),
        });
    }
    let assets: Vec<_> = submissions.iter().map(|submission| submission.asset).collect();
    let outcomes = submit(api, context, submissions).await?;
    if outcomes.iter().any(|outcome| matches!(outcome, Submitted::Accepted(_))) {
        (api.parts.on_accepted)();
    }
    for ((place, asset), outcome) in places.into_iter().zip(assets).zip(outcomes) {
        taken[place] = Some(match outcome {
            Submitted::Accepted(record) => Taken::Accepted(record),
            Submitted::Existing(record) => Taken::Existing(record),
            Submitted::Conflict { existing } => Taken::Refused(conflict(existing)),
            Submitted::InsufficientBalance { available } => {
                let catalog =
                    api.catalog(context, |catalog| catalog.asset(asset).is_some()).await?;
                let message = catalog.asset(asset).map_or_else(String::new, |asset| {
                    let available = available.to_decimal(asset.decimals);
                    format!("the account has {available} {} available", asset.symbol)
                });
                Taken::Refused(ApiError::of_field(ApiCode::InsufficientBalance, "amount", message))
            }
            Submitted::QueueFull => {
                metrics::counter!("portcullis_intake_refused_total", "why" => "queue_full")
                    .increment(1);
                Taken::Refused(ApiError::new(ApiCode::QueueFull))
            }
            Submitted::UnknownAccount => Taken::Refused(ApiError::of_field(
                ApiCode::UnknownAccount,
                "account_id",
                "is not an account: an account begins with its first deposit",
            )),
        });
    }
    let complete: Option<Vec<Taken>> = taken.into_iter().collect();
    complete.ok_or_else(|| ApiError::internal("intake", &"it gave fewer results than requests"))
}

fn conflict(existing: WithdrawalId) -> ApiError {
    let message = format!("was used for {existing}, with another body");
    ApiError::of_field(ApiCode::ExternalIdConflict, "external_id", message)
}

fn submission(
    api: &ApiState,
    context: &RequestContext,
    caller: &Caller,
    external_id: ExternalId,
    meaning: Meaning,
) -> Submission {
    Submission {
        id: WithdrawalId::from_parts(api.now(), (api.parts.entropy)()),
        tenant: caller.tenant,
        external_id,
        request_hash: meaning.hash(),
        account: meaning.account,
        asset: meaning.asset,
        chain_id: meaning.chain_id,
        token: meaning.token,
        amount: meaning.amount,
        to: meaning.to,
        priority: meaning.priority,
        metadata: meaning.metadata,
        trace: Some(context.request_id.to_string()),
    }
}

async fn submit(
    api: &ApiState,
    context: &RequestContext,
    submissions: Vec<Submission>,
) -> Result<Vec<Submitted>, ApiError> {
    if submissions.is_empty() {
        return Ok(Vec::new());
    }
    let wait_ms = ApiState::remaining_ms(context);
    let submitting =
        api.parts.intake.submit_many(submissions, wait_ms.saturating_sub(INTAKE_MARGIN_MS).max(1));
    if !api.parts.limits.has_timers {
        return Ok(submitting.await?);
    }
    match tokio::time::timeout(Duration::from_millis(wait_ms), submitting).await {
        Ok(outcomes) => Ok(outcomes?),
        Err(_) => Err(ApiError::new(ApiCode::OutcomeUnknown)),
    }
}

/// The withdrawal that the very same request made earlier, when settings were different.
async fn earlier_accepted(
    api: &ApiState,
    context: &RequestContext,
    caller: &Caller,
    external_id: &ExternalId,
    meaning: &Meaning,
) -> Result<Option<Box<WithdrawalRecord>>, ApiError> {
    let looking = api.parts.store.withdrawal_by_external_id(caller.tenant, external_id);
    let found = api.read(context, looking).await?;
    Ok(found.filter(|record| record.request_hash == meaning.hash()).map(Box::new))
}

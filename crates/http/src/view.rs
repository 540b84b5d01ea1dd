//! What the API shows: the JSON of withdrawals, deposits, accounts and networks. Amounts and wei are strings.

use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::WithdrawalId;
use portcullis_core::slot::AttemptKind;
use portcullis_core::withdrawal::{BlockRef, Priority, State};
use portcullis_store::TimelineEvent;
use portcullis_store::withdrawal::{AttemptRecord, Ride, WithdrawalRecord};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::catalog::Catalog;
use crate::error::ApiError;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items.
    pub(crate) data: Vec<T>,
    /// Whether more follow.
    pub(crate) has_more: bool,
    /// Pass it as `cursor` for the next page; `null` on the last one.
    pub(crate) next_cursor: Option<String>,
    /// Ids of items that are there, and cannot be shown until the operator mends their damaged rows. Left out where
    /// there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) unreadable: Vec<String>,
}

impl<T> Page<T> {
    /// A list that is complete.
    #[must_use]
    pub(crate) const fn complete(data: Vec<T>) -> Self {
        Self { data, has_more: false, next_cursor: None, unreadable: Vec::new() }
    }
}

/// Cuts off what has no room on a page of `limit` items, and says whether there was any: one more than the page holds is
/// read, to know that.
pub(crate) fn cut_to_page<T>(items: &mut Vec<T>, limit: u64) -> bool {
    let page_items = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = items.len() > page_items;
    items.truncate(page_items);
    has_more
}

/// A withdrawal: what was asked for, where it stands, and everything that was tried.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WithdrawalView {
    /// Ours.
    #[schema(example = "wd_01kaha8gr0000000000000007a")]
    pub(crate) id: String,
    /// Yours.
    #[schema(example = "order-20261120-0001")]
    pub(crate) external_id: String,
    /// The account that pays.
    #[schema(example = "customer-42")]
    pub(crate) account_id: String,
    /// Where.
    #[schema(example = "polygon")]
    pub(crate) network: String,
    /// What.
    #[schema(example = "USDC")]
    pub(crate) asset: String,
    /// Its contract; `null` for the chain's native coin.
    #[schema(example = "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359")]
    pub(crate) token_address: Option<String>,
    /// How much, in whole tokens.
    #[schema(example = "12.5")]
    pub(crate) amount: String,
    /// The same in atomic units.
    #[schema(example = "12500000")]
    pub(crate) amount_atomic: String,
    /// Decimal places of the asset.
    #[schema(example = 6)]
    pub(crate) decimals: u8,
    /// To whom, with the EIP-55 checksum.
    #[schema(example = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    pub(crate) to_address: String,
    /// `standard`, `vip` or `urgent`.
    #[schema(value_type = String, example = "standard")]
    pub(crate) priority: &'static str,
    /// `PENDING`, `VALIDATING`, `AWAITING_APPROVAL`, `QUEUED`, `SIGNING`, `SIGNED`, `BROADCASTING`, `BROADCASTED`,
    /// `CONFIRMING`, `CONFIRMED`, `HELD`, `REJECTED`, `CANCELED` or `FAILED`.
    #[schema(value_type = String, example = "CONFIRMED")]
    pub(crate) status: &'static str,
    /// Why it is held, rejected or failed.
    pub(crate) reason: Option<String>,
    /// Whether nothing changes any more. `CONFIRMED` is final once it lies deep enough that no reorg reaches it.
    #[serde(rename = "final")]
    pub(crate) is_final: bool,
    /// The block that holds the payment.
    pub(crate) block: Option<BlockView>,
    /// Blocks that confirm it, the one that holds it counted, as far as this process has seen the chain.
    #[schema(example = 12)]
    pub(crate) confirmations: Option<u64>,
    /// Confirmations after which it is `CONFIRMED`.
    #[schema(example = 12)]
    pub(crate) confirmations_required: Option<u64>,
    /// Yours.
    #[schema(value_type = Option<Object>)]
    pub(crate) metadata: Option<Value>,
    /// What happened, oldest first.
    pub(crate) timeline: Vec<TimelineView>,
    /// Every transaction that was signed for it, oldest first.
    pub(crate) attempts: Vec<AttemptView>,
    /// When it was accepted.
    #[schema(example = "2026-11-20T15:59:59.999Z")]
    pub(crate) created_at: String,
    /// When it moved last.
    #[schema(example = "2026-11-20T16:00:07.120Z")]
    pub(crate) updated_at: String,
}

/// A block.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockView {
    /// Height.
    #[schema(example = 79_000_123)]
    pub(crate) number: u64,
    /// Hash.
    pub(crate) hash: String,
}

/// An event of a withdrawal.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimelineView {
    /// Counts the events of this withdrawal, from 1.
    pub(crate) sequence: u64,
    /// When.
    #[schema(example = "2026-11-20T15:59:59.999Z")]
    pub(crate) at: String,
    /// What.
    #[schema(example = "accepted")]
    pub(crate) event: String,
    /// The particulars.
    pub(crate) detail: Option<String>,
}

/// A transaction that was signed for a withdrawal. At most one of those with the same sender and nonce is executed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Where.
    #[schema(example = "polygon")]
    pub(crate) network: String,
    /// The hot wallet.
    pub(crate) sender: String,
    /// Its nonce.
    #[schema(example = 1042)]
    pub(crate) nonce: u64,
    /// The transaction's hash.
    pub(crate) hash: String,
    /// `payload` pays; `cancel` consumes the nonce without paying.
    #[schema(value_type = String, example = "payload")]
    pub(crate) kind: &'static str,
    /// The most that a unit of gas may cost.
    #[schema(example = "60000000000")]
    pub(crate) max_fee_per_gas_wei: String,
    /// The tip.
    #[schema(example = "30000000000")]
    pub(crate) max_priority_fee_per_gas_wei: String,
    /// The most gas that it may use.
    #[schema(example = "65000")]
    pub(crate) gas_limit: String,
    /// Payments that it carries, this one counted.
    #[schema(example = 50)]
    pub(crate) payments: u64,
    /// Gas that a node said each of its payments takes, when they were put together: the whole call's, shared evenly.
    #[schema(example = "16200")]
    pub(crate) gas_estimated_per_payment: Option<String>,
    /// Gas that each of its payments took, once it is in a block: the whole call's, shared evenly.
    #[schema(example = "15481")]
    pub(crate) gas_used_per_payment: Option<String>,
    /// When its signed bytes were committed.
    pub(crate) committed_at: String,
    /// When they were first handed to a node.
    pub(crate) sent_at: Option<String>,
    /// What the last send came to.
    pub(crate) outcome: Option<String>,
    /// Gas that it used, once it is in a block.
    pub(crate) gas_used: Option<String>,
    /// What a unit of gas did cost.
    pub(crate) effective_gas_price_wei: Option<String>,
    /// Where it can be looked at.
    pub(crate) explorer_url: Option<String>,
}

/// The text of a priority.
pub(crate) const fn priority_text(priority: Priority) -> &'static str {
    match priority {
        Priority::Standard => "standard",
        Priority::Vip => "vip",
        Priority::Urgent => "urgent",
    }
}

const fn kind_text(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Payload => "payload",
        AttemptKind::Cancel => "cancel",
    }
}

/// The network of a chain, also of one that this binary does not know any more.
pub(crate) fn network_of(chain_id: u64) -> String {
    ChainSpec::by_id(chain_id)
        .map_or_else(|| format!("chain-{chain_id}"), |chain| chain.network.to_owned())
}

/// An amount in whole tokens.
pub(crate) fn decimal(amount: Amount, asset: &Asset) -> String {
    amount.to_decimal(asset.decimals)
}

/// The asset of a record.
///
/// # Errors
/// `INTERNAL_ERROR`: a record names an asset that is not registered.
pub(crate) fn asset_of(
    catalog: &Catalog,
    id: portcullis_core::id::AssetId,
) -> Result<&Asset, ApiError> {
    catalog.asset(id).ok_or_else(|| ApiError::internal("view", &format!("asset {id} is unknown")))
}

/// Shows a withdrawal with those of `rides` that are its own.
///
/// # Errors
/// `INTERNAL_ERROR`: its asset is not registered, or its metadata is no JSON.
pub(crate) fn withdrawal_view(
    record: &WithdrawalRecord,
    rides: &[Ride],
    catalog: &Catalog,
    known_head: Option<u64>,
) -> Result<WithdrawalView, ApiError> {
    let asset = asset_of(catalog, record.asset)?;
    let metadata = record.metadata.as_deref().map(serde_json::from_str::<Value>).transpose();
    let metadata = metadata.map_err(|error| ApiError::internal("metadata", &error))?;
    let block = block_of(&record.state);
    Ok(WithdrawalView {
        id: record.id.to_string(),
        external_id: record.external_id.to_string(),
        account_id: record.account.to_string(),
        network: network_of(record.chain_id),
        asset: asset.symbol.clone(),
        token_address: record.token.map(|token| token.to_checksum(None)),
        amount: decimal(record.amount, asset),
        amount_atomic: record.amount.to_string(),
        decimals: asset.decimals,
        to_address: record.to.to_checksum(None),
        priority: priority_text(record.priority),
        status: record.state.code().as_str(),
        reason: record.reason.clone(),
        is_final: record.state.is_terminal(),
        block: block.map(BlockView::from),
        confirmations: block
            .zip(known_head)
            .map(|(block, head)| ChainSpec::depth(block.number, head)),
        confirmations_required: ChainSpec::by_id(record.chain_id).map(|chain| chain.confirmations),
        metadata,
        timeline: record.timeline.iter().map(TimelineView::from).collect(),
        attempts: attempts_of(record.id, rides),
        created_at: record.created_at.to_rfc3339(),
        updated_at: record.updated_at.to_rfc3339(),
    })
}

impl From<BlockRef> for BlockView {
    fn from(block: BlockRef) -> Self {
        Self { number: block.number, hash: block.hash.to_string() }
    }
}

const fn block_of(state: &State) -> Option<BlockRef> {
    match state {
        State::Confirming { block, .. } | State::Confirmed { block, .. } => Some(*block),
        _ => None,
    }
}

fn attempts_of(id: WithdrawalId, rides: &[Ride]) -> Vec<AttemptView> {
    let own = rides.iter().filter(|ride| ride.withdrawal == id);
    own.flat_map(|ride| ride.attempts.iter().map(|attempt| attempt_view(ride, attempt))).collect()
}

fn attempt_view(ride: &Ride, attempt: &AttemptRecord) -> AttemptView {
    let chain = ChainSpec::by_id(ride.slot.chain_id);
    let pays = attempt.kind == AttemptKind::Payload;
    let shared = |gas: u64| gas.div_ceil(ride.payments.max(1)).to_string();
    AttemptView {
        network: network_of(ride.slot.chain_id),
        sender: ride.slot.sender.to_checksum(None),
        nonce: ride.slot.nonce,
        hash: attempt.hash.to_string(),
        kind: kind_text(attempt.kind),
        max_fee_per_gas_wei: attempt.fees.max_fee_per_gas_wei.to_string(),
        max_priority_fee_per_gas_wei: attempt.fees.max_priority_fee_per_gas_wei.to_string(),
        gas_limit: attempt.gas_limit.to_string(),
        payments: ride.payments,
        gas_estimated_per_payment: ride.gas_estimated.filter(|_| pays).map(shared),
        gas_used_per_payment: attempt.gas_used.filter(|_| pays).map(shared),
        committed_at: attempt.committed_at.to_rfc3339(),
        sent_at: attempt.sent_at.map(portcullis_core::time::Timestamp::to_rfc3339),
        outcome: attempt.last_outcome.clone(),
        gas_used: attempt.gas_used.map(|gas| gas.to_string()),
        effective_gas_price_wei: attempt.effective_gas_price_wei.map(|wei| wei.to_string()),
        explorer_url: chain.and_then(|chain| chain.transaction_url(attempt.hash)),
    }
}

impl From<&TimelineEvent> for TimelineView {
    fn from(event: &TimelineEvent) -> Self {
        Self {
            sequence: event.sequence,
            at: event.at.to_rfc3339(),
            event: event.kind.clone(),
            detail: event.detail.clone(),
        }
    }
}

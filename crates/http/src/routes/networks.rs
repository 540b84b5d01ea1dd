//! Where money can be sent, and what.

use axum::Json;
use axum::extract::State;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{Api, RequestContext};
use crate::auth::Caller;
use crate::catalog::Catalog;
use crate::error::{ApiError, ErrorEnvelope};
use crate::view::{Page, decimal};

/// A network that this deployment pays on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NetworkView {
    /// What `network` is in requests.
    #[schema(value_type = String, example = "polygon")]
    pub(crate) network: &'static str,
    /// What people read.
    #[schema(value_type = String, example = "Polygon PoS")]
    pub(crate) name: &'static str,
    /// EIP-155 id.
    #[schema(example = 137)]
    pub(crate) chain_id: u64,
    /// Whether its coins are worthless.
    pub(crate) is_testnet: bool,
    /// Symbol of the coin that pays for gas.
    #[schema(value_type = String, example = "POL")]
    pub(crate) native_symbol: &'static str,
    /// Usual time between two blocks.
    #[schema(example = 1500)]
    pub(crate) block_time_ms: u64,
    /// Confirmations after which a withdrawal is `CONFIRMED`.
    #[schema(example = 12)]
    pub(crate) confirmations: u64,
    /// Blocks after which it is `final`.
    #[schema(example = 500)]
    pub(crate) final_after_blocks: u64,
    /// Where transactions are shown.
    #[schema(value_type = Option<String>, example = "https://polygonscan.com")]
    pub(crate) explorer_url: Option<&'static str>,
    /// What can be sent.
    pub(crate) assets: Vec<AssetView>,
}

/// An asset of a network.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssetView {
    /// What `asset` is in requests.
    #[schema(example = "USDC")]
    pub(crate) asset: String,
    /// Its contract; `null` for the chain's native coin.
    pub(crate) token_address: Option<String>,
    /// Decimal places: more in an amount are refused.
    #[schema(example = 6)]
    pub(crate) decimals: u8,
    /// The smallest withdrawal, in whole tokens.
    #[schema(example = "1")]
    pub(crate) amount_min: String,
    /// The largest withdrawal.
    #[schema(example = "1000000")]
    pub(crate) amount_max: String,
    /// The most that one account may withdraw on one UTC day; `null` is unlimited.
    pub(crate) daily_max: Option<String>,
    /// Whether new withdrawals are accepted.
    pub(crate) enabled: bool,
}

/// List networks
///
/// With their assets, minimum and maximum amounts, confirmations and explorers. Any valid key may ask.
#[utoipa::path(
    get,
    path = "/v1/networks",
    tag = "networks",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "Every network, on one page", body = Page<NetworkView>),
        (status = 401, description = "No valid API key", body = ErrorEnvelope),
        (status = 503, description = "`DATABASE_UNAVAILABLE`", body = ErrorEnvelope),
    ),
)]
pub(crate) async fn list_networks(
    State(api): State<Api>,
    context: RequestContext,
    _caller: Caller,
) -> Result<Json<Page<NetworkView>>, ApiError> {
    let catalog = api.catalog(&context, |_| true).await?;
    let networks = catalog.chains().iter().map(|chain| network_view(chain, &catalog));
    Ok(Json(Page::complete(networks.collect())))
}

fn network_view(chain: &ChainSpec, catalog: &Catalog) -> NetworkView {
    NetworkView {
        network: chain.network,
        name: chain.name,
        chain_id: chain.chain_id,
        is_testnet: chain.is_testnet,
        native_symbol: chain.native.symbol,
        block_time_ms: chain.block_time_ms,
        confirmations: chain.confirmations,
        final_after_blocks: chain.conservative.blocks,
        explorer_url: chain.explorer,
        assets: catalog.assets_on(chain.chain_id).map(asset_view).collect(),
    }
}

fn asset_view(asset: &Asset) -> AssetView {
    AssetView {
        asset: asset.symbol.clone(),
        token_address: asset.token.map(|token| token.to_checksum(None)),
        decimals: asset.decimals,
        amount_min: decimal(asset.amount_min, asset),
        amount_max: decimal(asset.amount_max, asset),
        daily_max: asset.daily_max.map(|most| decimal(most, asset)),
        enabled: asset.enabled,
    }
}

//! What can be paid where: a picture of the registered assets and of our own senders, at most a second old.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::AssetId;

use crate::error::ApiCode;
use crate::form::{Problems, check_address_text};

/// How a request names its asset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssetChoice<'a> {
    pub(crate) network: Option<&'a str>,
    pub(crate) symbol: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

/// The assets and senders of the configured chains.
#[derive(Debug)]
pub(crate) struct Catalog {
    chains: Vec<&'static ChainSpec>,
    assets: Vec<Asset>,
    own: BTreeMap<u64, Vec<Address>>,
}

impl Catalog {
    pub(crate) fn new(
        chains: Vec<&'static ChainSpec>,
        assets: Vec<Asset>,
        own: BTreeMap<u64, Vec<Address>>,
    ) -> Self {
        Self { chains, assets, own }
    }

    /// The configured chains.
    pub(crate) fn chains(&self) -> &[&'static ChainSpec] {
        &self.chains
    }

    /// A configured chain, by the API's name.
    pub(crate) fn chain(&self, network: &str) -> Option<&'static ChainSpec> {
        self.chains.iter().copied().find(|chain| chain.network == network)
    }

    /// Every asset of a chain.
    pub(crate) fn assets_on(&self, chain_id: u64) -> impl Iterator<Item = &Asset> {
        self.assets.iter().filter(move |asset| asset.chain_id == chain_id)
    }

    /// An asset, also of a chain that is not configured any more.
    pub(crate) fn asset(&self, id: AssetId) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.id == id)
    }

    /// The assets of a symbol, one a chain.
    pub(crate) fn assets_called<'a>(&'a self, symbol: &'a str) -> impl Iterator<Item = &'a Asset> {
        self.assets.iter().filter(move |asset| asset.symbol == symbol)
    }

    /// This deployment's senders on a chain.
    pub(crate) fn own_addresses(&self, chain_id: u64) -> &[Address] {
        self.own.get(&chain_id).map_or(&[], Vec::as_slice)
    }

    /// Whether the choice names a registered asset, or cannot name one whatever is registered.
    pub(crate) fn knows(&self, choice: &AssetChoice<'_>) -> bool {
        let mut problems = Problems::default();
        self.resolve(choice, &mut problems).is_some() || !problems.has(ApiCode::UnknownAsset)
    }

    /// Finds the asset that a request names by network and symbol, token contract, or both.
    /// Problems that were told of these fields before are not told again.
    pub(crate) fn resolve(
        &self,
        choice: &AssetChoice<'_>,
        problems: &mut Problems,
    ) -> Option<&Asset> {
        let unreadable = problems.concern(&["asset", "token_address"]);
        let given_token = choice.token;
        let token =
            given_token.and_then(|text| check_address_text(text, "token_address", problems));
        let network = choice.network?;
        let Some(chain) = self.chain(network) else {
            let known: Vec<&str> = self.chains.iter().map(|chain| chain.network).collect();
            let message = format!("is not one of {}", known.join(", "));
            problems.add(ApiCode::UnknownNetwork, "network", message);
            return None;
        };
        if unreadable || given_token.is_some() != token.is_some() {
            return None;
        }
        let asset = match (choice.symbol, token) {
            (Some(symbol), _) => self.by_symbol(chain, symbol, problems)?,
            (None, Some(token)) => self.by_token(chain, token, problems)?,
            (None, None) => {
                problems.add(ApiCode::MissingField, "asset", "is required, or token_address");
                return None;
            }
        };
        if token.is_some() && token != asset.token {
            let message = format!("is not the contract of {}", asset.symbol);
            problems.add(ApiCode::AssetMismatch, "token_address", message);
            return None;
        }
        Some(asset)
    }

    fn by_symbol(
        &self,
        chain: &ChainSpec,
        symbol: &str,
        problems: &mut Problems,
    ) -> Option<&Asset> {
        let found = self.assets_on(chain.chain_id).find(|asset| asset.symbol == symbol);
        if found.is_none() {
            let known: Vec<&str> =
                self.assets_on(chain.chain_id).map(|asset| asset.symbol.as_str()).collect();
            let message = format!("is not one of {} on {}", known.join(", "), chain.network);
            problems.add(ApiCode::UnknownAsset, "asset", message);
        }
        found
    }

    fn by_token(
        &self,
        chain: &ChainSpec,
        token: Address,
        problems: &mut Problems,
    ) -> Option<&Asset> {
        let found = self.assets_on(chain.chain_id).find(|asset| asset.token == Some(token));
        if found.is_none() {
            let message = format!("is not a registered token on {}", chain.network);
            problems.add(ApiCode::UnknownAsset, "token_address", message);
        }
        found
    }
}

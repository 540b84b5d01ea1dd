//! Recipients whom a token refuses: an item for one of them fails on every ride, until somebody gives it up.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use portcullis_core::asset::Asset;
use portcullis_testkit::{ControlError, SimNode, TokenKind, TokenOrder};

use crate::client::recipient_at;

/// The recipients that are refused: of the first wishes, each of which has a recipient of its own.
const RECIPIENTS: std::ops::Range<u64> = 100..112;

/// Whom which token refuses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    token: Option<Address>,
    recipients: BTreeSet<Address>,
}

impl Refused {
    /// Lists the recipients at the token with a blacklist.
    pub(crate) fn list(node: &SimNode, assets: &[Asset]) -> Result<Self, ControlError> {
        let listing = assets.iter().find(|asset| asset.symbol == TokenKind::Usdc.symbol());
        let Some(token) = listing.and_then(|asset| asset.token) else { return Ok(Self::default()) };
        let recipients: BTreeSet<Address> = RECIPIENTS.map(recipient_at).collect();
        for recipient in &recipients {
            node.order_token(token, TokenOrder::Blacklist(*recipient))?;
        }
        Ok(Self { token: Some(token), recipients })
    }

    /// Whether a payment of this token to this recipient can never be made.
    pub(crate) fn has(&self, token: Option<Address>, to: Address) -> bool {
        token.is_some() && token == self.token && self.recipients.contains(&to)
    }
}

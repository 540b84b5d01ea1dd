//! What senders and vaults can pay with, and what calls need: each read in one round trip.

use alloy_primitives::{Address, B256, U64, U256};
use portcullis_core::access_list::ListedAccount;
use portcullis_core::amount::Amount;
use portcullis_core::calldata::Erc20;
use portcullis_core::vault::PayoutVault;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chain_types::{BlockTag, CallRequest, EstimateError, HeadBlock};
use crate::exchange::{Answer, Questions};
use crate::failure::{ReadError, RpcFailure};
use crate::read_account::{decode_view, view_call};
use crate::upstream::Upstream;
use crate::wire::{WireHeader, decode, decode_u64};

const BLOCK: &str = "eth_getBlockByNumber";
const BALANCE: &str = "eth_getBalance";
const CALL: &str = "eth_call";
const ESTIMATE_GAS: &str = "eth_estimateGas";
const ACCESS_LIST: &str = "eth_createAccessList";

/// Whose money is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct FundsQuery<'a> {
    /// Accounts, for their native coin.
    pub natives: &'a [Address],
    /// Pairs of token and account.
    pub tokens: &'a [(Address, Address)],
    /// A vault and its tokens, for what may still leave it today.
    pub vault: Option<(Address, &'a [Option<Address>])>,
}

/// The money, each list in the order of the question, and the newest block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Funds {
    /// The newest block.
    pub head: HeadBlock,
    /// Native coin of each account, in wei.
    pub natives: Vec<Amount>,
    /// What each account holds of each token, in atomic units.
    pub tokens: Vec<Amount>,
    /// What may still leave the vault today, in atomic units; zero where it does not list the token.
    pub remaining: Vec<Amount>,
}

/// What a node says that a call needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GasQuote {
    /// Gas.
    pub gas: u64,
    /// What it touches, where that was asked for and the node could tell.
    pub touched: Option<TouchedState>,
}

/// What a call touches, and what it would use with all of that in its access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedState {
    /// Accounts and slots.
    pub list: Vec<ListedAccount>,
    /// Gas used with that list.
    pub gas_used: u64,
}

impl Upstream {
    /// The newest block and the money, in one batch where the provider takes so many questions.
    ///
    /// # Errors
    /// See [`ReadError`]. An address without code, or with another contract, is [`RpcFailure::Contract`].
    pub async fn funds(&self, query: FundsQuery<'_>) -> Result<Funds, ReadError> {
        let latest = BlockTag::Latest;
        let mut asked: Vec<(&'static str, Value)> = vec![(BLOCK, json!(["latest", false]))];
        asked.extend(query.natives.iter().map(|it| (BALANCE, json!([it, latest.to_json()]))));
        asked.extend(query.tokens.iter().map(|(token, account)| {
            let call = Erc20::balanceOfCall { account: *account };
            (CALL, view_call(*token, &call, latest))
        }));
        let (vault, listed) = query.vault.unwrap_or_default();
        asked.extend(listed.iter().map(|token| {
            let token = token.unwrap_or_default();
            (CALL, view_call(vault, &PayoutVault::remainingTodayCall { token }, latest))
        }));
        let mut answers = self.ask_all(Questions::Mixed(&asked)).await.into_iter();
        let head =
            self.read(BLOCK, answers.next(), |raw| decode::<WireHeader>(raw)?.into_head())?;
        self.note_head(head);
        let native = |raw: &RawValue| decode::<U256>(raw).map(Amount::from_atomic);
        let natives = query.natives.iter().map(|_| self.read(BALANCE, answers.next(), native));
        let natives = natives.collect::<Result<_, _>>()?;
        let balance = |token: Address, answer| {
            self.read(CALL, answer, |raw| decode_view::<Erc20::balanceOfCall>(token, raw))
        };
        let tokens = query.tokens.iter().map(|(token, _)| balance(*token, answers.next()));
        let tokens = tokens.map(|read| read.map(Amount::from_atomic)).collect::<Result<_, _>>()?;
        let left = |answer| {
            self.read(CALL, answer, |raw| {
                decode_view::<PayoutVault::remainingTodayCall>(vault, raw)
            })
        };
        let remaining = listed.iter().map(|_| left(answers.next()).map(Amount::from_atomic));
        let remaining = remaining.collect::<Result<_, _>>()?;
        Ok(Funds { head, natives, tokens, remaining })
    }

    fn read<T>(
        &self,
        method: &'static str,
        answer: Option<Answer>,
        decode: impl Fn(&RawValue) -> Result<T, RpcFailure>,
    ) -> Result<T, ReadError> {
        match answer.unwrap_or(Err(RpcFailure::Missing)) {
            Ok(raw) => decode(&raw).map_err(|failure| self.note_bad_answer(method, failure)),
            Err(failure) => Err(self.read_error(method, failure)),
        }
    }

    /// What each call needs at the newest block, and with `with_lists` what it touches, in one batch. On Polygon only a
    /// Polygon node knows (PIP-88). A node that cannot tell what a call touches still says what it needs.
    pub async fn quotes(
        &self,
        calls: &[CallRequest],
        with_lists: bool,
    ) -> Vec<Result<GasQuote, EstimateError>> {
        let params: Vec<Value> =
            calls.iter().map(|call| json!([call.to_json(), "latest"])).collect();
        if !with_lists {
            let answers = self.ask_each(ESTIMATE_GAS, &params).await;
            let quote = |answer| {
                let gas = self.simulated(ESTIMATE_GAS, answer, decode_u64)?;
                Ok(GasQuote { gas, touched: None })
            };
            return answers.into_iter().map(quote).collect();
        }
        let asked: Vec<(&'static str, Value)> = params
            .into_iter()
            .flat_map(|params| [(ESTIMATE_GAS, params.clone()), (ACCESS_LIST, params)])
            .collect();
        let mut answers = self.ask_all(Questions::Mixed(&asked)).await.into_iter();
        let mut next = || answers.next().unwrap_or(Err(RpcFailure::Missing));
        let quote = |_| {
            let (estimate, touched) = (next(), next());
            let gas = self.simulated(ESTIMATE_GAS, estimate, decode_u64)?;
            let touched = touched.and_then(|raw| decode::<WireAccessList>(&raw));
            Ok(GasQuote { gas, touched: touched.ok().and_then(WireAccessList::into_touched) })
        };
        calls.iter().map(quote).collect()
    }
}

/// The answer to `eth_createAccessList`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAccessList {
    access_list: Vec<WireListed>,
    gas_used: U64,
    /// The call failed, and the list is of what it touched until then.
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireListed {
    address: Address,
    storage_keys: Vec<B256>,
}

impl WireAccessList {
    fn into_touched(self) -> Option<TouchedState> {
        if self.error.is_some() {
            return None;
        }
        let account =
            |it: WireListed| ListedAccount { address: it.address, slots: it.storage_keys };
        let list = self.access_list.into_iter().map(account).collect();
        Some(TouchedState { list, gas_used: self.gas_used.to() })
    }
}

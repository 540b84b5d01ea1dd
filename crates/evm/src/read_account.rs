//! Reads of accounts and contracts from one provider, and simulated calls.

use alloy_json_rpc::ErrorPayload;
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{Panic, Revert, SolCall, SolError};
use portcullis_core::amount::Amount;
use portcullis_core::calldata::Erc20;
use portcullis_core::vault::PayoutVault;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chain_types::{BlockTag, CallRequest, EstimateError};
use crate::exchange::Answer;
use crate::failure::{ReadError, RpcFailure};
use crate::upstream::Upstream;
use crate::wire::{decode, decode_u64};

const CALL: &str = "eth_call";

impl Upstream {
    /// How many transactions each account has sent: its next nonce.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn transaction_counts(
        &self,
        accounts: &[Address],
        at: BlockTag,
    ) -> Result<Vec<u64>, ReadError> {
        let asked: Vec<(Address, BlockTag)> =
            accounts.iter().map(|account| (*account, at)).collect();
        self.counts_at(&asked).await
    }

    pub(crate) async fn counts_at(
        &self,
        asked: &[(Address, BlockTag)],
    ) -> Result<Vec<u64>, ReadError> {
        let params: Vec<Value> =
            asked.iter().map(|(account, at)| json!([account, at.to_json()])).collect();
        self.ask("eth_getTransactionCount", &params, |_, raw| decode_u64(raw)).await
    }

    /// What each account holds of the native coin, in wei.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn native_balances(
        &self,
        accounts: &[Address],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        let params: Vec<Value> =
            accounts.iter().map(|account| json!([account, at.to_json()])).collect();
        let read = |_, raw: &_| decode::<U256>(raw).map(Amount::from_atomic);
        self.ask("eth_getBalance", &params, read).await
    }

    /// What each account holds of each token, in the token's atomic units: pairs of token and account.
    ///
    /// # Errors
    /// See [`ReadError`]. An address without code, or with a contract that is no token, is
    /// [`RpcFailure::Contract`].
    pub async fn token_balances(
        &self,
        held: &[(Address, Address)],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        let params: Vec<Value> = held
            .iter()
            .map(|(token, account)| {
                view_call(*token, &Erc20::balanceOfCall { account: *account }, at)
            })
            .collect();
        self.ask(CALL, &params, |index, raw| {
            let balance = decode_view::<Erc20::balanceOfCall>(held[index].0, raw)?;
            Ok(Amount::from_atomic(balance))
        })
        .await
    }

    /// What may still leave `vault` today of each token, in atomic units; zero where the vault does not list it.
    ///
    /// # Errors
    /// See [`ReadError`]. An address without code, or with a contract that is no vault, is
    /// [`RpcFailure::Contract`].
    pub async fn vault_remaining(
        &self,
        vault: Address,
        tokens: &[Option<Address>],
        at: BlockTag,
    ) -> Result<Vec<Amount>, ReadError> {
        let params: Vec<Value> = tokens
            .iter()
            .map(|token| {
                let token = token.unwrap_or_default();
                view_call(vault, &PayoutVault::remainingTodayCall { token }, at)
            })
            .collect();
        self.ask(CALL, &params, |_, raw| {
            let remaining = decode_view::<PayoutVault::remainingTodayCall>(vault, raw)?;
            Ok(Amount::from_atomic(remaining))
        })
        .await
    }

    /// The decimal places that each token says it has.
    ///
    /// # Errors
    /// See [`ReadError`]. An address without code, or with a contract that is no token, is
    /// [`RpcFailure::Contract`].
    pub async fn token_decimals(&self, tokens: &[Address]) -> Result<Vec<u8>, ReadError> {
        let params: Vec<Value> = tokens
            .iter()
            .map(|token| view_call(*token, &Erc20::decimalsCall {}, BlockTag::Latest))
            .collect();
        self.ask(CALL, &params, |index, raw| decode_view::<Erc20::decimalsCall>(tokens[index], raw))
            .await
    }

    /// What each token calls itself: text that nobody vouches for.
    ///
    /// # Errors
    /// See [`ReadError`]. A token of the early days that answers with 32 bytes instead of text is [`RpcFailure::Contract`].
    pub async fn token_symbols(&self, tokens: &[Address]) -> Result<Vec<String>, ReadError> {
        let params: Vec<Value> = tokens
            .iter()
            .map(|token| view_call(*token, &Erc20::symbolCall {}, BlockTag::Latest))
            .collect();
        self.ask(CALL, &params, |index, raw| decode_view::<Erc20::symbolCall>(tokens[index], raw))
            .await
    }

    /// Whether there is code at each address: a contract, or an EIP-7702 delegation.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn codes(&self, addresses: &[Address]) -> Result<Vec<bool>, ReadError> {
        let params: Vec<Value> =
            addresses.iter().map(|address| json!([address, "latest"])).collect();
        let has_code = |_, raw: &_| decode::<Bytes>(raw).map(|code| !code.is_empty());
        self.ask("eth_getCode", &params, has_code).await
    }

    /// The tip that the node would offer, in wei per gas.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn priority_fee(&self) -> Result<u128, ReadError> {
        const METHOD: &str = "eth_maxPriorityFeePerGas";
        let read = |_, raw: &_| decode::<alloy_primitives::U128>(raw).map(|tip| tip.to());
        let tips = self.ask(METHOD, &[json!([])], read).await?;
        self.only(METHOD, tips)
    }

    /// What each call would return.
    pub async fn call(
        &self,
        calls: &[CallRequest],
        at: BlockTag,
    ) -> Vec<Result<Bytes, EstimateError>> {
        let params: Vec<Value> =
            calls.iter().map(|call| json!([call.to_json(), at.to_json()])).collect();
        let answers = self.ask_each(CALL, &params).await;
        answers.into_iter().map(|answer| self.simulated(CALL, answer, decode::<Bytes>)).collect()
    }

    pub(crate) fn simulated<T>(
        &self,
        method: &'static str,
        answer: Answer,
        decode: impl Fn(&RawValue) -> Result<T, RpcFailure>,
    ) -> Result<T, EstimateError> {
        match answer {
            Ok(raw) => Ok(decode(&raw).map_err(|failure| self.note_bad_answer(method, failure))?),
            Err(RpcFailure::Rpc { code, message, data }) => Err(explain(&message, data.as_ref())
                .unwrap_or_else(|| {
                    self.read_error(method, RpcFailure::Rpc { code, message, data }).into()
                })),
            Err(failure) => Err(self.read_error(method, failure).into()),
        }
    }
}

pub(crate) fn view_call(contract: Address, call: &impl SolCall, at: BlockTag) -> Value {
    json!([{ "to": contract, "input": Bytes::from(call.abi_encode()) }, at.to_json()])
}

pub(crate) fn decode_view<C: SolCall>(
    contract: Address,
    raw: &RawValue,
) -> Result<C::Return, RpcFailure> {
    let returned = decode::<Bytes>(raw)?;
    C::abi_decode_returns(&returned).map_err(|_| {
        let bytes = returned.len();
        let text =
            format!("{contract} returned {bytes} bytes to {}: the wrong contract?", C::SIGNATURE);
        RpcFailure::Contract(text)
    })
}

/// Reads a node's words about a simulated call; `None` when they say nothing about the call itself.
fn explain(message: &str, data: Option<&Bytes>) -> Option<EstimateError> {
    let text = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if data.is_some() || says(&["revert"]) {
        let reason = data.and_then(decode_reason).or_else(|| reason_in_words(message));
        let selector = data.and_then(|data| data.first_chunk().copied());
        return Some(EstimateError::Reverted { reason, selector });
    }
    if says(&["insufficient funds", "insufficient balance", "exceeds account balance"]) {
        return Some(EstimateError::InsufficientFunds);
    }
    // geth and anvil; Nethermind and Besu name the exception.
    if says(&["gas required exceeds allowance", "out of gas", "outofgas", "exceeds gas limit"]) {
        return Some(EstimateError::OutOfGas(message.to_owned()));
    }
    // geth core/vm/errors.go; anvil says "EVM error InvalidFEOpcode" and the like.
    if says(&["invalid opcode", "invalid jump destination", "stack underflow", "evm error"]) {
        let reason = Some(message.to_owned());
        return Some(EstimateError::Reverted { reason, selector: None });
    }
    None
}

/// `Error(string)`, `Panic(uint256)`, or the selector of a custom error.
fn decode_reason(data: &Bytes) -> Option<String> {
    if let Ok(revert) = Revert::abi_decode(data) {
        return Some(crate::failure::shorten(&revert.reason));
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return Some(format!("panic {:#x}", panic.code));
    }
    let selector = data.get(..4)?;
    Some(format!("custom error 0x{}", alloy_primitives::hex::encode(selector)))
}

fn reason_in_words(message: &str) -> Option<String> {
    let (_, reason) = message.split_once("execution reverted: ")?;
    (!reason.trim().is_empty()).then(|| reason.trim().to_owned())
}

/// Revert data of a node's error, wherever the client puts it.
pub(crate) fn revert_data(payload: &ErrorPayload) -> Option<Bytes> {
    let found = payload.as_revert_data()?;
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn reasons_are_decoded_from_data_before_words() {
        let error = Bytes::from(Revert::from("Blacklistable: account is blacklisted").abi_encode());
        let reverted = |reason: Option<&str>, selector| {
            let reason = reason.map(str::to_owned);
            Some(EstimateError::Reverted { reason, selector })
        };
        assert_eq!(
            explain("execution reverted: whatever", Some(&error)),
            reverted(Some("Blacklistable: account is blacklisted"), Some(Revert::SELECTOR))
        );
        let panic = Bytes::from(Panic::from(0x11_u64).abi_encode());
        assert_eq!(
            explain("execution reverted", Some(&panic)),
            reverted(Some("panic 0x11"), Some(Panic::SELECTOR))
        );
        let custom = Bytes::from(hex!("e450d38c0000").to_vec());
        assert_eq!(
            explain("execution reverted", Some(&custom)),
            reverted(Some("custom error 0xe450d38c"), Some([0xe4, 0x50, 0xd3, 0x8c]))
        );
        assert_eq!(explain("execution reverted: paused", None), reverted(Some("paused"), None));
        assert_eq!(explain("execution reverted", None), reverted(None, None));
    }

    #[test]
    fn what_is_not_about_the_call_is_not_explained() {
        assert_eq!(explain("header not found", None), None);
        assert_eq!(explain("internal error", None), None);
        assert_eq!(
            explain("insufficient funds for transfer", None),
            Some(EstimateError::InsufficientFunds)
        );
        assert!(matches!(
            explain("gas required exceeds allowance (30000000)", None),
            Some(EstimateError::OutOfGas(_))
        ));
    }
}

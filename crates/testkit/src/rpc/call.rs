//! `eth_call` and `eth_estimateGas`.

use alloy_eips::eip2930::{AccessList, AccessListItem, AccessListResult};
use alloy_json_rpc::ErrorPayload;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::{Panic, Revert, SolError};
use revm::context::TxEnv;
use revm::context::result::{
    EVMError, ExecutionResult, HaltReason, InvalidTransaction, OutOfGasError,
};
use serde_json::Value;

use super::{Answer, View, failure, json, required, server_error};
use crate::node::{Outcome, StoredBlock, block_env_of_a_call, rules_of_a_call, run};

/// What a plain transfer takes.
const TRANSFER_GAS: u64 = 21_000;
/// What a call that carries value gives its recipient on top (`CallStipend` of geth's `params`).
const CALL_STIPEND: u64 = 2_300;

/// A request with its defaults filled in.
struct Call<'a> {
    view: View<'a>,
    block: &'a StoredBlock,
    request: TransactionRequest,
    gas_price_wei: u128,
}

impl<'a> Call<'a> {
    fn new(view: View<'a>, params: &Value) -> Result<Self, ErrorPayload> {
        let request: TransactionRequest = required(params, 0)?;
        let block = view.state_block(super::optional(params, 1)?)?;
        let gas_price_wei = request.gas_price.or(request.max_fee_per_gas).unwrap_or(0);
        Ok(Self { view, block, request, gas_price_wei })
    }

    fn from(&self) -> Address {
        self.request.from.unwrap_or_default()
    }

    fn value(&self) -> U256 {
        self.request.value.unwrap_or_default()
    }

    fn input(&self) -> Bytes {
        self.request.input.input().cloned().unwrap_or_default()
    }

    fn kind(&self) -> TxKind {
        self.request.to.unwrap_or(TxKind::Create)
    }

    fn balance(&self) -> U256 {
        self.view.chain().state.balance(self.from(), self.block.header.inner.number)
    }

    fn run(&self, gas_limit: u64) -> Outcome {
        let chain = self.view.chain();
        let tip_wei = self.request.max_priority_fee_per_gas;
        let access_list = self.request.access_list.clone().unwrap_or_default();
        let transaction = TxEnv {
            tx_type: match (tip_wei, access_list.is_empty()) {
                (Some(_), _) => 2,
                (None, false) => 1,
                (None, true) => 0,
            },
            caller: self.from(),
            gas_limit,
            gas_price: self.gas_price_wei,
            kind: self.kind(),
            value: self.value(),
            data: self.input(),
            nonce: chain.state.nonce(self.from(), self.block.header.inner.number),
            chain_id: Some(chain.config.chain_id),
            access_list,
            gas_priority_fee: tip_wei,
            ..TxEnv::default()
        };
        run(
            chain.state_at(self.block.header.inner.number),
            block_env_of_a_call(&self.block.header, self.gas_price_wei > 0),
            rules_of_a_call(chain.config.chain_id),
            transaction,
        )
    }

    /// The most gas that the request may take: what it says, what a block and a transaction may hold,
    /// what the sender can pay at the given price.
    fn gas_allowance(&self) -> Result<u64, ErrorPayload> {
        let config = &self.view.chain().config;
        let most = config.block_gas_limit.min(config.pool.tx_gas_cap);
        let most = self.request.gas.map_or(most, |gas| gas.min(most));
        if self.gas_price_wei == 0 {
            return Ok(most);
        }
        let available = self
            .balance()
            .checked_sub(self.value())
            .ok_or_else(|| server_error("insufficient funds for transfer"))?;
        let payable = available / U256::from(self.gas_price_wei);
        Ok(u64::try_from(payable).unwrap_or(u64::MAX).min(most))
    }
}

pub(super) fn call(view: View<'_>, params: &Value) -> Answer {
    let call = Call::new(view, params)?;
    let gas = call.request.gas.unwrap_or(u64::MAX).min(call.block.header.inner.gas_limit);
    match call.run(gas).map_err(|error| refused(&call, &error))?.result {
        ExecutionResult::Success { output, .. } => json(output.data()),
        ExecutionResult::Revert { output, .. } => Err(reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(server_error(halt_text(&reason))),
    }
}

/// geth's search (`eth/gasestimator`): first at the allowance, then where the used gas points to, then
/// by halving until the answer is at most 1.5 % too high.
pub(super) fn estimate_gas(view: View<'_>, params: &Value) -> Answer {
    let call = Call::new(view, params)?;
    let allowance = call.gas_allowance()?;
    if is_plain_transfer(&call) && allowance >= TRANSFER_GAS && call.balance() >= call.value() {
        return json(&U64::from(TRANSFER_GAS));
    }
    let first = call.run(allowance).map_err(|error| refused(&call, &error))?.result;
    let (used, refunded) = match first {
        ExecutionResult::Success { gas, .. } => (gas.tx_gas_used(), gas.final_refunded()),
        ExecutionResult::Revert { output, .. } => return Err(reverted(&output)),
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
            return Err(server_error(format!("gas required exceeds allowance ({allowance})")));
        }
        ExecutionResult::Halt { reason, .. } => return Err(server_error(halt_text(&reason))),
    };
    let (mut too_little, mut enough) = (used.saturating_sub(1), allowance);
    let succeeds = |gas: u64| {
        matches!(call.run(gas).map(|outcome| outcome.result), Ok(ExecutionResult::Success { .. }))
    };
    // EIP-150 keeps one part in 64 of the gas back at each call.
    let likely = used.saturating_add(refunded).saturating_add(CALL_STIPEND);
    let likely = likely.saturating_mul(64) / 63;
    if likely < enough {
        if succeeds(likely) {
            enough = likely;
        } else {
            too_little = likely;
        }
    }
    while too_little + 1 < enough && (enough - too_little).saturating_mul(200) / enough >= 3 {
        // Most transactions take little more than they use: geth looks low first as well.
        let middle = too_little.midpoint(enough).min(too_little.saturating_mul(2));
        if succeeds(middle) {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    json(&U64::from(enough))
}

/// What the call touches, and the gas that it uses with all of that listed. The sender and the called account are
/// left out where they have no slots, as geth does (`eth/tracers/logger/access_list_tracer.go`).
pub(super) fn create_access_list(view: View<'_>, params: &Value) -> Answer {
    let mut call = Call::new(view, params)?;
    let allowance = call.gas_allowance()?;
    let touched = call.run(allowance).map_err(|error| refused(&call, &error))?.state;
    let mut listed: Vec<AccessListItem> = touched
        .into_iter()
        .map(|(address, account)| {
            let mut keys: Vec<B256> = account.storage.keys().map(|key| B256::from(*key)).collect();
            keys.sort_unstable();
            AccessListItem { address, storage_keys: keys }
        })
        .filter(|item| {
            let is_own = item.address == call.from() || call.kind() == TxKind::Call(item.address);
            !is_own || !item.storage_keys.is_empty()
        })
        .collect();
    listed.sort_unstable_by_key(|item| item.address);
    let access_list = AccessList(listed);
    call.request.access_list = Some(access_list.clone());
    let result = call.run(allowance).map_err(|error| refused(&call, &error))?.result;
    let error = match &result {
        ExecutionResult::Success { .. } => None,
        ExecutionResult::Revert { .. } => Some("execution reverted".to_owned()),
        ExecutionResult::Halt { reason, .. } => Some(halt_text(reason)),
    };
    json(&AccessListResult { access_list, gas_used: U256::from(result.tx_gas_used()), error })
}

fn is_plain_transfer(call: &Call<'_>) -> bool {
    let TxKind::Call(to) = call.kind() else { return false };
    let block = call.block.header.inner.number;
    let account = call.view.chain().state.account(to, block);
    let has_code = account.is_some_and(|account| !account.is_empty_code_hash());
    call.input().is_empty() && call.request.access_list.is_none() && !has_code
}

/// Code 3 and the revert data, as geth's `newRevertError` has it.
fn reverted(output: &Bytes) -> ErrorPayload {
    let reason = Revert::abi_decode(output)
        .map(|revert| revert.reason)
        .or_else(|_| Panic::abi_decode(output).map(|panic| panic.to_string()));
    let message = match reason {
        Ok(reason) => format!("execution reverted: {reason}"),
        Err(_) => "execution reverted".to_owned(),
    };
    ErrorPayload { data: json(output).ok(), ..failure(3, message) }
}

fn halt_text(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(OutOfGasError::Basic) => "out of gas".to_owned(),
        other => format!("execution halted: {other:?}"),
    }
}

/// What geth says where the EVM does not even begin.
fn refused(call: &Call<'_>, error: &EVMError<std::convert::Infallible>) -> ErrorPayload {
    let address = call.from();
    let message = match error {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            format!(
                "insufficient funds for gas * price + value: address {address} have {balance} want {fee}"
            )
        }
        EVMError::Transaction(InvalidTransaction::GasPriceLessThanBasefee) => {
            let base_fee_wei = call.block.header.inner.base_fee_per_gas.unwrap_or(0);
            format!(
                "max fee per gas less than block base fee: address {address}, maxFeePerGas: {}, baseFee: {base_fee_wei}",
                call.gas_price_wei
            )
        }
        EVMError::Transaction(InvalidTransaction::CallGasCostMoreThanGasLimit {
            initial_gas,
            gas_limit,
        }) => format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}"),
        other => other.to_string(),
    };
    server_error(message)
}

//! One network: providers, clock, assets, hot wallets and the vault.

use alloy_primitives::{Address, Bytes, U256, address};
use alloy_sol_types::{SolCall, SolEvent, sol};
use portcullis_core::asset::Asset;
use portcullis_core::calldata::{Erc20, read_direct_payment, read_transfer};
use portcullis_core::vault::PayoutVault;
use portcullis_evm::{
    BlockTag, CallRequest, Decision, LogQuery, ProviderPool, ReadError, RpcFailure,
};

use super::Findings;
use crate::config::ChainConfig;
use crate::wire::{Chain, Foundation};

sol! {
    function allowance(address owner, address spender) external view returns (uint256);
}

/// Contracts that may spend what they are allowed to on anybody's order: an allowance to them gives money away.
const SPENDERS: [(&str, Address); 2] = [
    ("Multicall3", address!("0xcA11bde05977b3631167028862bE2a173976CA11")),
    ("Permit2", address!("0x000000000022D473030F116dDEE9F6B43aC78BA3")),
];

/// Seconds that the newest block may be away from the clock, beside ten block times.
const SKEW_MS: i64 = 30_000;

/// Blocks in which a transfer of ours is looked for, to see whether the token takes a fee of it.
const PROBE_BLOCKS: u64 = 1_000;

pub(super) async fn check(
    foundation: &Foundation,
    chain: &Chain,
    configured: &ChainConfig,
    senders: &[(u64, Address)],
    findings: &mut Findings,
) {
    let pool = chain.pool.as_ref();
    let network = pool.chain().network;
    check_providers(pool, findings).await;
    if !check_head(pool, foundation, findings).await {
        return;
    }
    let assets = match foundation.store.assets(&foundation.sealing_keys).await {
        Ok(assets) => assets,
        Err(error) => return findings.fail(format!("{network}: assets"), error.to_string()),
    };
    let chain_id = pool.chain().chain_id;
    let assets: Vec<Asset> = assets.into_iter().filter(|it| it.chain_id == chain_id).collect();
    check_assets(pool, &assets, findings).await;
    let wallets: Vec<Address> =
        senders.iter().filter(|(chain, _)| *chain == chain_id).map(|(_, it)| *it).collect();
    check_wallets(pool, &wallets, findings).await;
    let holders: Vec<Address> = wallets.iter().copied().chain(configured.vault).collect();
    check_allowances(pool, &assets, &holders, findings).await;
    if let Some(vault) = configured.vault {
        check_vault(pool, vault, &wallets, &assets, findings).await;
    }
    probe_fees(pool, &assets, &holders, findings).await;
}

async fn check_providers(pool: &ProviderPool, findings: &mut Findings) {
    let network = pool.chain().network;
    for upstream in pool.upstreams() {
        let what = format!("{network}: provider {}", upstream.name());
        match upstream.check_chain_id().await {
            Ok(()) => findings.ok(what, format!("chain id {}", pool.chain().chain_id)),
            Err(error) => findings.fail(what, unusable(&error)),
        }
    }
    let what = format!("{network}: independent providers");
    let independent = pool.independent();
    match pool.needed(Decision::Release) {
        Ok(needed) => findings.ok(what, format!("{independent} operators, {needed} have to agree")),
        Err(error) => findings.warn(what, format!("nothing is released by itself: {error}")),
    }
}

/// What is wrong with a provider, and what to do. Some failures say that themselves.
fn unusable(error: &ReadError) -> String {
    match error.failure {
        RpcFailure::WrongChain { .. }
        | RpcFailure::RateLimited { .. }
        | RpcFailure::Throttled { .. } => error.to_string(),
        _ => format!(
            "{error}: see that the node runs and answers this machine, or correct the url of its [[chain.provider]]"
        ),
    }
}

/// Whether there is a block to go on from.
async fn check_head(pool: &ProviderPool, foundation: &Foundation, findings: &mut Findings) -> bool {
    let what = format!("{}: clock", pool.chain().network);
    let agreed = match pool.agreed_head(&[]).await {
        Ok(agreed) => agreed,
        Err(error) => {
            let detail = format!(
                "no newest block is agreed on ({error}): mend the providers above or add one, then look at the clock again"
            );
            findings.fail(what, detail);
            return false;
        }
    };
    let head = agreed.head;
    let behind_ms = foundation.clock.now().as_millis().saturating_sub(head.timestamp_ms);
    let most = i64::try_from(pool.chain().block_time_ms.saturating_mul(10)).unwrap_or(SKEW_MS);
    let whose = match foundation.store.clock_offset_ms() {
        Some(_) => "the database server's clock",
        None => "this machine's clock",
    };
    let detail = format!("block {} is {} s old by {whose}", head.number, behind_ms / 1_000);
    if behind_ms < -SKEW_MS {
        findings.fail(what, format!("{detail}: {whose} is slow; set it"));
    } else if behind_ms > most.max(SKEW_MS) {
        findings
            .warn(what, format!("{detail}: the node lags, makes no blocks, or that clock is fast"));
    } else {
        findings.ok(what, detail);
    }
    true
}

async fn check_assets(pool: &ProviderPool, assets: &[Asset], findings: &mut Findings) {
    let network = pool.chain().network;
    if assets.is_empty() {
        findings.warn(format!("{network}: assets"), "none: add one with `admin asset add`");
    }
    for asset in assets {
        let what = format!("{network}: {}", asset.symbol);
        let Some(token) = asset.token else {
            findings.ok(what, format!("the native coin, {} decimals", asset.decimals));
            continue;
        };
        match crate::wire::token_decimals(pool, token).await {
            Ok(decimals) if decimals == asset.decimals => {
                findings.ok(what, format!("{token}, {decimals} decimals"));
            }
            Ok(decimals) => findings.fail(
                what,
                format!(
                    "{token} has {decimals} decimals, the asset {}: register it anew",
                    asset.decimals
                ),
            ),
            Err(error) => findings.fail(what, format!("{token} is no token here: {error}")),
        }
    }
}

async fn check_wallets(pool: &ProviderPool, wallets: &[Address], findings: &mut Findings) {
    let network = pool.chain().network;
    if wallets.is_empty() {
        let detail = "the signer has no key for it: `portcullis keys new`, or configure one";
        return findings.warn(format!("{network}: hot wallets"), detail);
    }
    let (codes, balances) =
        (pool.codes(wallets).await, pool.native_balances(wallets, BlockTag::Latest).await);
    let (Ok(codes), Ok(balances)) = (codes, balances) else {
        return findings.fail(format!("{network}: hot wallets"), "no provider tells about them");
    };
    for ((wallet, has_code), balance) in wallets.iter().zip(codes).zip(balances) {
        let what = format!("{network}: wallet {wallet}");
        if has_code {
            findings.fail(
                what,
                "it has code (a delegation, EIP-7702): it is not used; take another key",
            );
        } else if balance.is_zero() {
            findings.warn(what, "it has no gas money: send it some of the native coin");
        } else {
            findings.ok(what, format!("{balance} wei"));
        }
    }
}

async fn check_allowances(
    pool: &ProviderPool,
    assets: &[Asset],
    holders: &[Address],
    findings: &mut Findings,
) {
    let network = pool.chain().network;
    let mut asked = Vec::new();
    for token in assets.iter().filter_map(|asset| asset.token) {
        for holder in holders {
            for (name, spender) in SPENDERS {
                let call = allowanceCall { owner: *holder, spender };
                asked.push((token, *holder, name, view(token, call.abi_encode().into())));
            }
        }
    }
    if asked.is_empty() {
        return;
    }
    let calls: Vec<CallRequest> = asked.iter().map(|(.., call)| call.clone()).collect();
    let answers = pool.call(&calls, BlockTag::Latest).await;
    let before = findings.0.len();
    for ((token, holder, name, _), answer) in asked.iter().zip(answers) {
        let what = format!("{network}: allowance of {holder} for {name} over {token}");
        match answer.ok().and_then(|raw| allowanceCall::abi_decode_returns(&raw).ok()) {
            Some(U256::ZERO) => {}
            Some(_) => findings.fail(what, "anybody can spend it: approve 0 with that key, now"),
            None => findings.warn(what, "could not be read"),
        }
    }
    if findings.0.len() == before {
        let detail = format!(
            "none of {} for Multicall3 and Permit2; others are not looked for",
            asked.len()
        );
        findings.ok(format!("{network}: allowances"), detail);
    }
}

async fn check_vault(
    pool: &ProviderPool,
    vault: Address,
    wallets: &[Address],
    assets: &[Asset],
    findings: &mut Findings,
) {
    let what = format!("{}: vault {vault}", pool.chain().network);
    if !pool.codes(&[vault]).await.is_ok_and(|codes| codes == [true]) {
        return findings.fail(what, "no contract is there, or no provider says so");
    }
    // Many a contract has an owner and can be paused: only a vault tells what is left of a day.
    let owner = read(pool, vault, PayoutVault::ownerCall {}).await;
    let native = PayoutVault::remainingTodayCall { token: Address::ZERO };
    let (Some(owner), Some(_)) = (owner, read(pool, vault, native).await) else {
        return findings
            .fail(what, "it does not answer as a PayoutVault: set [[chain]] vault right");
    };
    if wallets.contains(&owner) {
        findings.fail(
            what.clone(),
            format!("its owner {owner} is a hot wallet: move it to a cold one"),
        );
    } else {
        findings.ok(what.clone(), format!("owner {owner}"));
    }
    match read(pool, vault, PayoutVault::pausedCall {}).await {
        Some(false) => findings.ok(what.clone(), "not paused"),
        Some(true) => findings.fail(what.clone(), "it is paused: the owner can unpause it"),
        None => findings.warn(what.clone(), "does not say whether it is paused"),
    }
    for wallet in wallets {
        let call = PayoutVault::isOperatorCall { account: *wallet };
        match read(pool, vault, call).await {
            Some(true) => findings.ok(what.clone(), format!("{wallet} is an operator")),
            _ => findings.fail(
                what.clone(),
                format!("{wallet} is no operator: the owner calls setOperator for it"),
            ),
        }
    }
    for asset in assets {
        let token = asset.token.unwrap_or_default();
        match read(pool, vault, PayoutVault::remainingTodayCall { token }).await {
            Some(U256::ZERO) => findings.warn(
                what.clone(),
                format!(
                    "{}: nothing may be paid today: not listed, or the cap is used up",
                    asset.symbol
                ),
            ),
            Some(left) => {
                findings
                    .ok(what.clone(), format!("{}: {left} left of the day's cap", asset.symbol));
            }
            None => {
                findings.warn(what.clone(), format!("{}: the cap could not be read", asset.symbol));
            }
        }
    }
}

/// Compares what our newest transfer of each token asked for with what its event says that arrived.
async fn probe_fees(
    pool: &ProviderPool,
    assets: &[Asset],
    holders: &[Address],
    findings: &mut Findings,
) {
    let Ok(head) = pool.head().await else { return };
    for (asset, token) in assets.iter().filter_map(|asset| Some((asset, asset.token?))) {
        let what = format!("{}: fee on transfer of {}", pool.chain().network, asset.symbol);
        let query = LogQuery {
            addresses: vec![token],
            topics: vec![
                vec![Erc20::Transfer::SIGNATURE_HASH],
                holders.iter().map(alloy_primitives::Address::into_word).collect(),
            ],
            blocks: head.number.saturating_sub(PROBE_BLOCKS)..=head.number,
        };
        let Ok(logs) = pool.logs(&query).await else {
            findings.warn(what, "not probed: the node does not show the logs of its last blocks");
            continue;
        };
        let Some(log) = logs.last() else {
            let detail = "not probed: no transfer of ours in the last blocks, and a call cannot show what arrives";
            findings.warn(what, detail);
            continue;
        };
        let known = pool.transactions_by_hash(&[log.transaction_hash]).await.unwrap_or_default();
        let asked = known.into_iter().flatten().next().and_then(|known| {
            let payload = known.transaction.payload()?;
            let (_, to, amount) = read_direct_payment(known.transaction.from, &payload)?;
            Some((to, amount))
        });
        let arrived = read_transfer(&log.log);
        match (asked, arrived) {
            (Some((to, amount)), Some(transfer))
                if transfer.to == to && transfer.amount != amount =>
            {
                let detail = format!(
                    "{amount} asked for, {} arrived: such a token is not fit for payouts",
                    transfer.amount
                );
                findings.fail(what, detail);
            }
            (Some(_), Some(_)) => findings.ok(what, format!("none in {}", log.transaction_hash)),
            _ => {
                findings
                    .ok(what, "paid by the vault, which compares for itself: see Failed events");
            }
        }
    }
}

async fn read<C: SolCall>(pool: &ProviderPool, to: Address, call: C) -> Option<C::Return> {
    let answers = pool.call(&[view(to, call.abi_encode().into())], BlockTag::Latest).await;
    let raw = answers.into_iter().next()?.ok()?;
    C::abi_decode_returns(&raw).ok()
}

const fn view(to: Address, input: Bytes) -> CallRequest {
    CallRequest { from: Address::ZERO, to, value: U256::ZERO, input, gas: None }
}

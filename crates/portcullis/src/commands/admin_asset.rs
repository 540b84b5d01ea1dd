//! `admin asset`: what can be withdrawn.

use alloy_primitives::Address;
use portcullis_cache::{Facts, TokenFacts};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::id::AssetId;
use portcullis_store::asset::AssetOutcome;
use serde_json::{Value, json};

use crate::cli::{AssetAddArgs, AssetCommand};
use crate::config::{ChainConfig, parse_token};
use crate::failure::Failure;
use crate::fleet;
use crate::output::write_error_line;
use crate::random;
use crate::session::Session;
use crate::wire;

const COLUMNS: [&str; 9] =
    ["id", "network", "symbol", "token", "decimals", "min", "max", "daily_max", "enabled"];

/// What `--on-chain` adds.
const CHAIN_COLUMNS: [&str; 3] = ["chain_symbol", "chain_decimals", "chain_error"];

const SYMBOL_CHARACTERS_MAX: usize = 32;

/// What the chain says of an asset's decimals.
enum Decimals {
    Match,
    Differ {
        on_chain: u8,
    },
    /// A node answered, and there is no contract at the address.
    NoContract,
    Unknown {
        why: String,
    },
}

/// Runs `admin asset …`.
pub(crate) async fn asset(command: &AssetCommand, session: &Session) -> Result<(), Failure> {
    match command {
        AssetCommand::Add(arguments) => add(arguments, session).await,
        AssetCommand::List { on_chain } => list(*on_chain, session).await,
    }
}

async fn list(on_chain: bool, session: &Session) -> Result<(), Failure> {
    let sealing = session.sealing_keys()?;
    let assets = session
        .store
        .assets(&sealing)
        .await
        .map_err(|error| Failure::of_store("cannot read the assets", &error))?;
    let mut rows: Vec<Value> = assets.iter().map(row).collect();
    if !on_chain {
        session.output.list("assets", &COLUMNS, rows);
        return Ok(());
    }
    let facts = fleet::redis_of(&session.config, &session.clock)?.map(|cache| Facts::new(cache));
    for (asset, row) in assets.iter().zip(&mut rows) {
        let Some(token) = asset.token else { continue };
        match told_by(token, asset.chain_id, facts.as_ref(), session).await {
            Ok(told) => {
                row["chain_symbol"] = told.symbol.into();
                row["chain_decimals"] = told.decimals.into();
            }
            Err(why) => row["chain_error"] = why.into(),
        }
    }
    session.output.list("assets", &[&COLUMNS[..], &CHAIN_COLUMNS].concat(), rows);
    Ok(())
}

/// What a token says of itself. For people to look at: whoever decides by it asks a node, as [`decimals_on_chain`] does.
async fn told_by(
    token: Address,
    chain_id: u64,
    facts: Option<&Facts>,
    session: &Session,
) -> Result<TokenFacts, String> {
    let name = token.to_checksum(None);
    if let Some(facts) = facts
        && let Some(told) = facts.token(chain_id, &name).await
    {
        return Ok(told);
    }
    let chain = session.config.chains.iter().find(|chain| chain.spec.chain_id == chain_id);
    let chain = chain.ok_or_else(|| "no [[chain]] is configured for it".to_owned())?;
    let pool = wire::provider_pool(chain, &session.clock).map_err(|failure| failure.to_string())?;
    let decimals = wire::token_decimals(&pool, token).await?;
    // Some tokens have none that reads as text.
    let symbols = pool.token_symbols(&[token]).await.unwrap_or_default();
    let told = TokenFacts { decimals, symbol: symbols.into_iter().next().unwrap_or_default() };
    if let Some(facts) = facts {
        facts.keep_token(chain_id, &name, &told).await;
    }
    Ok(told)
}

async fn add(arguments: &AssetAddArgs, session: &Session) -> Result<(), Failure> {
    let chain = session.config.chain(&arguments.network)?;
    let asset = asset_of(arguments, chain.spec, session)?;
    let warning = match decimals_on_chain(&asset, chain, session).await? {
        Decimals::Match => None,
        Decimals::Differ { on_chain } => {
            return Err(Failure::Refused(format!(
                "the token {} has {on_chain} decimals, not {}: amounts would be wrong by powers of \
                 ten; nothing was added",
                arguments.token, arguments.decimals
            )));
        }
        Decimals::NoContract if !arguments.force => {
            return Err(Failure::Refused(format!(
                "there is no contract at {} on {}: every payment of it would come to nothing. Check \
                 the address and the network; for a token that is still to be deployed say --force. \
                 Nothing was added",
                arguments.token, arguments.network
            )));
        }
        Decimals::NoContract => Some(format!(
            "there is no contract at {} yet; nothing can be paid in it before there is",
            arguments.token
        )),
        Decimals::Unknown { why } => Some(format!(
            "the decimals could not be compared with the token's ({why}); make sure that they are \
             right before anybody withdraws"
        )),
    };
    let sealing = session.sealing_keys()?;
    let outcome = session
        .store
        .register_asset(&sealing, &asset, &session.actor)
        .await
        .map_err(|error| Failure::of_store("cannot add the asset", &error))?;
    let (asset, done) = match outcome {
        AssetOutcome::Registered => (asset, "added"),
        AssetOutcome::Exists(known) => (known, "exists already"),
        AssetOutcome::Conflict(known) => {
            return Err(Failure::Refused(format!(
                "{} on {} is registered with other values as {}: see `portcullis admin asset list`",
                known.symbol, chain.spec.network, known.id
            )));
        }
    };
    tell(&asset, done, chain, warning, session);
    Ok(())
}

fn tell(
    asset: &Asset,
    done: &str,
    chain: &ChainConfig,
    warning: Option<String>,
    session: &Session,
) {
    let is_capped = chain.caps.iter().any(|cap| cap.token == asset.token);
    let uncapped = (!is_capped).then(|| {
        format!(
            "the signer has no [[chain.cap]] for {} on {}: withdrawals are accepted and not signed",
            asset.symbol, chain.spec.network
        )
    });
    let warnings: Vec<String> = warning.into_iter().chain(uncapped).collect();
    let mut answer = row(asset);
    answer["warnings"] = warnings.clone().into();
    if !session.output.is_json() {
        for warning in &warnings {
            write_error_line(&format!("warning: {warning}"));
        }
    }
    let text = format!("asset {} on {} {done}: {}", asset.symbol, chain.spec.network, asset.id);
    session.output.show(&text, &answer);
}

fn asset_of(
    arguments: &AssetAddArgs,
    spec: &ChainSpec,
    session: &Session,
) -> Result<Asset, Failure> {
    let token = parse_token(&arguments.token)
        .map_err(|error| Failure::Usage(format!("--token {} {error}", arguments.token)))?;
    let native = spec.native;
    if token.is_none() && arguments.decimals != native.decimals {
        return Err(Failure::Usage(format!(
            "--decimals {}: the native coin of {} has {}",
            arguments.decimals, spec.network, native.decimals
        )));
    }
    check_symbol(&arguments.symbol)?;
    let amount = |flag: &str, text: &str| {
        Amount::parse_decimal(text, arguments.decimals)
            .map_err(|error| Failure::Usage(format!("{flag} {text} {error}")))
    };
    let limits = &session.config.asset;
    let needed = |flag: &str, given: &Option<String>, configured: &Option<String>| {
        let missing = || Failure::Usage(format!("{flag} is needed, or asset.{}", &flag[2..]));
        let text = given.as_ref().or(configured.as_ref()).ok_or_else(missing)?;
        amount(flag, text)
    };
    let amount_min = needed("--min", &arguments.min, &limits.min)?;
    let amount_max = needed("--max", &arguments.max, &limits.max)?;
    let daily_max = arguments.daily_max.as_deref().or(limits.daily_max.as_deref());
    let daily_max = daily_max.map(|text| amount("--daily-max", text)).transpose()?;
    if amount_min.is_zero() {
        return Err(Failure::Usage("--min must be above 0: nobody is paid nothing".to_owned()));
    }
    if amount_min > amount_max {
        return Err(Failure::Usage("--min is above --max: nothing could be withdrawn".to_owned()));
    }
    if daily_max.is_some_and(|daily| daily < amount_min) {
        return Err(Failure::Usage(
            "--daily-max is below --min: nothing could be withdrawn".to_owned(),
        ));
    }
    Ok(Asset {
        id: AssetId::from_parts(session.now(), random::entropy()?),
        chain_id: spec.chain_id,
        symbol: arguments.symbol.clone(),
        token,
        decimals: arguments.decimals,
        amount_min,
        amount_max,
        daily_max,
        enabled: true,
    })
}

fn check_symbol(symbol: &str) -> Result<(), Failure> {
    let is_short = (1..=SYMBOL_CHARACTERS_MAX).contains(&symbol.len());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+$".contains(&byte);
    if is_short && symbol.bytes().all(allowed) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--symbol {symbol:?} is not allowed: 1 to {SYMBOL_CHARACTERS_MAX} letters, digits or .-_+$"
    )))
}

async fn decimals_on_chain(
    asset: &Asset,
    chain: &ChainConfig,
    session: &Session,
) -> Result<Decimals, Failure> {
    let Some(token) = asset.token else { return Ok(Decimals::Match) };
    if chain.providers.is_empty() {
        return Ok(Decimals::Unknown { why: "no provider is configured".to_owned() });
    }
    let pool = wire::provider_pool(chain, &session.clock)?;
    Ok(match wire::token_decimals(&pool, token).await {
        Ok(on_chain) if on_chain == asset.decimals => Decimals::Match,
        Ok(on_chain) => Decimals::Differ { on_chain },
        Err(_) if wire::is_without_code(&pool, token).await => Decimals::NoContract,
        Err(why) => Decimals::Unknown { why },
    })
}

fn row(asset: &Asset) -> Value {
    let decimal = |amount: Amount| amount.to_decimal(asset.decimals);
    json!({
        "id": asset.id,
        "network": ChainSpec::by_id(asset.chain_id).map(|chain| chain.network),
        "chain_id": asset.chain_id,
        "symbol": asset.symbol,
        "token": asset.token.map_or("native".to_owned(), |token: Address| token.to_checksum(None)),
        "decimals": asset.decimals,
        "min": decimal(asset.amount_min),
        "max": decimal(asset.amount_max),
        "daily_max": asset.daily_max.map(decimal),
        "enabled": asset.enabled,
    })
}

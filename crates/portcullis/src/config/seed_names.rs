//! Environment variables by the names that deployments of this kind usually have. Each stands for one key; the long name of
//! the same key is above it.

use portcullis_core::chain::ChainSpec;

use super::problem::{Origin, Problem};
use super::tree::Node;

/// Names that stand for a key as it is.
pub(crate) const NAMES: [(&str, &str); 10] = [
    ("DATABASE_URL", "database.url"),
    ("DATABASE_URL_FILE", "database.url_file"),
    ("REDIS_URL", "redis.url"),
    ("REDIS_URL_FILE", "redis.url_file"),
    ("QUEUE_TYPE", "queue.type"),
    ("AWS_REGION", "queue.region"),
    ("BATCH_SIZE", "engine.batch_max"),
    ("MIN_WITHDRAWAL_AMOUNT", "asset.min"),
    ("MAX_WITHDRAWAL_AMOUNT", "asset.max"),
    ("DAILY_WITHDRAWAL_LIMIT", "asset.daily_max"),
];

/// The URL of a node of Polygon.
pub(crate) const RPC_URL: &str = "POLYGON_RPC_URL";
/// The file that holds it: it may have a password in it.
pub(crate) const RPC_URL_FILE: &str = "POLYGON_RPC_URL_FILE";
/// Which Polygon that is: 137, the default, or 80002.
pub(crate) const CHAIN_ID: &str = "POLYGON_CHAIN_ID";

/// The name of the provider that [`RPC_URL`] makes where there is none yet.
const PROVIDER: &str = "polygon-rpc";

/// Lays these variables over the tree.
pub(super) fn overlay(tree: &mut Node, variables: &[(String, String)]) -> Vec<Problem> {
    let value_of = |name: &str| {
        let found = variables.iter().find(|(given, value)| given == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let mut problems = Vec::new();
    for (name, key) in NAMES {
        if let Some(value) = value_of(name) {
            problems.extend(set(tree, key, value, name).err());
        }
    }
    let url = [(RPC_URL, "url"), (RPC_URL_FILE, "url_file")];
    // Whoever sets both is told so where the two are read.
    for (name, key) in url {
        if let Some(value) = value_of(name) {
            problems.extend(overlay_chain(tree, (name, key, value), value_of(CHAIN_ID)).err());
        }
    }
    problems
}

fn set(tree: &mut Node, key: &str, value: String, name: &str) -> Result<(), Problem> {
    let path: Vec<String> = key.split('.').map(str::to_owned).collect();
    tree.set(&path, toml::Value::String(value), Origin::Environment(name.to_owned()))
}

/// The first provider of that network, whose `[[chain]]` is made where there is none.
fn overlay_chain(
    tree: &mut Node,
    (name, key, url): (&str, &str, String),
    chain_id: Option<String>,
) -> Result<(), Problem> {
    let given = chain_id.unwrap_or_else(|| "137".to_owned());
    let polygons = ["polygon", "polygon-amoy"];
    let spec = given.parse().ok().and_then(ChainSpec::by_id);
    let Some(spec) = spec.filter(|spec| polygons.contains(&spec.network)) else {
        return Err(Problem::Value {
            key: CHAIN_ID.to_owned(),
            value: given,
            origin: Origin::Environment(CHAIN_ID.to_owned()),
            allowed: "137 for Polygon, 80002 for its Amoy test network".to_owned(),
        });
    };
    let place = tree.position("chain", "network", spec.network);
    let index = place.unwrap_or_else(|| tree.count("chain"));
    if place.is_none() {
        set(tree, &format!("chain.{index}.network"), spec.network.to_owned(), CHAIN_ID)?;
    }
    let provider = format!("chain.{index}.provider.0");
    if !tree.has(&format!("{provider}.name")) {
        set(tree, &format!("{provider}.name"), PROVIDER.to_owned(), name)?;
    }
    set(tree, &format!("{provider}.{key}"), url, name)
}

//! The state file of anvil: whether it is whole, and of one moment.
//!
//! Anvil writes it in place, so a reader or a crash can meet half of it; and it collects blocks,
//! transactions and accounts one after the other while blocks are made, so a file that is whole can
//! have accounts of a later block than its last one. A chain that is started from such a file would
//! have used nonces without the transactions that used them, which no node has after a reorg.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use alloy_primitives::{Address, Bytes, U64};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct State {
    block: Environment,
    best_block_number: u64,
    accounts: HashMap<Address, Account>,
    blocks: Vec<Block>,
    transactions: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Environment {
    number: U64,
}

#[derive(Deserialize)]
struct Account {
    nonce: u64,
    code: Bytes,
}

#[derive(Deserialize)]
struct Block {
    header: Environment,
    transactions: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Transaction {
    info: Information,
    block_number: u64,
}

#[derive(Deserialize)]
struct Information {
    from: Address,
}

/// Why a state cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A part of it is missing: it was being written.
    Torn,
    /// Its parts are not of one moment; how that shows.
    Mixed(String),
}

/// The number of the last block of a state that is whole and of one moment.
///
/// # Errors
/// It is not.
pub(super) fn head_of(bytes: &[u8]) -> Result<u64, Unfit> {
    let state: State = serde_json::from_slice(bytes).map_err(|_| Unfit::Torn)?;
    match contradiction(&state) {
        None => Ok(state.best_block_number),
        Some(contradiction) => Err(Unfit::Mixed(contradiction)),
    }
}

fn contradiction(state: &State) -> Option<String> {
    let head = state.best_block_number;
    let at: u64 = state.block.number.to();
    if at != head {
        return Some(format!("the environment is of block {at}, the last block is {head}"));
    }
    // A chain that went on from a state knows the first block of that state and one of its own.
    let later = state.blocks.iter().map(|block| block.header.number.to::<u64>());
    let mut later: Vec<u64> = later.filter(|number| *number > 0).collect();
    later.sort_unstable();
    if !later.iter().copied().eq(1..=head) {
        return Some(format!("there is not one of each block up to {head}"));
    }
    let in_blocks: usize = state.blocks.iter().map(|block| block.transactions.len()).sum();
    let known = state.transactions.len();
    if in_blocks != known || state.transactions.iter().any(|sent| sent.block_number > head) {
        return Some(format!("{in_blocks} transactions are in blocks, and {known} are known"));
    }
    let mut sent: HashMap<Address, u64> = HashMap::new();
    for transaction in &state.transactions {
        *sent.entry(transaction.info.from).or_default() += 1;
    }
    // A contract has a nonce too, but counts no transactions with it.
    let mut people = state.accounts.iter().filter(|(_, account)| account.code.is_empty());
    people.find_map(|(address, account)| {
        let transactions = sent.get(address).copied().unwrap_or_default();
        let nonce = account.nonce;
        (nonce != transactions)
            .then(|| format!("{address} has nonce {nonce} and {transactions} transactions"))
    })
}

/// What tells one writing of a file from the next.
pub(super) type Stamp = (SystemTime, u64);

/// The stamp of a file that is there.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a file that another process may be writing, and its state.
///
/// # Errors
/// See [`head_of`]; what cannot be read, or is written meanwhile, is torn.
pub(super) fn read(path: &Path) -> Result<(u64, Vec<u8>), Unfit> {
    let before = stamp(path);
    let bytes = fs::read(path).map_err(|_| Unfit::Torn)?;
    if before.is_none() || before != stamp(path) {
        return Err(Unfit::Torn);
    }
    Ok((head_of(&bytes)?, bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WALLET: &str = "0x0909090909090909090909090909090909090909";
    const TOKEN: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// Two blocks after the first, with one transaction of the wallet in the last.
    fn state() -> Value {
        let block = |number: &str, transactions: Value| {
            json!({ "header": { "number": number, "gasUsed": "0x0" }, "transactions": transactions,
                    "ommers": [] })
        };
        json!({
            "block": { "number": "0x2", "gas_limit": 1 },
            "best_block_number": 2,
            "accounts": {
                WALLET: { "nonce": 1, "balance": "0x5", "code": "0x", "storage": {} },
                TOKEN: { "nonce": 1, "balance": "0x0", "code": "0x60", "storage": {} },
            },
            "blocks": [block("0x0", json!([])), block("0x2", json!([{}])), block("0x1", json!([]))],
            "transactions": [{ "info": { "from": WALLET }, "block_number": 2, "receipt": {} }],
            "historical_states": null,
        })
    }

    fn changed(pointer: &str, value: Value) -> Result<u64, Unfit> {
        let mut state = state();
        *state.pointer_mut(pointer).unwrap() = value;
        head_of(state.to_string().as_bytes())
    }

    #[test]
    fn a_state_of_one_moment_tells_its_last_block() {
        assert_eq!(head_of(state().to_string().as_bytes()).unwrap(), 2);
    }

    #[test]
    fn a_second_first_block_comes_from_a_restart() {
        let mut state = state();
        let first = state["blocks"][0].clone();
        state["blocks"].as_array_mut().unwrap().push(first);
        assert_eq!(head_of(state.to_string().as_bytes()).unwrap(), 2);
    }

    #[test]
    fn a_state_cut_off_anywhere_is_refused() {
        let text = state().to_string();
        for length in 0..text.len() {
            assert_eq!(head_of(&text.as_bytes()[..length]), Err(Unfit::Torn), "{length}");
        }
    }

    #[test]
    fn a_state_of_two_moments_is_refused() {
        let wrongs = [
            // Accounts are a block ahead: a nonce is used that no transaction used.
            changed(&format!("/accounts/{WALLET}/nonce"), json!(2)),
            changed("/transactions", json!([])),
            changed("/transactions/0/block_number", json!(3)),
            changed("/block/number", json!("0x3")),
            changed("/best_block_number", json!(3)),
            changed("/blocks/1/header/number", json!("0x1")),
            changed("/blocks/1/transactions", json!([])),
        ];
        for (index, wrong) in wrongs.into_iter().enumerate() {
            assert!(matches!(wrong, Err(Unfit::Mixed(_))), "{index}: {wrong:?}");
        }
    }

    #[test]
    fn a_file_is_read_with_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(stamp(&path).is_none());
        assert_eq!(read(&path), Err(Unfit::Torn));
        fs::write(&path, state().to_string()).unwrap();
        let (head, bytes) = read(&path).unwrap();
        assert_eq!((head, bytes), (2, state().to_string().into_bytes()));
    }
}

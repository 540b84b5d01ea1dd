//! `PayoutVault` of `contracts/`, as bytecode, and its events, as an oracle reads them.

use alloy_primitives::aliases::{U24, U104};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::{SolConstructor, sol};
use serde::Deserialize;

sol! {
    /// What the tests need of the vault.
    contract PayoutVault {
        struct Listing {
            address token;
            uint104 dailyCap;
            uint24 callGas;
        }
        constructor(address owner, address treasury, address[] operators, Listing[] listings);
        event Paid(uint256 indexed number, bytes32 indexed ref, address token, address to, uint256 amount);
        event Voided(uint256 indexed number);
    }
}

/// A token that a vault pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultListing {
    /// The token's contract; the zero address is the native coin.
    pub token: Address,
    /// What may leave on one day, in atomic units; at most 2^104 - 1.
    pub daily_cap: u128,
    /// Gas that a transfer gets; at most 2^24 - 1.
    pub call_gas: u32,
}

/// A `Paid` event of the canonical chain, as an oracle sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidLog {
    /// The block that holds it.
    pub block_number: u64,
    /// The transaction that emitted it.
    pub transaction_hash: B256,
    /// The payout number.
    pub number: U256,
    /// The payment's ref.
    pub reference: B256,
    /// What was paid; the zero address is the native coin.
    pub token: Address,
    /// Who was paid.
    pub to: Address,
    /// How much, in atomic units.
    pub units: U256,
}

/// The init code with its arguments.
pub(crate) fn vault_init_code(
    owner: Address,
    treasury: Address,
    operators: &[Address],
    listings: &[VaultListing],
) -> Bytes {
    #[derive(Deserialize)]
    struct Artifact {
        bytecode: String,
    }
    let text = include_str!("../../../contracts/artifacts/PayoutVault.json");
    let artifact: Artifact = serde_json::from_str(text)
        .expect("the checked-in artefact is JSON with a `bytecode` string");
    let mut code = hex::decode(artifact.bytecode)
        .expect("the checked-in artefact's `bytecode` is hexadecimal");
    let listings = listings.iter().map(|listing| PayoutVault::Listing {
        token: listing.token,
        dailyCap: U104::saturating_from(listing.daily_cap),
        callGas: U24::saturating_from(listing.call_gas),
    });
    let arguments = PayoutVault::constructorCall {
        owner,
        treasury,
        operators: operators.to_vec(),
        listings: listings.collect(),
    };
    code.extend(arguments.abi_encode());
    code.into()
}

//! Access lists (EIP-2930): what a transaction says beforehand that it will touch, where that makes it cheaper.
//!
//! A listed slot costs 1,900 gas and is then warm (100); a slot that is not listed costs the chain's price of a cold one. On
//! Ethereum that is 2,100, and listing saves next to nothing; on Polygon it is 5,460 since PIP-88, and listing saves
//! almost two thirds of it. A list changes what a transaction costs and never what it does: it is no part of a payload.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256};

use crate::chain::ChainSpec;

/// EIP-2930: `ACCESS_LIST_ADDRESS_COST`.
const LISTED_ACCOUNT_GAS: u64 = 2_400;

/// EIP-2930: `ACCESS_LIST_STORAGE_KEY_COST`.
const LISTED_SLOT_GAS: u64 = 1_900;

/// EIP-2929: what is warm.
const WARM_GAS: u64 = 100;

/// EIP-2929: `COLD_ACCOUNT_ACCESS_COST`.
const COLD_ACCOUNT_GAS: u64 = 2_600;

/// The least part of a call's gas that a list has to save: below it, the bytes are not worth it.
const SAVED_SHARE_MIN: u64 = 50;

/// An account and its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAccount {
    /// The account.
    pub address: Address,
    /// Its slots.
    pub slots: Vec<B256>,
}

/// Whether the chain's prices can make a list worth the question: a listed slot costs at least a tenth less.
#[must_use]
pub const fn may_pay(chain: &ChainSpec) -> bool {
    saved_a_slot(chain).saturating_mul(10) >= chain.cold_slot_gas
}

const fn saved_a_slot(chain: &ChainSpec) -> u64 {
    chain.cold_slot_gas.saturating_sub(LISTED_SLOT_GAS + WARM_GAS)
}

/// What a list costs before anything runs.
#[must_use]
pub fn list_gas(list: &[ListedAccount]) -> u64 {
    list.iter().fold(0, |sum: u64, account| {
        let slots = (account.slots.len() as u64).saturating_mul(LISTED_SLOT_GAS);
        sum.saturating_add(LISTED_ACCOUNT_GAS).saturating_add(slots)
    })
}

/// Of what a node says that a call of `to` touches, the part that is worth listing; empty where all of it together saves
/// less than a fiftieth of the call's `gas`.
#[must_use]
pub fn worth_listing(
    chain: &ChainSpec,
    to: Address,
    touched: Vec<ListedAccount>,
    gas: u64,
) -> Vec<ListedAccount> {
    if !may_pay(chain) {
        return Vec::new();
    }
    let saved = |account: &ListedAccount| {
        let slots = (account.slots.len() as u64).saturating_mul(saved_a_slot(chain));
        // The called account is warm anyway: naming it is the price of naming its slots.
        let unlisted = if account.address == to { WARM_GAS } else { COLD_ACCOUNT_GAS };
        slots.saturating_add(unlisted).saturating_sub(LISTED_ACCOUNT_GAS + WARM_GAS)
    };
    let worth: Vec<ListedAccount> = touched
        .into_iter()
        .filter(|account| !account.slots.is_empty() && saved(account) > 0)
        .collect();
    let total = worth.iter().map(saved).fold(0_u64, u64::saturating_add);
    if total.saturating_mul(SAVED_SHARE_MIN) < gas { Vec::new() } else { worth }
}

/// As a transaction carries it.
pub(crate) fn to_wire(list: &[ListedAccount]) -> AccessList {
    let item = |account: &ListedAccount| AccessListItem {
        address: account.address,
        storage_keys: account.slots.clone(),
    };
    AccessList(list.iter().map(item).collect())
}

/// From what a transaction carries.
pub(crate) fn from_wire(list: &AccessList) -> Vec<ListedAccount> {
    let account = |item: &AccessListItem| ListedAccount {
        address: item.address,
        slots: item.storage_keys.clone(),
    };
    list.0.iter().map(account).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: Address = Address::repeat_byte(1);

    fn chain(network: &str) -> &'static ChainSpec {
        ChainSpec::by_network(network).expect("in the catalogue")
    }

    fn account(byte: u8, slots: u8) -> ListedAccount {
        let slots = (0..slots).map(B256::repeat_byte).collect();
        ListedAccount { address: Address::repeat_byte(byte), slots }
    }

    #[test]
    fn lists_pay_where_cold_slots_are_dear() {
        for (network, pays) in
            [("polygon", true), ("polygon-amoy", true), ("localhost", false), ("ethereum", false)]
        {
            assert_eq!(may_pay(chain(network)), pays, "{network}");
            let touched = vec![account(1, 2), account(2, 50)];
            let listed = worth_listing(chain(network), VAULT, touched.clone(), 790_000);
            assert_eq!(listed, if pays { touched } else { Vec::new() }, "{network}");
        }
    }

    #[test]
    fn only_what_saves_is_listed() {
        let polygon = chain("polygon");
        // A recipient of the native coin has no slots; one slot of the called account saves 3,460 and costs 2,400.
        let touched = vec![account(9, 0), account(1, 1), account(2, 1)];
        let listed = worth_listing(polygon, VAULT, touched, 100_000);
        assert_eq!(listed, [account(1, 1), account(2, 1)]);
        // 3,460 × 2 + 100 − 2,400 = 4,620: a fiftieth of 231,000.
        let touched = vec![account(1, 1), account(2, 1)];
        assert_eq!(worth_listing(polygon, VAULT, touched.clone(), 231_000).len(), 2);
        assert_eq!(worth_listing(polygon, VAULT, touched, 231_001), []);
    }

    #[test]
    fn a_list_has_its_price() {
        assert_eq!(list_gas(&[]), 0);
        assert_eq!(list_gas(&[account(1, 3), account(2, 0)]), 2 * 2_400 + 3 * 1_900);
    }
}

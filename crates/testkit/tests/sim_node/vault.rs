//! A vault on the node: what it pays is in its own events and in the token's.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, sol};
use portcullis_testkit::{TestTransaction, TokenKind, VaultListing, dev_key};

use super::{CHAIN, COIN, World};

sol! {
    interface Vault {
        struct Item {
            uint256 number;
            bytes32 ref;
            address token;
            address to;
            uint256 amount;
        }
        function pay(Item[] items) external;
    }
}

#[test]
fn a_vault_pays_a_number_once() {
    let world = World::new();
    let operator = world.key.address;
    let token = world.node.deploy_token(TokenKind::Usdt).expect("deployed");
    let listing = |token| VaultListing { token, daily_cap: 1_000 * COIN, call_gas: 100_000 };
    let vault = world
        .node
        .deploy_vault(
            world.node.owner(),
            dev_key(9).address,
            &[operator],
            &[listing(Address::ZERO), listing(token)],
        )
        .expect("deployed");
    world.node.mint(token, vault, U256::from(500)).expect("minted");
    world.node.fund(vault, U256::from(COIN));
    let to = dev_key(5).address;
    let item = |number: u64, token, amount: u64| Vault::Item {
        number: U256::from(number),
        r#ref: B256::with_last_byte(7),
        token,
        to,
        amount: U256::from(amount),
    };
    let items = vec![item(1, token, 40), item(2, Address::ZERO, 50), item(1, token, 40)];
    let input = Vault::payCall { items }.abi_encode();
    let paying = TestTransaction {
        input: input.into(),
        gas_limit: 500_000,
        ..TestTransaction::transfer(CHAIN, 0, vault, U256::ZERO)
    };
    world.node.send_raw(&paying.sign(&world.key).raw).expect("accepted");
    assert_eq!(world.mine().transactions.len(), 1);

    let paid = world.node.paid_logs(vault);
    let numbers: Vec<(U256, Address, U256)> =
        paid.iter().map(|log| (log.number, log.token, log.units)).collect();
    let expected = [(1, token, 40), (2, Address::ZERO, 50)]
        .map(|(number, token, units)| (U256::from(number), token, U256::from(units)));
    assert_eq!(numbers, expected);
    assert_eq!(paid[0].to, to);
    assert_eq!(world.node.token_balance(token, to), Some(U256::from(40)));
    assert_eq!(world.node.balance(to), U256::from(50));
}

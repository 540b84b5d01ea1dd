// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {ProxiedToken, ProxiedTokenCode} from "./doubles/Tokens.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice What a payment costs: gas of the whole transaction, calldata included, divided by its items. The figures are in
/// snapshots/PayoutVault.json, and a test fails where one changes.
contract GasTest is VaultTest {
    /// @dev As in the middle of an epoch: the bitmap word has bits, and 100 more fit.
    uint256 private constant START = (1 << 64) + 256 * 400;

    address private proxied;

    function setUp() public override {
        super.setUp();
        proxied = address(new ProxiedToken());
        ProxiedTokenCode(proxied).mint(address(vault), FLOAT);
        _list(proxied, type(uint104).max, CALL_GAS);
        _list(address(bal), type(uint104).max, CALL_GAS);
        _list(NATIVE, type(uint104).max, NATIVE_GAS);
        // The day's first payments are made, and the page is begun.
        _pay(
            _batch(
                _item(START, proxied, ALICE, 1), _item(START + 1, address(bal), ALICE, 1), _item(START + 2, NATIVE, ALICE, 1)
            )
        );
    }

    function _recipient(uint256 index) private pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("recipient", index)))));
    }

    function _items(address token, uint256 count) private pure returns (PayoutVault.Item[] memory items) {
        items = new PayoutVault.Item[](count);
        for (uint256 i = 0; i < count; ++i) items[i] = _item(START + 3 + i, token, _recipient(i), 25_500_000);
    }

    function _fund(address token, address account) private {
        if (token == NATIVE) vm.deal(account, 1);
        else ProxiedTokenCode(token).mint(account, 1);
    }

    /// @dev The gas of one item of a batch of `count`. Leaves no trace.
    function _gasOfItem(address token, bool isHolder, uint256 count) private returns (uint256 used) {
        uint256 state = vm.snapshotState();
        PayoutVault.Item[] memory items = _items(token, count);
        for (uint256 i = 0; isHolder && i < count; ++i) _fund(token, items[i].to);
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < count; ++i) _expectPaid(outcomes[i], items[i]);
        used = gasUsed / count;
        vm.revertToState(state);
    }

    function _measure(string memory name, address token, bool isHolder) private {
        _snapshot(string.concat(name, " x001"), _gasOfItem(token, isHolder, 1));
        _snapshot(string.concat(name, " x010"), _gasOfItem(token, isHolder, 10));
        _snapshot(string.concat(name, " x050"), _gasOfItem(token, isHolder, 50));
        _snapshot(string.concat(name, " x100"), _gasOfItem(token, isHolder, 100));
    }

    function _snapshot(string memory name, uint256 used) private {
        vm.snapshotValue("PayoutVault", name, used);
    }

    function test_gas_of_a_proxied_token_to_holders() public {
        _measure("proxied token, existing holder", proxied, true);
    }

    function test_gas_of_a_proxied_token_to_new_holders() public {
        _measure("proxied token, new holder", proxied, false);
    }

    function test_gas_of_a_plain_token_to_holders() public {
        _measure("plain token, existing holder", address(bal), true);
    }

    function test_gas_of_a_plain_token_to_new_holders() public {
        _measure("plain token, new holder", address(bal), false);
    }

    function test_gas_of_native_coin_to_existing_accounts() public {
        _measure("native coin, existing account", NATIVE, true);
    }

    function test_gas_of_native_coin_to_new_accounts() public {
        _measure("native coin, new account", NATIVE, false);
    }

    /// @dev What the figures are compared with.
    function test_gas_of_a_plain_transfer_of_the_proxied_token() public {
        ProxiedTokenCode(proxied).mint(OPERATOR, 25_500_000);
        ProxiedTokenCode(proxied).mint(BOB, 1);
        vm.prank(OPERATOR);
        ProxiedTokenCode(proxied).transfer(BOB, 25_500_000);
        _snapshot("proxied token, existing holder, without the vault", vm.lastCallGas().gasTotalUsed);
    }

    function test_gas_of_numbers_that_are_used() public {
        _pay(_items(proxied, 100));
        _pay(_items(proxied, 100));
        _snapshot("skipped x100", gasUsed / 100);
    }

    function test_gas_of_void() public {
        uint256[] memory numbers = new uint256[](100);
        for (uint256 i = 0; i < 100; ++i) numbers[i] = START + 3 + i;
        _void(numbers);
        _snapshot("voided x100", gasUsed / 100);
    }

    /// @dev forge takes a figure without an entry for a new one, and compares it with nothing.
    function test_the_snapshot_has_every_figure() public view {
        string[] memory names = vm.parseJsonKeys(vm.readFile("snapshots/PayoutVault.json"), "$");
        vm.assertEq(names.length, 6 * 4 + 3, "run `npm run snapshot`");
    }
}

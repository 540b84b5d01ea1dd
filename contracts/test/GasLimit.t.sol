// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {HungryRecipient} from "./doubles/Recipients.sol";
import {SwallowingToken} from "./doubles/Tokens.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice Whatever the gas of a transaction: everything happens as with gas in plenty, or nothing happens.
contract GasLimitTest is VaultTest {
    uint256 private constant PLENTY = 10_000_000;

    Caller private caller;
    SwallowingToken private swallowing;
    address private hungry;

    function setUp() public override {
        super.setUp();
        caller = new Caller();
        swallowing = new SwallowingToken();
        swallowing.mint(address(vault), FLOAT);
        _list(address(swallowing), CAP, CALL_GAS);
        hungry = address(new HungryRecipient());
        vm.prank(OWNER);
        vault.setOperator(address(caller), true);
    }

    /// @dev What the vault said, as one hash; zero where the whole call reverted. Leaves no trace.
    function _run(PayoutVault.Item[] memory items, uint256 gasLimit) private returns (bytes32 said) {
        uint256 state = vm.snapshotState();
        uint256 float = usdc.balanceOf(address(vault)) + address(vault).balance;
        vm.recordLogs();
        if (caller.pay(vault, items, gasLimit)) {
            said = keccak256(abi.encode(_outcomes()));
        } else {
            for (uint256 i = 0; i < items.length; ++i) {
                vm.assertTrue(!vault.isUsed(items[i].number), "a reverted call uses no number");
            }
            vm.assertEq(usdc.balanceOf(address(vault)) + address(vault).balance, float, "and pays nothing");
        }
        vm.revertToState(state);
    }

    /// @dev Probes limits from nothing to more than enough.
    function _expectNoPartialBand(PayoutVault.Item[] memory items, uint256 step) private {
        bytes32 wanted = _run(items, PLENTY);
        vm.assertTrue(wanted != 0, "with plenty it runs");
        uint256 refused = 0;
        uint256 served = 0;
        // After the first limit that is enough, all are; 40 of them are looked at.
        for (uint256 gasLimit = 1_000; served < 40; gasLimit += step) {
            bytes32 said = _run(items, gasLimit);
            if (said == 0) {
                vm.assertEq(served, 0, "more gas never does less");
                ++refused;
            } else {
                vm.assertEq(said, wanted, "all of it or nothing");
                ++served;
            }
        }
        vm.assertGt(refused, 40, "limits below enough were looked at");
    }

    /// @dev The probe means something: with all their gas, all of these are paid.
    function test_with_plenty_everything_is_paid() public {
        PayoutVault.Item[] memory items = _mixed();
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < items.length; ++i) _expectPaid(outcomes[i], items[i]);
    }

    function _mixed() private view returns (PayoutVault.Item[] memory items) {
        items = new PayoutVault.Item[](6);
        items[0] = _item(FIRST, address(usdc), ALICE, 1);
        items[1] = _item(FIRST + 1, address(swallowing), BOB, 2);
        items[2] = _item(FIRST + 2, NATIVE, hungry, 3);
        items[3] = _item(FIRST + 3, NATIVE, CAROL, 4);
        items[4] = _item(FIRST + 400, address(usdt), ALICE, 5);
        items[5] = _item(FIRST + 4, address(usdc), BOB, 6);
    }

    function test_a_mixed_batch_has_no_partial_band() public {
        _expectNoPartialBand(_mixed(), 397);
    }

    function test_a_token_that_swallows_its_lack_of_gas_at_the_end_has_no_partial_band() public {
        PayoutVault.Item[] memory items =
            _batch(_item(FIRST, address(usdc), ALICE, 1), _item(FIRST + 1, address(swallowing), BOB, 2));
        _expectNoPartialBand(items, 211);
    }

    function test_a_recipient_that_needs_all_its_gas_at_the_end_has_no_partial_band() public {
        PayoutVault.Item[] memory items =
            _batch(_item(FIRST, address(usdc), ALICE, 1), _item(FIRST + 1, NATIVE, hungry, 2));
        _expectNoPartialBand(items, 97);
    }

    function test_one_item_alone_has_no_partial_band() public {
        _expectNoPartialBand(_batch(_item(FIRST, NATIVE, hungry, 2)), 61);
    }

    /// @dev An item that fails for its own reasons fails the same way at every limit that is enough.
    function test_a_batch_with_failures_has_no_partial_band() public {
        usdc.blacklist(CAROL);
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, address(usdc), CAROL, 1),
            _item(FIRST + 1, NATIVE, hungry, NATIVE_CAP + 1),
            _item(FIRST + 2, address(swallowing), BOB, 2)
        );
        _expectNoPartialBand(items, 211);
    }

    function test_the_refusal_is_named() public {
        PayoutVault.Item[] memory items = _batch(_item(FIRST, address(swallowing), BOB, 2));
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.OutOfGas.selector));
        vm.prank(address(caller));
        vault.pay{gas: 180_000}(items);
    }

    function test_any_limit_does_all_or_nothing(uint256 gasLimit, uint256 order) public {
        PayoutVault.Item[] memory items = _mixed();
        for (uint256 i = items.length - 1; i > 0; --i) {
            uint256 j = uint256(keccak256(abi.encode(order, i))) % (i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
        bytes32 said = _run(items, gasLimit % 700_000);
        vm.assertTrue(said == 0 || said == _run(items, PLENTY), "all of it or nothing");
    }
}

/// @notice Calls the vault with a given amount of gas.
contract Caller {
    function pay(PayoutVault vault, PayoutVault.Item[] calldata items, uint256 gasLimit) external returns (bool) {
        try vault.pay{gas: gasLimit}(items) {
            return true;
        } catch {
            return false;
        }
    }
}

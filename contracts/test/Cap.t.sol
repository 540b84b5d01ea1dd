// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice No more than the cap of a token leaves in a UTC day.
contract CapTest is VaultTest {
    uint256 private constant NIGHT = 20_500 days + 1 days - 1;

    function _payOne(uint256 number, uint256 amount) private returns (Outcome memory) {
        return _pay(_batch(_item(number, address(usdc), ALICE, amount)))[0];
    }

    function _expectOverCap(uint256 number, uint256 amount) private {
        _expectFailed(_payOne(number, amount), _item(number, address(usdc), ALICE, amount), OVER_CAP);
    }

    function _expectWithinCap(uint256 number, uint256 amount) private {
        _expectPaid(_payOne(number, amount), _item(number, address(usdc), ALICE, amount));
    }

    bytes32 private constant OVER_CAP = bytes32(PayoutVault.OverCap.selector);

    function test_exactly_the_cap_is_paid() public {
        _expectWithinCap(FIRST, CAP);
        vm.assertEq(vault.remainingToday(address(usdc)), 0, "nothing is left");
        _expectOverCap(FIRST + 1, 1);
        _expectWithinCap(FIRST + 2, 0);
    }

    function test_one_unit_above_the_cap_fails() public {
        _expectOverCap(FIRST, uint256(CAP) + 1);
        vm.assertEq(vault.remainingToday(address(usdc)), CAP, "unspent");
    }

    function test_the_cap_is_reached_in_parts() public {
        _expectWithinCap(FIRST, CAP - 10);
        _expectOverCap(FIRST + 1, 11);
        _expectWithinCap(FIRST + 2, 10);
        _expectOverCap(FIRST + 1, 1);
    }

    function test_within_a_batch_what_fits_is_paid_and_what_does_not_fails() public {
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, address(usdc), ALICE, CAP - 1),
            _item(FIRST + 1, address(usdc), ALICE, 2),
            _item(FIRST + 2, address(usdc), ALICE, 1)
        );
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[0], items[0]);
        _expectFailed(outcomes[1], items[1], OVER_CAP);
        _expectPaid(outcomes[2], items[2]);
        vm.assertEq(usdc.balanceOf(ALICE), CAP, "the cap, no more");
    }

    /// @dev The token leaves the hand between two items of it.
    function test_the_cap_holds_over_tokens_by_turns() public {
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, address(usdc), ALICE, CAP),
            _item(FIRST + 1, address(usdt), ALICE, CAP),
            _item(FIRST + 2, address(usdc), ALICE, 1)
        );
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[0], items[0]);
        _expectPaid(outcomes[1], items[1]);
        _expectFailed(outcomes[2], items[2], OVER_CAP);
    }

    function test_a_failed_item_leaves_the_cap_to_others() public {
        usdc.blacklist(CAROL);
        PayoutVault.Item[] memory items =
            _batch(_item(FIRST, address(usdc), CAROL, CAP), _item(FIRST + 1, address(usdc), ALICE, CAP));
        Outcome[] memory outcomes = _pay(items);
        vm.assertEq(uint256(outcomes[0].kind), uint256(Kind.Failed), "barred");
        _expectPaid(outcomes[1], items[1]);
    }

    function test_a_skipped_item_leaves_the_cap_to_others() public {
        _expectWithinCap(FIRST, CAP / 2);
        PayoutVault.Item[] memory items =
            _batch(_item(FIRST, address(usdc), ALICE, CAP / 2), _item(FIRST + 1, address(usdc), ALICE, CAP / 2));
        _expectPaid(_pay(items)[1], items[1]);
    }

    // ---------------------------------------------------------------- days

    function test_the_cap_is_new_at_midnight_and_not_before() public {
        vm.warp(NIGHT);
        _expectWithinCap(FIRST, CAP);
        _expectOverCap(FIRST + 1, 1);
        vm.warp(NIGHT + 1);
        vm.assertEq(vault.remainingToday(address(usdc)), CAP, "a new day");
        _expectWithinCap(FIRST + 1, CAP);
        _expectOverCap(FIRST + 2, 1);
        vm.warp(NIGHT + 1 days);
        _expectOverCap(FIRST + 2, 1);
    }

    function test_a_long_pause_saves_nothing_up() public {
        _expectWithinCap(FIRST, 5);
        vm.warp(MORNING + 40 days);
        _expectOverCap(FIRST + 1, uint256(CAP) + 1);
        _expectWithinCap(FIRST + 1, CAP);
    }

    function test_yesterdays_payments_do_not_count_today() public {
        _expectWithinCap(FIRST, CAP - 3);
        vm.warp(MORNING + 1 days);
        _expectWithinCap(FIRST + 1, 7);
        vm.assertEq(_spent(address(usdc)), 7, "today's alone");
    }

    // ---------------------------------------------------------------- settings

    function test_a_cap_of_zero_lets_nothing_leave() public {
        _list(address(usdc), 0, CALL_GAS);
        _expectOverCap(FIRST, 1);
        vm.assertEq(vault.remainingToday(address(usdc)), 0, "nothing");
    }

    function test_a_cap_below_what_left_today_stops_until_tomorrow() public {
        _expectWithinCap(FIRST, 500);
        _list(address(usdc), 499, CALL_GAS);
        vm.assertEq(vault.remainingToday(address(usdc)), 0, "nothing");
        _expectOverCap(FIRST + 1, 1);
        vm.warp(MORNING + 1 days);
        _expectWithinCap(FIRST + 1, 499);
    }

    function test_a_raised_cap_counts_what_left_before() public {
        _expectWithinCap(FIRST, CAP);
        _list(address(usdc), CAP + 5, CALL_GAS);
        _expectOverCap(FIRST + 1, 6);
        _expectWithinCap(FIRST + 1, 5);
    }

    function test_listing_again_does_not_forget_what_left_today() public {
        _expectWithinCap(FIRST, CAP);
        vm.prank(OWNER);
        vault.setToken(address(usdc), false, CAP, CALL_GAS);
        vm.assertEq(vault.remainingToday(address(usdc)), 0, "not listed");
        _list(address(usdc), CAP, CALL_GAS);
        _expectOverCap(FIRST + 1, 1);
    }

    function test_amounts_beyond_any_cap_do_not_wrap_around() public {
        _list(address(usdc), type(uint104).max, CALL_GAS);
        _expectWithinCap(FIRST, 10);
        _expectOverCap(FIRST + 1, type(uint256).max);
        _expectOverCap(FIRST + 1, type(uint256).max - 9);
        _expectOverCap(FIRST + 1, uint256(type(uint104).max) + 1);
        _expectOverCap(FIRST + 1, type(uint104).max);
        vm.assertEq(vault.remainingToday(address(usdc)), type(uint104).max - 10, "unspent");
    }

    function test_caps_of_tokens_are_apart() public {
        _expectWithinCap(FIRST, CAP);
        vm.assertEq(vault.remainingToday(address(usdt)), CAP, "another token");
        vm.assertEq(vault.remainingToday(NATIVE), NATIVE_CAP, "another token");
    }

    /// @dev In one day and in any parts, never more than the cap leaves.
    function test_never_more_than_the_cap(uint104 cap, uint256[12] calldata amounts) public {
        _list(address(bal), cap, CALL_GAS);
        PayoutVault.Item[] memory items = new PayoutVault.Item[](12);
        for (uint256 i = 0; i < 12; ++i) {
            // Around the cap more often than not.
            uint256 amount = i % 3 == 0 ? amounts[i] : amounts[i] % (uint256(cap) / 2 + 2);
            items[i] = _item(FIRST + i, address(bal), ALICE, amount);
        }
        bal.mint(address(vault), type(uint128).max);
        _pay(items);
        uint256 paid = bal.balanceOf(ALICE);
        vm.assertTrue(paid <= cap, "within the cap");
        vm.assertEq(_spent(address(bal)), paid, "what left is counted");
    }
}

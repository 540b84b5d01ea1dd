// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice A number is paid at most once, and every item has one event.
contract NumbersTest is VaultTest {
    function test_an_item_is_paid_and_its_event_says_all_of_it() public {
        PayoutVault.Item memory item = _item(FIRST, address(usdc), ALICE, 12_345);
        vm.assertTrue(!vault.isUsed(FIRST), "free before");
        Outcome[] memory outcomes = _pay(_batch(item));
        vm.assertEq(outcomes.length, 1, "one event");
        _expectPaid(outcomes[0], item);
        vm.assertEq(usdc.balanceOf(ALICE), 12_345, "paid");
        vm.assertEq(usdc.balanceOf(address(vault)), FLOAT - 12_345, "from the float");
        vm.assertEq(_spent(address(usdc)), 12_345, "counted");
    }

    function test_native_coin_is_paid() public {
        PayoutVault.Item memory item = _item(FIRST, NATIVE, ALICE, 3 ether);
        _expectPaid(_pay(_batch(item))[0], item);
        vm.assertEq(ALICE.balance, 3 ether, "paid");
        vm.assertEq(address(vault).balance, NATIVE_FLOAT - 3 ether, "from the float");
        vm.assertEq(_spent(NATIVE), 3 ether, "counted");
    }

    function test_an_empty_batch_does_nothing() public {
        vm.assertEq(_pay(new PayoutVault.Item[](0)).length, 0, "no event");
        vm.assertEq(_void(new uint256[](0)).length, 0, "no event");
    }

    /// @dev Every token by turns, so that no item finds its token in hand.
    function test_tokens_by_turns_are_all_counted() public {
        PayoutVault.Item[] memory items = new PayoutVault.Item[](12);
        address[4] memory turn = [address(usdc), address(usdt), NATIVE, address(bal)];
        for (uint256 i = 0; i < items.length; ++i) items[i] = _item(FIRST + i, turn[i % 4], ALICE, i + 1);
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < items.length; ++i) _expectPaid(outcomes[i], items[i]);
        for (uint256 t = 0; t < 4; ++t) {
            uint256 sum = (t + 1) + (t + 5) + (t + 9);
            vm.assertEq(_balance(turn[t], ALICE), sum, "paid");
            vm.assertEq(_spent(turn[t]), sum, "counted");
        }
    }

    /// @dev Numbers that leave a page and come back to it.
    function test_pages_by_turns_are_all_kept() public {
        uint256[6] memory numbers = [FIRST, FIRST + 256, FIRST + 1, FIRST + 512, FIRST + 257, FIRST + 2];
        PayoutVault.Item[] memory items = new PayoutVault.Item[](6);
        for (uint256 i = 0; i < 6; ++i) items[i] = _item(numbers[i], address(usdc), ALICE, 1);
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < 6; ++i) _expectPaid(outcomes[i], items[i]);
        outcomes = _pay(items);
        for (uint256 i = 0; i < 6; ++i) _expectSkipped(outcomes[i], items[i].number, items[i].ref);
        vm.assertEq(usdc.balanceOf(ALICE), 6, "each once");
        vm.assertEq(vault.usedNumbers(FIRST >> 8), 7 << 1, "the first page: bits 1 to 3");
        vm.assertEq(vault.usedNumbers((FIRST >> 8) + 1), 3 << 1, "the second page: bits 1 and 2");
    }

    function test_the_first_and_the_last_number_are_numbers_as_any() public {
        PayoutVault.Item[] memory items =
            _batch(_item(0, address(usdc), ALICE, 1), _item(type(uint256).max, address(usdc), ALICE, 2));
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[0], items[0]);
        _expectPaid(outcomes[1], items[1]);
        _pay(items);
        vm.assertEq(usdc.balanceOf(ALICE), 3, "each once");
    }

    // ---------------------------------------------------------------- replay

    function test_a_batch_that_comes_again_pays_nothing() public {
        PayoutVault.Item[] memory items = _surround(_item(FIRST + 1, NATIVE, CAROL, 5));
        _pay(items);
        Outcome[] memory outcomes = _pay(items);
        vm.assertEq(outcomes.length, 3, "one event an item");
        for (uint256 i = 0; i < 3; ++i) _expectSkipped(outcomes[i], items[i].number, items[i].ref);
        vm.assertEq(usdc.balanceOf(ALICE) + usdc.balanceOf(BOB), 3e6, "once");
        vm.assertEq(CAROL.balance, 5, "once");
        vm.assertEq(_spent(address(usdc)), 3e6, "counted once");
    }

    function test_another_operator_cannot_pay_a_number_again() public {
        vm.prank(OWNER);
        vault.setOperator(BOB, true);
        PayoutVault.Item memory item = _item(FIRST, address(usdc), ALICE, 5);
        _pay(_batch(item));
        vm.recordLogs();
        vm.prank(BOB);
        vault.pay(_batch(item));
        _expectSkipped(_outcomes()[0], FIRST, item.ref);
        vm.assertEq(usdc.balanceOf(ALICE), 5, "once");
    }

    function test_a_number_under_another_ref_is_skipped_under_that_ref() public {
        _pay(_batch(_item(FIRST, address(usdc), ALICE, 5)));
        PayoutVault.Item memory other = PayoutVault.Item(FIRST, keccak256("other"), address(usdt), BOB, 7);
        Outcome[] memory outcomes = _pay(_batch(other));
        _expectSkipped(outcomes[0], FIRST, keccak256("other"));
        vm.assertEq(usdt.balanceOf(BOB), 0, "nothing");
    }

    function test_a_number_twice_in_a_batch_is_paid_once() public {
        PayoutVault.Item memory one = _item(FIRST, address(usdc), ALICE, 5);
        PayoutVault.Item memory other = PayoutVault.Item(FIRST, keccak256("other"), address(usdc), BOB, 7);
        Outcome[] memory outcomes = _pay(_batch(one, one, other));
        _expectPaid(outcomes[0], one);
        _expectSkipped(outcomes[1], FIRST, one.ref);
        _expectSkipped(outcomes[2], FIRST, other.ref);
        vm.assertEq(usdc.balanceOf(ALICE), 5, "once");
        vm.assertEq(usdc.balanceOf(BOB), 0, "nothing");
    }

    /// @dev A number twice in a batch, with another page in between.
    function test_a_number_is_remembered_while_another_page_is_in_hand() public {
        PayoutVault.Item memory one = _item(FIRST, address(usdc), ALICE, 5);
        PayoutVault.Item memory elsewhere = _item(FIRST + 1000, address(usdc), ALICE, 7);
        Outcome[] memory outcomes = _pay(_batch(one, elsewhere, one));
        _expectPaid(outcomes[0], one);
        _expectPaid(outcomes[1], elsewhere);
        _expectSkipped(outcomes[2], FIRST, one.ref);
        vm.assertEq(usdc.balanceOf(ALICE), 12, "each once");
    }

    function test_a_number_that_failed_can_be_paid_in_the_same_batch_and_later() public {
        usdc.blacklist(CAROL);
        PayoutVault.Item memory barred = _item(FIRST, address(usdc), CAROL, 5);
        PayoutVault.Item memory good = _item(FIRST, address(usdc), ALICE, 5);
        vm.recordLogs();
        vm.prank(OPERATOR);
        vault.pay(_batch(barred, good));
        Outcome[] memory outcomes = _outcomes();
        vm.assertEq(uint256(outcomes[0].kind), uint256(Kind.Failed), "the first fails");
        _expectPaid(outcomes[1], good);

        PayoutVault.Item memory later = _item(FIRST + 1, address(usdc), CAROL, 6);
        vm.assertEq(uint256(_pay(_batch(later))[0].kind), uint256(Kind.Failed), "still barred");
        usdc.unBlacklist(CAROL);
        _expectPaid(_pay(_batch(later))[0], later);
        vm.assertEq(usdc.balanceOf(CAROL), 6, "once");
    }

    // ---------------------------------------------------------------- epochs

    function test_the_same_sequence_in_another_epoch_is_another_number() public {
        for (uint256 epoch = 1; epoch <= 4; ++epoch) {
            PayoutVault.Item memory item = _item((epoch << 64) | 7, address(usdc), ALICE, 10);
            vm.assertTrue(!vault.isUsed(item.number), "free");
            _expectPaid(_pay(_batch(item))[0], item);
            _expectSkipped(_pay(_batch(item))[0], item.number, item.ref);
            vm.assertEq(usdc.balanceOf(ALICE), epoch * 10, "once an epoch");
        }
    }

    function test_using_a_number_leaves_all_others_free(uint256 used, uint256 other, bool byVoid) public {
        if (used == other) other = used ^ 1;
        if (byVoid) _void(_numbers(used));
        else _pay(_batch(_item(used, address(usdc), ALICE, 1)));
        vm.assertTrue(vault.isUsed(used), "used");
        vm.assertTrue(!vault.isUsed(other), "free");
        vm.assertEq(vault.usedNumbers(used >> 8), 1 << (used & 255), "one bit");
        _expectPaid(_pay(_batch(_item(other, address(usdc), ALICE, 1)))[0], _item(other, address(usdc), ALICE, 1));
    }

    // ---------------------------------------------------------------- void

    function test_a_voided_number_cannot_be_paid() public {
        _expectVoided(_void(_numbers(FIRST))[0], FIRST);
        PayoutVault.Item memory item = _item(FIRST, address(usdc), ALICE, 5);
        _expectSkipped(_pay(_batch(item))[0], FIRST, item.ref);
        vm.assertEq(usdc.balanceOf(ALICE), 0, "nothing");
        vm.assertEq(_spent(address(usdc)), 0, "nothing");
    }

    function test_a_paid_number_cannot_be_voided() public {
        _pay(_batch(_item(FIRST, address(usdc), ALICE, 5)));
        _expectSkipped(_void(_numbers(FIRST))[0], FIRST, 0);
        vm.assertEq(usdc.balanceOf(ALICE), 5, "paid it stays");
    }

    function test_a_failed_number_can_be_voided() public {
        usdc.blacklist(CAROL);
        _pay(_batch(_item(FIRST, address(usdc), CAROL, 5)));
        _expectVoided(_void(_numbers(FIRST))[0], FIRST);
        usdc.unBlacklist(CAROL);
        _pay(_batch(_item(FIRST, address(usdc), CAROL, 5)));
        vm.assertEq(usdc.balanceOf(CAROL), 0, "nothing");
    }

    function test_numbers_are_voided_once_across_pages() public {
        uint256[] memory numbers = new uint256[](5);
        (numbers[0], numbers[1], numbers[2]) = (FIRST, FIRST + 300, FIRST);
        (numbers[3], numbers[4]) = (FIRST + 1, FIRST + 300);
        Outcome[] memory outcomes = _void(numbers);
        vm.assertEq(outcomes.length, 5, "one event a number");
        _expectVoided(outcomes[0], FIRST);
        _expectVoided(outcomes[1], FIRST + 300);
        _expectSkipped(outcomes[2], FIRST, 0);
        _expectVoided(outcomes[3], FIRST + 1);
        _expectSkipped(outcomes[4], FIRST + 300, 0);
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {Players} from "./doubles/Players.sol";
import {Vm} from "./Vm.sol";

/// @notice What holds of a vault whatever its operators and its owner do.
contract InvariantsTest {
    /// @dev As forge reads it.
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    Players private players;
    PayoutVault private vault;

    function setUp() public {
        players = new Players();
        players.setUp();
        vault = players.theVault();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(players);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        bytes4[] memory selectors = new bytes4[](9);
        // Payments more often than the rest.
        (selectors[0], selectors[1], selectors[2]) = (players.pay.selector, players.pay.selector, players.pay.selector);
        (selectors[3], selectors[4]) = (players.void.selector, players.replayAll.selector);
        (selectors[5], selectors[6]) = (players.wait.selector, players.changeCap.selector);
        (selectors[7], selectors[8]) = (players.sweep.selector, players.fund.selector);
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(players), selectors);
    }

    /// @dev One invariant for forge, which plays every one of them anew.
    function invariant_the_book_and_the_vault_agree() public view {
        _aNumberIsPaidOrVoidedAtMostOnceAndItsBitSaysSo();
        _noOtherBitIsSet();
        _whatWasPaidIsWhatLeft();
        _noDayExceedsTheHighestCapOfThatDay();
    }

    function _aNumberIsPaidOrVoidedAtMostOnceAndItsBitSaysSo() private view {
        uint256 count = players.countNumbers();
        for (uint256 i = 0; i < count; ++i) {
            uint256 number = players.numbers(i);
            uint256 times = players.paidTimes(number) + players.voidedTimes(number);
            vm.assertTrue(times <= 1, "at most once");
            vm.assertEq(vault.isUsed(number), times == 1, "the bit says so");
        }
    }

    /// @dev The words of the bitmap hold no bit beside those of the events.
    function _noOtherBitIsSet() private view {
        uint256 events = 0;
        uint256 count = players.countNumbers();
        for (uint256 i = 0; i < count; ++i) {
            uint256 number = players.numbers(i);
            events += players.paidTimes(number) + players.voidedTimes(number);
        }
        uint256 bits = 0;
        for (uint256 epoch = 0; epoch <= 3; ++epoch) {
            for (uint256 page = 0; page <= 3; ++page) bits += _count(vault.usedNumbers((epoch << 56) + page));
        }
        vm.assertEq(bits, events, "one bit an event");
    }

    function _count(uint256 word) private pure returns (uint256 count) {
        for (; word != 0; word &= word - 1) ++count;
    }

    function _whatWasPaidIsWhatLeft() private view {
        for (uint256 t = 0; t < 4; ++t) {
            address token = players.tokenAt(t);
            uint256 left = players.paid(token) + players.swept(token);
            vm.assertEq(players.balanceOfVault(token) + left, players.funded(token), "to the last unit");
        }
    }

    function _noDayExceedsTheHighestCapOfThatDay() private view {
        uint256 day = vm.getBlockTimestamp() / 1 days;
        for (uint256 t = 0; t < 4; ++t) {
            address token = players.tokenAt(t);
            uint256 paid = players.paidOnDay(token, day);
            vm.assertTrue(paid <= players.highestCapOnDay(token, day), "within the cap");
            (bool listed,,, uint256 cap,) = vault.tokens(token);
            uint256 remaining = listed && paid < cap ? cap - paid : 0;
            vm.assertEq(vault.remainingToday(token), remaining, "what remains is what was not paid");
        }
    }

    /// @dev An invariant over players who do nothing would prove nothing. Not asked after each run: forge shortens the
    /// sequence of a failure, and a short one may well pay nothing.
    function test_the_players_do_all_kinds_of_things() public {
        for (uint256 seed = 0; seed < 30; ++seed) {
            players.pay(seed);
            players.void(seed);
            if (seed % 10 == 9) {
                players.replayAll();
                players.sweep(seed, seed);
                players.fund(seed);
                players.wait(9);
                players.changeCap(seed, uint104(seed), true);
            }
            invariant_the_book_and_the_vault_agree();
        }
        uint256 paid = 0;
        uint256 voided = 0;
        for (uint256 i = 0; i < players.countNumbers(); ++i) {
            paid += players.paidTimes(players.numbers(i));
            voided += players.voidedTimes(players.numbers(i));
        }
        vm.assertGt(paid, 20, "numbers were paid");
        vm.assertGt(voided, 20, "numbers were voided");
        vm.assertGt(players.failures(), 20, "items failed");
        vm.assertGt(players.skips(), 20, "items were skipped");
        vm.assertGt(players.swept(players.tokenAt(29)), 0, "float was swept");
    }
}

// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {
    BombRecipient,
    BurningRecipient,
    ReenteringRecipient,
    RefusingRecipient,
    WorkingRecipient
} from "./doubles/Recipients.sol";
import {AnsweringToken, BombToken, BurningToken, FeeToken, ReenteringToken} from "./doubles/Tokens.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice One odd token or recipient fails alone.
contract IsolationTest is VaultTest {
    uint256 private constant ODD = FIRST + 1;

    // ---------------------------------------------------------------- tokens that say no

    function test_a_barred_recipient_fails_alone() public {
        usdc.blacklist(CAROL);
        bytes memory words = abi.encodeWithSignature("Error(string)", "Blacklistable: account is blacklisted");
        _expectIsolated(_item(ODD, address(usdc), CAROL, 5e6), _revertedWith(words));
    }

    function test_a_paused_token_fails_alone() public {
        usdc.pause();
        PayoutVault.Item[] memory items =
            _batch(_item(FIRST, address(usdc), ALICE, 1e6), _item(ODD, address(usdt), ALICE, 2e6));
        Outcome[] memory outcomes = _pay(items);
        bytes memory words = abi.encodeWithSignature("Error(string)", "Pausable: paused");
        _expectFailed(outcomes[0], items[0], _revertedWith(words));
        _expectPaid(outcomes[1], items[1]);
    }

    function test_an_unfunded_token_item_fails_alone() public {
        _list(address(bal), type(uint104).max, CALL_GAS);
        bytes memory words = abi.encodeWithSignature("Error(string)", "ERC20: transfer amount exceeds balance");
        _expectIsolated(_item(ODD, address(bal), CAROL, FLOAT + 1), _revertedWith(words));
    }

    function test_an_unfunded_native_item_fails_alone() public {
        _list(NATIVE, type(uint104).max, NATIVE_GAS);
        _expectIsolated(_item(ODD, NATIVE, CAROL, NATIVE_FLOAT + 1), PayoutVault.Unfunded.selector);
    }

    function test_the_last_of_the_float_is_paid_and_the_next_item_is_unfunded() public {
        _list(NATIVE, type(uint104).max, NATIVE_GAS);
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, NATIVE, ALICE, NATIVE_FLOAT), _item(ODD, NATIVE, BOB, 1), _item(FIRST + 2, NATIVE, CAROL, 0)
        );
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[0], items[0]);
        _expectFailed(outcomes[1], items[1], PayoutVault.Unfunded.selector);
        _expectPaid(outcomes[2], items[2]);
        vm.assertEq(ALICE.balance, NATIVE_FLOAT, "all of it");
    }

    // ---------------------------------------------------------------- tokens that answer oddly

    function _answering(bool reverts, bytes memory answer) private returns (AnsweringToken token) {
        token = new AnsweringToken();
        token.say(reverts, answer);
        _list(address(token), CAP, CALL_GAS);
    }

    function _expectBadReturn(bytes memory answer) private {
        AnsweringToken token = _answering(false, answer);
        _expectIsolated(_item(ODD, address(token), CAROL, 5), PayoutVault.BadReturn.selector);
    }

    function _expectAccepted(bytes memory answer) private {
        AnsweringToken token = _answering(false, answer);
        PayoutVault.Item[] memory items = _surround(_item(ODD, address(token), CAROL, 5));
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < 3; ++i) _expectPaid(outcomes[i], items[i]);
    }

    function test_false_is_a_failure() public {
        _expectBadReturn(abi.encode(false));
    }

    function test_31_bytes_are_a_failure() public {
        bytes memory answer = new bytes(31);
        answer[30] = 0x01;
        _expectBadReturn(answer);
    }

    /// @dev The bytes that are missing must not be taken from memory: here they would make a `true`.
    function test_a_true_without_its_last_byte_is_a_failure() public {
        _expectBadReturn(new bytes(31));
    }

    function test_one_byte_is_a_failure() public {
        _expectBadReturn(hex"01");
    }

    /// @dev Only the exact word for `true` counts.
    function test_a_number_above_one_is_a_failure() public {
        _expectBadReturn(abi.encode(uint256(2)));
    }

    function test_64_bytes_that_begin_with_false_are_a_failure() public {
        _expectBadReturn(abi.encode(false, true));
    }

    function test_true_is_success() public {
        _expectAccepted(abi.encode(true));
    }

    function test_no_answer_is_success() public {
        _expectAccepted("");
    }

    function test_64_bytes_that_begin_with_true_are_success() public {
        _expectAccepted(abi.encode(true, "more"));
    }

    function test_a_revert_without_words_is_a_failure() public {
        AnsweringToken token = _answering(true, "");
        _expectIsolated(_item(ODD, address(token), CAROL, 5), _revertedWith(""));
    }

    function test_a_revert_that_answers_true_is_a_failure() public {
        AnsweringToken token = _answering(true, abi.encode(true));
        _expectIsolated(_item(ODD, address(token), CAROL, 5), _revertedWith(abi.encode(true)));
    }

    function test_the_words_of_a_short_revert_are_padded_with_zeros() public {
        AnsweringToken token = _answering(true, hex"aabbcc");
        _expectIsolated(_item(ODD, address(token), CAROL, 5), _revertedWith(hex"aabbcc"));
    }

    function test_a_token_that_returns_a_bomb_fails_alone_and_costs_no_more_than_its_gas() public {
        _expectBomb(address(new BombToken(false)), PayoutVault.BadReturn.selector);
    }

    function test_a_token_that_reverts_with_a_bomb_fails_alone_and_costs_no_more_than_its_gas() public {
        _expectBomb(address(new BombToken(true)), _revertedWith(""));
    }

    function test_a_token_that_burns_its_gas_fails_alone_and_costs_no_more_than_its_gas() public {
        _expectBomb(address(new BurningToken()), _revertedWith(""));
    }

    /// @dev What an item may cost beside the gas of its callee: calldata, logs, words of storage, other items.
    function _expectBomb(address token, bytes32 reason) private {
        _list(token, CAP, CALL_GAS);
        _expectIsolated(_item(ODD, token, CAROL, 5), reason);
        _pay(_batch(_item(ODD, token, CAROL, 5)));
        vm.assertGt(CALL_GAS + 80_000, gasUsed, "bounded gas");
    }

    function test_a_token_without_code_fails_alone() public {
        AnsweringToken token = _answering(false, "");
        vm.etch(address(token), "");
        _expectIsolated(_item(ODD, address(token), CAROL, 5), PayoutVault.NoCode.selector);
    }

    function test_a_token_that_is_not_listed_fails_alone() public {
        vm.prank(OWNER);
        vault.setToken(address(bal), false, CAP, CALL_GAS);
        _expectIsolated(_item(ODD, address(bal), CAROL, 5), PayoutVault.NotListed.selector);
    }

    function test_native_coin_that_is_not_listed_fails_alone() public {
        vm.prank(OWNER);
        vault.setToken(NATIVE, false, 0, 0);
        _expectIsolated(_item(ODD, NATIVE, CAROL, 5), PayoutVault.NotListed.selector);
    }

    /// @dev What the recipient got is read from the token's events; the vault says what it sent.
    function test_a_token_that_keeps_a_fee_is_paid_and_counted_in_full() public {
        FeeToken token = new FeeToken();
        token.mint(address(vault), FLOAT);
        _list(address(token), CAP, CALL_GAS);
        PayoutVault.Item[] memory items = _surround(_item(ODD, address(token), CAROL, 500));
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[1], items[1]);
        vm.assertEq(token.balanceOf(CAROL), 495, "a hundredth is kept");
        vm.assertEq(token.balanceOf(address(vault)), FLOAT - 500, "the vault is out of all of it");
        vm.assertEq(_spent(address(token)), 500, "the cap counts what left");
    }

    function test_a_token_without_an_answer_pays_many() public {
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, address(usdt), ALICE, 1), _item(ODD, address(usdt), BOB, 2), _item(9, address(usdt), BOB, 3)
        );
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < 3; ++i) _expectPaid(outcomes[i], items[i]);
        vm.assertEq(usdt.balanceOf(BOB), 5, "both");
    }

    // ---------------------------------------------------------------- recipients

    function test_the_zero_address_fails_alone() public {
        _expectIsolated(_item(ODD, NATIVE, address(0), 5), PayoutVault.BadRecipient.selector);
    }

    function test_the_zero_address_of_a_token_fails_alone() public {
        _expectIsolated(_item(ODD, address(usdt), address(0), 5), PayoutVault.BadRecipient.selector);
    }

    function test_the_vault_itself_fails_alone() public {
        _expectIsolated(_item(ODD, NATIVE, address(vault), 5), PayoutVault.BadRecipient.selector);
    }

    function test_a_recipient_with_code_is_paid() public {
        WorkingRecipient recipient = new WorkingRecipient();
        PayoutVault.Item[] memory items = _surround(_item(ODD, NATIVE, address(recipient), 5));
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[1], items[1]);
        vm.assertEq(recipient.received(), 5, "and did its work");
    }

    function test_a_recipient_that_refuses_fails_alone() public {
        bytes memory words = abi.encodeWithSelector(RefusingRecipient.Refused.selector, 5, "not today");
        _expectIsolated(_item(ODD, NATIVE, address(new RefusingRecipient()), 5), _revertedWith(words));
    }

    function test_a_recipient_that_burns_its_gas_fails_alone() public {
        _expectIsolated(_item(ODD, NATIVE, address(new BurningRecipient()), 5), _revertedWith(""));
        vm.assertGt(NATIVE_GAS + 200_000, gasUsed, "bounded gas");
    }

    /// @dev The words of one refusal are not taken for those of the next, which has none.
    function test_a_refusal_without_words_keeps_none_of_the_one_before() public {
        PayoutVault.Item[] memory items = _batch(
            _item(FIRST, NATIVE, address(new RefusingRecipient()), 5),
            _item(FIRST + 1, NATIVE, address(new BurningRecipient()), 5)
        );
        Outcome[] memory outcomes = _pay(items);
        bytes memory words = abi.encodeWithSelector(RefusingRecipient.Refused.selector, 5, "not today");
        _expectFailed(outcomes[0], items[0], _revertedWith(words));
        _expectFailed(outcomes[1], items[1], _revertedWith(""));
    }

    function test_a_recipient_that_reverts_with_a_bomb_fails_alone() public {
        _expectIsolated(_item(ODD, NATIVE, address(new BombRecipient(true)), 5), _revertedWith(""));
        vm.assertGt(NATIVE_GAS + 200_000, gasUsed, "bounded gas");
    }

    function test_what_a_native_recipient_returns_does_not_matter() public {
        BombRecipient recipient = new BombRecipient(false);
        PayoutVault.Item[] memory items = _surround(_item(ODD, NATIVE, address(recipient), 5));
        Outcome[] memory outcomes = _pay(items);
        _expectPaid(outcomes[1], items[1]);
        vm.assertEq(address(recipient).balance, 5, "paid");
    }

    // ---------------------------------------------------------------- coming back in

    function _payAgain(uint256 number) private view returns (bytes memory) {
        return abi.encodeCall(PayoutVault.pay, (_batch(_item(number, address(usdc), STRANGER, 7e6))));
    }

    /// @dev Every function that writes, as an operator or the owner that is being paid would call it.
    function test_a_recipient_cannot_come_back_in() public {
        ReenteringRecipient recipient = new ReenteringRecipient();
        vm.startPrank(OWNER);
        vault.setOperator(address(recipient), true);
        vault.offerOwnership(address(recipient));
        vm.stopPrank();
        vm.prank(address(recipient));
        vault.acceptOwnership();
        bytes[9] memory calls = [
            _payAgain(FIRST),
            _payAgain(FIRST + 9),
            abi.encodeCall(PayoutVault.void, (_numbers(FIRST))),
            abi.encodeCall(PayoutVault.setOperator, (STRANGER, true)),
            abi.encodeCall(PayoutVault.setToken, (address(usdc), true, type(uint104).max, CALL_GAS)),
            abi.encodeCall(PayoutVault.setPaused, (true)),
            abi.encodeCall(PayoutVault.sweep, (address(usdc), 1)),
            abi.encodeCall(PayoutVault.offerOwnership, (STRANGER)),
            abi.encodeCall(PayoutVault.acceptOwnership, ())
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            recipient.aim(address(vault), calls[i]);
            uint256 state = vm.snapshotState();
            _expectRefusedReentry(_surround(_item(ODD, NATIVE, address(recipient), 5)), recipient);
            vm.revertToState(state);
        }
    }

    function _expectRefusedReentry(PayoutVault.Item[] memory items, ReenteringRecipient recipient) private {
        // The recipient is the owner here, and needs gas for its attempt.
        vm.prank(address(recipient));
        vault.setToken(NATIVE, true, NATIVE_CAP, CALL_GAS);
        Outcome[] memory outcomes = _pay(items);
        vm.assertEq(outcomes.length, 3, "three items, three events");
        for (uint256 i = 0; i < 3; ++i) _expectPaid(outcomes[i], items[i]);
        vm.assertTrue(recipient.wasCalled() && !recipient.entered(), "it tried");
        vm.assertEq(bytes32(recipient.refusal()), bytes32(PayoutVault.Busy.selector), "refused as busy");
        vm.assertEq(usdc.balanceOf(STRANGER), 0, "nothing was paid inside");
    }

    function test_a_token_cannot_come_back_in() public {
        ReenteringToken token = new ReenteringToken();
        token.mint(address(vault), 100);
        _list(address(token), CAP, 500_000);
        vm.prank(OWNER);
        vault.setOperator(address(token), true);
        PayoutVault.Item memory item = _item(ODD, address(token), CAROL, 5);
        token.aim(address(vault), abi.encodeCall(PayoutVault.pay, (_batch(item))));
        PayoutVault.Item[] memory items = _surround(item);
        Outcome[] memory outcomes = _pay(items);
        for (uint256 i = 0; i < 3; ++i) _expectPaid(outcomes[i], items[i]);
        vm.assertTrue(token.wasCalled() && !token.entered(), "it tried");
        vm.assertEq(bytes32(token.refusal()), bytes32(PayoutVault.Busy.selector), "refused as busy");
        vm.assertEq(token.balanceOf(CAROL), 5, "paid once");
    }

    function test_the_treasury_cannot_come_back_in() public {
        ReenteringRecipient treasury = new ReenteringRecipient();
        address[] memory operators = new address[](1);
        operators[0] = address(treasury);
        vault = _deployVault(OWNER, address(treasury), operators, new PayoutVault.Listing[](0));
        vm.deal(address(vault), 1 ether);
        treasury.aim(address(vault), abi.encodeCall(PayoutVault.void, (_numbers(FIRST))));
        vm.prank(OWNER);
        vault.sweep(NATIVE, 1 ether);
        vm.assertTrue(treasury.wasCalled() && !treasury.entered(), "it tried");
        vm.assertEq(bytes32(treasury.refusal()), bytes32(PayoutVault.Busy.selector), "refused as busy");
        vm.assertTrue(!vault.isUsed(FIRST), "nothing was voided inside");
    }

    /// @dev The lock is not for ever: the next call of the same transaction is served.
    function test_the_vault_serves_again_after_a_call() public {
        _pay(_batch(_item(FIRST, address(usdc), ALICE, 1)));
        TwoCalls twice = new TwoCalls();
        vm.prank(OWNER);
        vault.setOperator(address(twice), true);
        twice.run(
            vault,
            _batch(_item(ODD, address(usdc), ALICE, 2)),
            _batch(_item(FIRST, address(usdc), ALICE, 3), _item(ODD + 1, address(usdc), ALICE, 4))
        );
        vm.assertEq(usdc.balanceOf(ALICE), 1 + 2 + 4, "both calls paid what was free");
    }
}

/// @notice An operator with code, which calls twice in one transaction.
contract TwoCalls {
    function run(PayoutVault vault, PayoutVault.Item[] calldata one, PayoutVault.Item[] calldata two) external {
        vault.pay(one);
        vault.pay(two);
    }
}

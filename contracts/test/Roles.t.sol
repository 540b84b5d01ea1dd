// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {RefusingRecipient} from "./doubles/Recipients.sol";
import {AnsweringToken} from "./doubles/Tokens.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice Who may do what.
contract RolesTest is VaultTest {
    address private constant HEIR = address(0x4E12);

    function _refuse(bytes4 selector, address caller) private {
        vm.expectRevert(abi.encodeWithSelector(selector, caller));
    }

    // ---------------------------------------------------------------- the wrong caller

    /// @dev Every function of the owner, from everybody else.
    function test_only_the_owner_sets_anything() public {
        address[4] memory others = [OPERATOR, STRANGER, TREASURY, HEIR];
        vm.prank(OWNER);
        vault.offerOwnership(HEIR);
        for (uint256 i = 0; i < others.length; ++i) {
            vm.startPrank(others[i]);
            _refuse(PayoutVault.NotOwner.selector, others[i]);
            vault.setOperator(STRANGER, true);
            _refuse(PayoutVault.NotOwner.selector, others[i]);
            vault.setToken(address(usdc), true, type(uint104).max, CALL_GAS);
            _refuse(PayoutVault.NotOwner.selector, others[i]);
            vault.setPaused(true);
            _refuse(PayoutVault.NotOwner.selector, others[i]);
            vault.sweep(address(usdc), 1);
            _refuse(PayoutVault.NotOwner.selector, others[i]);
            vault.offerOwnership(STRANGER);
            vm.stopPrank();
        }
    }

    function test_only_operators_pay_and_void() public {
        PayoutVault.Item[] memory items = _batch(_item(FIRST, address(usdc), STRANGER, 1));
        address[4] memory others = [OWNER, STRANGER, TREASURY, address(vault)];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.startPrank(others[i]);
            _refuse(PayoutVault.NotOperator.selector, others[i]);
            vault.pay(items);
            _refuse(PayoutVault.NotOperator.selector, others[i]);
            vault.void(_numbers(FIRST));
            vm.stopPrank();
        }
        vm.assertTrue(!vault.isUsed(FIRST), "nothing happened");
    }

    function test_a_removed_operator_can_do_nothing_more() public {
        _pay(_batch(_item(FIRST, address(usdc), ALICE, 1)));
        vm.prank(OWNER);
        vault.setOperator(OPERATOR, false);
        vm.assertTrue(!vault.isOperator(OPERATOR), "removed");
        vm.startPrank(OPERATOR);
        _refuse(PayoutVault.NotOperator.selector, OPERATOR);
        vault.pay(_batch(_item(FIRST + 1, address(usdc), ALICE, 1)));
        _refuse(PayoutVault.NotOperator.selector, OPERATOR);
        vault.void(_numbers(FIRST + 1));
        vm.stopPrank();
    }

    function test_the_zero_address_is_no_operator() public {
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.ZeroAddress.selector));
        vm.prank(OWNER);
        vault.setOperator(address(0), true);
    }

    // ---------------------------------------------------------------- pause

    function test_while_paused_operators_can_do_nothing_and_the_owner_everything() public {
        vm.prank(OWNER);
        vault.setPaused(true);
        vm.startPrank(OPERATOR);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.IsPaused.selector));
        vault.pay(_batch(_item(FIRST, address(usdc), ALICE, 1)));
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.IsPaused.selector));
        vault.void(_numbers(FIRST));
        vm.stopPrank();
        vm.startPrank(OWNER);
        vault.setOperator(BOB, true);
        vault.setToken(address(usdc), true, 7, CALL_GAS);
        vault.sweep(address(usdc), FLOAT);
        vault.setPaused(false);
        vm.stopPrank();
        usdc.mint(address(vault), 7);
        _pay(_batch(_item(FIRST, address(usdc), ALICE, 7)));
        vm.assertEq(usdc.balanceOf(ALICE), 7, "paid after the pause");
    }

    // ---------------------------------------------------------------- ownership

    function test_ownership_moves_in_two_steps() public {
        vm.prank(OWNER);
        vault.offerOwnership(HEIR);
        vm.assertEq(vault.owner(), OWNER, "not yet");
        vm.prank(OWNER);
        vault.setPaused(true);
        vm.prank(HEIR);
        vault.acceptOwnership();
        vm.assertEq(vault.owner(), HEIR, "now");
        vm.assertEq(vault.candidate(), address(0), "the offer is used up");
        vm.startPrank(OWNER);
        _refuse(PayoutVault.NotOwner.selector, OWNER);
        vault.setPaused(false);
        vm.stopPrank();
        vm.prank(HEIR);
        vault.setPaused(false);
    }

    function test_only_the_candidate_accepts_and_only_once() public {
        vm.startPrank(STRANGER);
        _refuse(PayoutVault.NotCandidate.selector, STRANGER);
        vault.acceptOwnership();
        vm.stopPrank();
        vm.prank(OWNER);
        vault.offerOwnership(HEIR);
        vm.startPrank(STRANGER);
        _refuse(PayoutVault.NotCandidate.selector, STRANGER);
        vault.acceptOwnership();
        vm.stopPrank();
        vm.startPrank(HEIR);
        vault.acceptOwnership();
        _refuse(PayoutVault.NotCandidate.selector, HEIR);
        vault.acceptOwnership();
        vm.stopPrank();
    }

    function test_an_offer_can_be_taken_back() public {
        vm.startPrank(OWNER);
        vault.offerOwnership(HEIR);
        vault.offerOwnership(address(0));
        vm.stopPrank();
        vm.startPrank(HEIR);
        _refuse(PayoutVault.NotCandidate.selector, HEIR);
        vault.acceptOwnership();
        vm.stopPrank();
        vm.assertEq(vault.owner(), OWNER, "as before");
    }

    // ---------------------------------------------------------------- tokens

    function test_a_listing_needs_code_and_gas() public {
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.NoCode.selector));
        vault.setToken(STRANGER, true, CAP, CALL_GAS);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.CallGasTooLow.selector, 9_999));
        vault.setToken(address(bal), true, CAP, 9_999);
        vault.setToken(address(bal), true, CAP, 10_000);
        vault.setToken(STRANGER, false, 0, 0);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- sweep

    function test_a_sweep_goes_to_the_treasury() public {
        vm.startPrank(OWNER);
        vault.sweep(address(usdc), 5);
        vault.sweep(address(usdt), FLOAT);
        vault.sweep(NATIVE, 1 ether);
        vm.stopPrank();
        vm.assertEq(usdc.balanceOf(TREASURY), 5, "a part");
        vm.assertEq(usdt.balanceOf(TREASURY), FLOAT, "all of it");
        vm.assertEq(TREASURY.balance, 1 ether, "native coin");
        vm.assertEq(usdc.balanceOf(OWNER) + OWNER.balance, 0, "nothing to the owner");
        vm.assertEq(vault.remainingToday(address(usdc)), CAP, "a sweep is no payment");
    }

    function test_what_is_not_listed_can_be_swept() public {
        vm.startPrank(OWNER);
        vault.setToken(address(bal), false, 0, 0);
        vault.sweep(address(bal), FLOAT);
        vm.stopPrank();
        vm.assertEq(bal.balanceOf(TREASURY), FLOAT, "swept");
    }

    function _expectSweepFails(address token, uint256 amount, bytes32 reason) private {
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.SweepFailed.selector, reason));
        vm.prank(OWNER);
        vault.sweep(token, amount);
    }

    function test_a_sweep_that_moves_nothing_reverts() public {
        _expectSweepFails(NATIVE, NATIVE_FLOAT + 1, PayoutVault.Unfunded.selector);
        bytes memory words = abi.encodeWithSignature("Error(string)", "ERC20: transfer amount exceeds balance");
        _expectSweepFails(address(usdc), FLOAT + 1, _revertedWith(words));
        AnsweringToken token = new AnsweringToken();
        token.say(false, abi.encode(false));
        _expectSweepFails(address(token), 1, PayoutVault.BadReturn.selector);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.NoCode.selector));
        vm.prank(OWNER);
        vault.sweep(STRANGER, 1);
    }

    function test_a_treasury_that_refuses_keeps_the_float_in_the_vault() public {
        address treasury = address(new RefusingRecipient());
        vault = _deployVault(OWNER, treasury, new address[](0), new PayoutVault.Listing[](0));
        vm.deal(address(vault), 5);
        bytes memory words = abi.encodeWithSelector(RefusingRecipient.Refused.selector, 5, "");
        _expectSweepFails(NATIVE, 5, _revertedWith(words));
        vm.assertEq(address(vault).balance, 5, "kept");
    }

    // ---------------------------------------------------------------- the beginning

    function test_the_constructor_sets_what_it_was_given_and_no_more() public view {
        vm.assertEq(vault.owner(), OWNER, "owner");
        vm.assertEq(vault.candidate(), address(0), "candidate");
        vm.assertEq(vault.treasury(), TREASURY, "treasury");
        vm.assertTrue(vault.isOperator(OPERATOR) && !vault.isOperator(OWNER), "operators");
        vm.assertTrue(!vault.paused(), "not paused");
        (bool listed, uint16 day, uint24 callGas, uint104 dailyCap, uint104 spent) = vault.tokens(address(usdc));
        vm.assertTrue(listed && day == 0 && spent == 0, "fresh");
        vm.assertEq(callGas, CALL_GAS, "gas");
        vm.assertEq(dailyCap, CAP, "cap");
    }

    /// @dev As a call of its own, which is what `expectRevert` looks at.
    function deployVault(
        address owner,
        address treasury,
        address[] calldata operators,
        PayoutVault.Listing[] calldata listings
    ) external returns (PayoutVault) {
        return _deployVault(owner, treasury, operators, listings);
    }

    function test_an_owner_and_a_treasury_are_needed() public {
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.ZeroAddress.selector));
        this.deployVault(address(0), TREASURY, new address[](0), new PayoutVault.Listing[](0));
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.ZeroAddress.selector));
        this.deployVault(OWNER, address(0), new address[](0), new PayoutVault.Listing[](0));
    }

    function test_the_constructor_refuses_what_the_setters_refuse() public {
        address[] memory nobody = new address[](1);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.ZeroAddress.selector));
        this.deployVault(OWNER, TREASURY, nobody, new PayoutVault.Listing[](0));
        PayoutVault.Listing[] memory listings = new PayoutVault.Listing[](1);
        listings[0] = PayoutVault.Listing(STRANGER, CAP, CALL_GAS);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.NoCode.selector));
        this.deployVault(OWNER, TREASURY, new address[](0), listings);
        listings[0] = PayoutVault.Listing(address(usdc), CAP, 9_999);
        vm.expectRevert(abi.encodeWithSelector(PayoutVault.CallGasTooLow.selector, 9_999));
        this.deployVault(OWNER, TREASURY, new address[](0), listings);
    }

    function test_anybody_may_send_native_float_and_with_little_gas() public {
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        payable(address(vault)).transfer(1 ether);
        vm.assertEq(address(vault).balance, NATIVE_FLOAT + 1 ether, "received");
    }

    function test_no_function_is_unknown() public {
        vm.prank(OWNER);
        (bool known,) = address(vault).call(abi.encodeWithSignature("upgradeTo(address)", STRANGER));
        vm.assertTrue(!known, "no fallback");
    }
}

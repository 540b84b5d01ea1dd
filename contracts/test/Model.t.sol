// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {RefusingRecipient} from "./doubles/Recipients.sol";
import {AnsweringToken} from "./doubles/Tokens.sol";
import {VaultTest} from "./VaultTest.sol";

/// @notice The vault does what a plain model of it says, for arbitrary batches.
contract ModelTest is VaultTest {
    address private refusing;
    AnsweringToken private denying;
    AnsweringToken private answering;
    address private unlisted;
    address private codeless;

    // The model: no pages, no cache, one item after the other.
    mapping(uint256 number => bool) private used;
    mapping(address token => mapping(uint256 day => uint256)) private spent;
    mapping(address token => uint256) private float;
    mapping(address token => mapping(address account => uint256)) private received;

    function setUp() public override {
        super.setUp();
        vm.deal(address(vault), 12 ether);
        usdc.blacklist(CAROL);
        refusing = address(new RefusingRecipient());
        denying = new AnsweringToken();
        denying.say(false, abi.encode(false));
        unlisted = address(new AnsweringToken());
        codeless = address(new AnsweringToken());
        _list(address(denying), CAP, CALL_GAS);
        _list(codeless, CAP, CALL_GAS);
        vm.etch(codeless, "");
        (float[address(usdc)], float[address(usdt)], float[address(bal)]) = (FLOAT, FLOAT, FLOAT);
        float[NATIVE] = 12 ether;
        // More than the float, so that it can run out.
        _list(address(bal), 2 * uint104(FLOAT), CALL_GAS);
    }

    // ---------------------------------------------------------------- arbitrary items

    function _draw(uint256 seed, uint256 what, uint256 below) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what))) % below;
    }

    function _drawToken(uint256 seed) private view returns (address) {
        address[7] memory all =
            [address(usdc), address(usdt), address(bal), NATIVE, address(denying), unlisted, codeless];
        // The first four are half of all again.
        uint256 index = _draw(seed, 1, 14);
        return all[index < 7 ? index : index % 4];
    }

    function _drawRecipient(uint256 seed) private view returns (address) {
        address[7] memory all = [ALICE, BOB, CAROL, STRANGER, refusing, address(vault), address(0)];
        uint256 index = _draw(seed, 2, 14);
        return all[index < 7 ? index : index % 4];
    }

    function _drawAmount(uint256 seed, address token) private view returns (uint256) {
        (,,, uint256 cap,) = vault.tokens(token);
        uint256 size = _draw(seed, 3, 8);
        if (size < 4) return _draw(seed, 4, 1_000);
        if (size < 6) return _draw(seed, 4, cap / 2 + 2);
        if (size == 6) return _draw(seed, 4, cap + 2);
        return uint256(keccak256(abi.encode(seed, "any")));
    }

    function _drawNumber(uint256 seed) private pure returns (uint256) {
        // Two epochs, three pages each, and few enough for repetitions.
        return ((1 + _draw(seed, 5, 2)) << 64) + 250 + _draw(seed, 6, 40) + 256 * _draw(seed, 7, 2);
    }

    function _drawItem(uint256 seed) private view returns (PayoutVault.Item memory) {
        address token = _drawToken(seed);
        return PayoutVault.Item(
            _drawNumber(seed), keccak256(abi.encode(seed)), token, _drawRecipient(seed), _drawAmount(seed, token)
        );
    }

    // ---------------------------------------------------------------- what the model says

    /// @dev Zero where the item is to be paid; else the selector that begins the reason.
    function _refusal(PayoutVault.Item memory item) private view returns (bytes4) {
        if (item.token == unlisted) return PayoutVault.NotListed.selector;
        if (item.token == codeless) return PayoutVault.NoCode.selector;
        if (item.to == address(0) || item.to == address(vault)) return PayoutVault.BadRecipient.selector;
        (,,, uint256 cap,) = vault.tokens(item.token);
        if (item.amount > cap - spent[item.token][_today()]) return PayoutVault.OverCap.selector;
        if (item.token == address(denying)) return PayoutVault.BadReturn.selector;
        bool isFunded = item.amount <= float[item.token];
        if (item.token == NATIVE && !isFunded) return PayoutVault.Unfunded.selector;
        bool isRefused = item.token == NATIVE ? item.to == refusing : item.token == address(usdc) && item.to == CAROL;
        if (!isFunded || isRefused) return PayoutVault.CallReverted.selector;
        return 0;
    }

    function _expect(Outcome memory outcome, PayoutVault.Item memory item) private {
        vm.assertEq(outcome.number, item.number, "number");
        vm.assertEq(outcome.ref, item.ref, "ref");
        bytes4 refusal = _refusal(item);
        if (used[item.number]) {
            vm.assertEq(uint256(outcome.kind), uint256(Kind.Skipped), "skipped");
        } else if (refusal != 0) {
            vm.assertEq(uint256(outcome.kind), uint256(Kind.Failed), "failed");
            vm.assertEq(bytes32(bytes4(outcome.reason)), bytes32(refusal), "reason");
        } else {
            _expectPaid(outcome, item);
            used[item.number] = true;
            spent[item.token][_today()] += item.amount;
            float[item.token] -= item.amount;
            received[item.token][item.to] += item.amount;
        }
    }

    function _expectBalances() private view {
        address[4] memory all = [address(usdc), address(usdt), address(bal), NATIVE];
        address[5] memory accounts = [ALICE, BOB, CAROL, STRANGER, refusing];
        for (uint256 t = 0; t < 4; ++t) {
            vm.assertEq(_balance(all[t], address(vault)), float[all[t]], "float");
            vm.assertEq(_spent(all[t]), spent[all[t]][_today()], "spent");
            for (uint256 a = 0; a < 5; ++a) {
                vm.assertEq(_balance(all[t], accounts[a]), received[all[t]][accounts[a]], "received");
            }
        }
    }

    function _expectBits() private view {
        for (uint256 epoch = 1; epoch <= 2; ++epoch) {
            for (uint256 number = 250; number < 250 + 40 + 256; ++number) {
                vm.assertEq(vault.isUsed((epoch << 64) + number), used[(epoch << 64) + number], "bit");
            }
        }
    }

    // ---------------------------------------------------------------- rounds

    function _payRound(uint256 seed) private {
        PayoutVault.Item[] memory items = new PayoutVault.Item[](_draw(seed, 8, 30));
        for (uint256 i = 0; i < items.length; ++i) items[i] = _drawItem(uint256(keccak256(abi.encode(seed, "i", i))));
        Outcome[] memory outcomes = _pay(items);
        vm.assertEq(outcomes.length, items.length, "one event an item");
        for (uint256 i = 0; i < items.length; ++i) _expect(outcomes[i], items[i]);
    }

    function _voidRound(uint256 seed) private {
        uint256[] memory numbers = new uint256[](_draw(seed, 9, 6));
        for (uint256 i = 0; i < numbers.length; ++i) numbers[i] = _drawNumber(uint256(keccak256(abi.encode(seed, i))));
        Outcome[] memory outcomes = _void(numbers);
        vm.assertEq(outcomes.length, numbers.length, "one event a number");
        for (uint256 i = 0; i < numbers.length; ++i) {
            if (used[numbers[i]]) _expectSkipped(outcomes[i], numbers[i], 0);
            else _expectVoided(outcomes[i], numbers[i]);
            used[numbers[i]] = true;
        }
    }

    function test_the_vault_does_what_the_model_says(uint256 seed) public {
        for (uint256 round = 0; round < 4; ++round) {
            uint256 roundSeed = uint256(keccak256(abi.encode(seed, round)));
            if (_draw(roundSeed, 10, 3) == 0) vm.warp(vm.getBlockTimestamp() + _draw(roundSeed, 11, 30 hours));
            if (_draw(roundSeed, 12, 3) == 0) _voidRound(roundSeed);
            _payRound(roundSeed);
            _expectBalances();
        }
        _expectBits();
    }

    // ---------------------------------------------------------------- arbitrary answers

    function test_any_answer_of_a_token_is_judged_by_one_rule(bool reverts, bytes memory answer, uint8 form) public {
        // Random bytes alone would never be `true`.
        if (form % 4 == 0) answer = abi.encodePacked(uint256(1), answer);
        if (form % 4 == 1) answer = abi.encodePacked(uint256(0), answer);
        if (form % 4 == 2) answer = "";
        answering = new AnsweringToken();
        answering.say(reverts, answer);
        _list(address(answering), CAP, 1_000_000);
        PayoutVault.Item memory item = _item(FIRST, address(answering), ALICE, 5);
        Outcome memory outcome = _pay(_batch(item))[0];
        bool isTrue = answer.length >= 32 && uint256(bytes32(answer)) == 1;
        if (reverts) _expectFailed(outcome, item, _revertedWith(answer));
        else if (answer.length == 0 || isTrue) _expectPaid(outcome, item);
        else _expectFailed(outcome, item, PayoutVault.BadReturn.selector);
    }
}

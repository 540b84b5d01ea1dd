// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../../src/PayoutVault.sol";
import {VaultTest} from "../VaultTest.sol";
import {RefusingRecipient} from "./Recipients.sol";

/// @notice Operators and an owner who do arbitrary things to a vault, and the book that is kept of its events.
contract Players is VaultTest {
    /// @notice Numbers that anything was tried with.
    uint256[] public numbers;
    mapping(uint256 number => bool) private isKnown;
    mapping(uint256 number => uint256 times) public paidTimes;
    mapping(uint256 number => uint256 times) public voidedTimes;

    mapping(address token => uint256 units) public paid;
    mapping(address token => uint256 units) public swept;
    mapping(address token => uint256 units) public funded;
    mapping(address token => mapping(uint256 day => uint256 units)) public paidOnDay;
    mapping(address token => mapping(uint256 day => uint256 units)) public highestCapOnDay;

    uint256 public failures;
    uint256 public skips;

    address private refusing;

    function setUp() public override {
        super.setUp();
        refusing = address(new RefusingRecipient());
        usdc.blacklist(CAROL);
        for (uint256 t = 0; t < 4; ++t) {
            funded[tokenAt(t)] = _balance(tokenAt(t), address(vault));
            _noteCap(tokenAt(t));
        }
    }

    function tokenAt(uint256 index) public view returns (address) {
        return [address(usdc), address(usdt), address(bal), NATIVE][index % 4];
    }

    function countNumbers() external view returns (uint256) {
        return numbers.length;
    }

    // ---------------------------------------------------------------- what they do

    function pay(uint256 seed) external {
        PayoutVault.Item[] memory items = new PayoutVault.Item[](_draw(seed, 0, 12));
        for (uint256 i = 0; i < items.length; ++i) {
            uint256 own = uint256(keccak256(abi.encode(seed, "item", i)));
            address token = tokenAt(_draw(own, 1, 4));
            (,,, uint256 cap,) = vault.tokens(token);
            uint256 amount = _draw(own, 2, cap / 3 + 2);
            items[i] = PayoutVault.Item(_number(own), bytes32(own), token, _recipient(own), amount);
        }
        _note(_pay(items));
    }

    function void(uint256 seed) external {
        uint256[] memory voided = new uint256[](_draw(seed, 0, 4));
        for (uint256 i = 0; i < voided.length; ++i) voided[i] = _number(uint256(keccak256(abi.encode(seed, i))));
        _note(_void(voided));
    }

    function replayAll() external {
        PayoutVault.Item[] memory items = new PayoutVault.Item[](numbers.length < 40 ? numbers.length : 40);
        for (uint256 i = 0; i < items.length; ++i) items[i] = _item(numbers[i], address(usdt), ALICE, 1);
        _note(_pay(items));
    }

    function wait(uint256 hours_) external {
        vm.warp(vm.getBlockTimestamp() + (hours_ % 20) * 1 hours);
        for (uint256 t = 0; t < 4; ++t) _noteCap(tokenAt(t));
    }

    function changeCap(uint256 index, uint104 cap, bool listed) external {
        address token = tokenAt(index);
        // Not so high that a sum of random amounts would leave the float.
        vm.prank(OWNER);
        vault.setToken(token, listed, cap % (2 * CAP), CALL_GAS);
        _noteCap(token);
    }

    function sweep(uint256 index, uint256 part) external {
        address token = tokenAt(index);
        uint256 amount = _balance(token, address(vault)) / (2 + part % 10);
        vm.prank(OWNER);
        vault.sweep(token, amount);
        swept[token] += amount;
    }

    function fund(uint256 amount) external {
        amount %= 1 ether;
        vm.deal(address(this), amount);
        (bool received,) = address(vault).call{value: amount}("");
        vm.assertTrue(received, "funded");
        funded[NATIVE] += amount;
        usdc.mint(address(vault), amount);
        funded[address(usdc)] += amount;
    }

    // ---------------------------------------------------------------- the book

    function _note(Outcome[] memory outcomes) private {
        uint256 day = _today();
        for (uint256 i = 0; i < outcomes.length; ++i) {
            Outcome memory outcome = outcomes[i];
            if (!isKnown[outcome.number]) numbers.push(outcome.number);
            isKnown[outcome.number] = true;
            if (outcome.kind == Kind.Voided) ++voidedTimes[outcome.number];
            if (outcome.kind == Kind.Failed) ++failures;
            if (outcome.kind == Kind.Skipped) ++skips;
            if (outcome.kind == Kind.Paid) {
                ++paidTimes[outcome.number];
                paid[outcome.token] += outcome.amount;
                paidOnDay[outcome.token][day] += outcome.amount;
            }
        }
    }

    function _noteCap(address token) private {
        (bool listed,,, uint256 cap,) = vault.tokens(token);
        uint256 day = _today();
        if (listed && cap > highestCapOnDay[token][day]) highestCapOnDay[token][day] = cap;
    }

    // ---------------------------------------------------------------- arbitrary things

    function _draw(uint256 seed, uint256 what, uint256 below) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what))) % below;
    }

    /// @dev Two epochs, two pages each; few enough for repetitions.
    function _number(uint256 seed) private pure returns (uint256) {
        return ((1 + _draw(seed, 3, 2)) << 64) + 200 + _draw(seed, 4, 120);
    }

    function _recipient(uint256 seed) private view returns (address) {
        return [ALICE, BOB, CAROL, STRANGER, refusing, TREASURY, address(vault), address(0)][_draw(seed, 5, 8)];
    }

    // ---------------------------------------------------------------- for the invariants

    function theVault() external view returns (PayoutVault) {
        return vault;
    }

    function balanceOfVault(address token) external view returns (uint256) {
        return _balance(token, address(vault));
    }
}

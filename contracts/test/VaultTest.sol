// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PayoutVault} from "../src/PayoutVault.sol";
import {TestBal} from "../src/TestBal.sol";
import {TestUsdc} from "../src/TestUsdc.sol";
import {TestUsdt} from "../src/TestUsdt.sol";
import {Vm} from "./Vm.sol";

/// @notice A vault with float in three tokens and native coin, and the words to talk about what it does.
abstract contract VaultTest {
    enum Kind {
        Paid,
        Failed,
        Skipped,
        Voided
    }

    /// @dev One event of the vault; what an event does not carry is zero.
    struct Outcome {
        Kind kind;
        uint256 number;
        bytes32 ref;
        address token;
        address to;
        uint256 amount;
        bytes32 reason;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    address internal constant NATIVE = address(0);
    address internal constant OWNER = address(0xA11CE);
    address internal constant TREASURY = address(0x7EA5);
    address internal constant OPERATOR = address(0x0BE7A);
    address internal constant STRANGER = address(0x5724A);
    address internal constant ALICE = address(0xA1);
    address internal constant BOB = address(0xB0B);
    address internal constant CAROL = address(0xCA401);

    uint104 internal constant CAP = 1_000e6;
    uint104 internal constant NATIVE_CAP = 10 ether;
    uint24 internal constant CALL_GAS = 150_000;
    uint24 internal constant NATIVE_GAS = 50_000;
    uint256 internal constant FLOAT = 1_000_000e6;
    uint256 internal constant NATIVE_FLOAT = 100 ether;

    /// @dev 10 a.m. of a day in UTC.
    uint256 internal constant MORNING = 20_500 days + 10 hours;

    /// @dev The first number of the first epoch.
    uint256 internal constant FIRST = (1 << 64) + 1;

    TestUsdc internal usdc;
    TestUsdt internal usdt;
    TestBal internal bal;
    PayoutVault internal vault;

    /// @dev What the last `_pay` or `_void` used, as a transaction of its own.
    uint256 internal gasUsed;

    function setUp() public virtual {
        vm.warp(MORNING);
        usdc = TestUsdc(_deployArtefact("TestUsdc", ""));
        usdt = TestUsdt(_deployArtefact("TestUsdt", ""));
        bal = TestBal(_deployArtefact("TestBal", ""));
        address[] memory operators = new address[](1);
        operators[0] = OPERATOR;
        PayoutVault.Listing[] memory listings = new PayoutVault.Listing[](4);
        listings[0] = PayoutVault.Listing(address(usdc), CAP, CALL_GAS);
        listings[1] = PayoutVault.Listing(address(usdt), CAP, CALL_GAS);
        listings[2] = PayoutVault.Listing(address(bal), CAP, CALL_GAS);
        listings[3] = PayoutVault.Listing(NATIVE, NATIVE_CAP, NATIVE_GAS);
        vault = _deployVault(OWNER, TREASURY, operators, listings);
        usdc.mint(address(vault), FLOAT);
        usdt.mint(address(vault), FLOAT);
        bal.mint(address(vault), FLOAT);
        vm.deal(address(vault), NATIVE_FLOAT);
    }

    // ---------------------------------------------------------------- deploying

    /// @dev The contract as it is in artifacts/, with its constructor's arguments. Reverts as the constructor does.
    function _deployArtefact(string memory name, bytes memory arguments) internal returns (address payable deployed) {
        string memory artefact = vm.readFile(string.concat("artifacts/", name, ".json"));
        bytes memory code = abi.encodePacked(vm.parseJsonBytes(artefact, ".bytecode"), arguments);
        assembly ("memory-safe") {
            deployed := create(0, add(code, 32), mload(code))
            if iszero(deployed) {
                let words := mload(0x40)
                returndatacopy(words, 0, returndatasize())
                revert(words, returndatasize())
            }
        }
    }

    function _deployVault(
        address owner,
        address treasury,
        address[] memory operators,
        PayoutVault.Listing[] memory listings
    ) internal returns (PayoutVault) {
        return PayoutVault(_deployArtefact("PayoutVault", abi.encode(owner, treasury, operators, listings)));
    }

    // ---------------------------------------------------------------- doing

    function _item(uint256 number, address token, address to, uint256 amount)
        internal
        pure
        returns (PayoutVault.Item memory)
    {
        return PayoutVault.Item(number, keccak256(abi.encode("ref", number)), token, to, amount);
    }

    function _batch(PayoutVault.Item memory one) internal pure returns (PayoutVault.Item[] memory items) {
        items = new PayoutVault.Item[](1);
        items[0] = one;
    }

    function _batch(PayoutVault.Item memory one, PayoutVault.Item memory two)
        internal
        pure
        returns (PayoutVault.Item[] memory items)
    {
        items = new PayoutVault.Item[](2);
        (items[0], items[1]) = (one, two);
    }

    function _batch(PayoutVault.Item memory one, PayoutVault.Item memory two, PayoutVault.Item memory three)
        internal
        pure
        returns (PayoutVault.Item[] memory items)
    {
        items = new PayoutVault.Item[](3);
        (items[0], items[1], items[2]) = (one, two, three);
    }

    /// @dev `odd` between two payments of USDC that are to go through whatever becomes of it.
    function _surround(PayoutVault.Item memory odd) internal view returns (PayoutVault.Item[] memory) {
        return _batch(_item(FIRST, address(usdc), ALICE, 1e6), odd, _item(FIRST + 2, address(usdc), BOB, 2e6));
    }

    function _numbers(uint256 number) internal pure returns (uint256[] memory numbers) {
        numbers = new uint256[](1);
        numbers[0] = number;
    }

    function _pay(PayoutVault.Item[] memory items) internal returns (Outcome[] memory) {
        vm.recordLogs();
        vm.prank(OPERATOR);
        vault.pay(items);
        gasUsed = vm.lastCallGas().gasTotalUsed;
        return _outcomes();
    }

    function _void(uint256[] memory numbers) internal returns (Outcome[] memory) {
        vm.recordLogs();
        vm.prank(OPERATOR);
        vault.void(numbers);
        gasUsed = vm.lastCallGas().gasTotalUsed;
        return _outcomes();
    }

    function _list(address token, uint104 dailyCap, uint24 callGas) internal {
        vm.prank(OWNER);
        vault.setToken(token, true, dailyCap, callGas);
    }

    // ---------------------------------------------------------------- reading

    /// @dev The vault's events about items since the logs were last read.
    function _outcomes() internal returns (Outcome[] memory outcomes) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        outcomes = new Outcome[](logs.length);
        uint256 count = 0;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == address(vault) && _read(logs[i], outcomes[count])) ++count;
        }
        assembly ("memory-safe") {
            mstore(outcomes, count)
        }
    }

    /// @dev False where the event is not about an item.
    function _read(Vm.Log memory log, Outcome memory outcome) private pure returns (bool) {
        bytes32 topic = log.topics[0];
        if (topic == PayoutVault.Paid.selector) {
            outcome.kind = Kind.Paid;
            (outcome.token, outcome.to, outcome.amount) = abi.decode(log.data, (address, address, uint256));
        } else if (topic == PayoutVault.Failed.selector) {
            outcome.kind = Kind.Failed;
            outcome.reason = abi.decode(log.data, (bytes32));
        } else if (topic == PayoutVault.Skipped.selector) {
            outcome.kind = Kind.Skipped;
        } else if (topic == PayoutVault.Voided.selector) {
            outcome.kind = Kind.Voided;
        } else {
            return false;
        }
        outcome.number = uint256(log.topics[1]);
        if (outcome.kind != Kind.Voided) outcome.ref = log.topics[2];
        return true;
    }

    function _spent(address token) internal view returns (uint256) {
        (,,, uint256 cap,) = vault.tokens(token);
        return cap - vault.remainingToday(token);
    }

    /// @dev Not by `block.timestamp`, which a compiler may take for constant within a call, and `warp` changes it.
    function _today() internal view returns (uint256) {
        return vm.getBlockTimestamp() / 1 days;
    }

    function _balance(address token, address account) internal view returns (uint256) {
        return token == NATIVE ? account.balance : TestBal(token).balanceOf(account);
    }

    // ---------------------------------------------------------------- expecting

    function _expectPaid(Outcome memory outcome, PayoutVault.Item memory item) internal view {
        vm.assertEq(uint256(outcome.kind), uint256(Kind.Paid), "kind: paid");
        vm.assertEq(outcome.number, item.number, "number");
        vm.assertEq(outcome.ref, item.ref, "ref");
        vm.assertEq(outcome.token, item.token, "token");
        vm.assertEq(outcome.to, item.to, "to");
        vm.assertEq(outcome.amount, item.amount, "amount");
        vm.assertTrue(vault.isUsed(item.number), "a paid number is used");
    }

    /// @dev `number` must not be in the batch otherwise.
    function _expectFailed(Outcome memory outcome, PayoutVault.Item memory item, bytes32 reason) internal view {
        vm.assertEq(uint256(outcome.kind), uint256(Kind.Failed), "kind: failed");
        vm.assertEq(outcome.number, item.number, "number");
        vm.assertEq(outcome.ref, item.ref, "ref");
        vm.assertEq(outcome.reason, reason, "reason");
        vm.assertTrue(!vault.isUsed(item.number), "a failed number is free");
    }

    function _expectSkipped(Outcome memory outcome, uint256 number, bytes32 ref) internal view {
        vm.assertEq(uint256(outcome.kind), uint256(Kind.Skipped), "kind: skipped");
        vm.assertEq(outcome.number, number, "number");
        vm.assertEq(outcome.ref, ref, "ref");
        vm.assertTrue(vault.isUsed(number), "a skipped number was used");
    }

    function _expectVoided(Outcome memory outcome, uint256 number) internal view {
        vm.assertEq(uint256(outcome.kind), uint256(Kind.Voided), "kind: voided");
        vm.assertEq(outcome.number, number, "number");
        vm.assertTrue(vault.isUsed(number), "a voided number is used");
    }

    /// @dev Pays `odd` between two others: these are paid, `odd` fails for this reason and costs no cap and no float.
    function _expectIsolated(PayoutVault.Item memory odd, bytes32 reason) internal {
        PayoutVault.Item[] memory items = _surround(odd);
        uint256 spent = odd.token == address(usdc) ? 0 : _spent(odd.token);
        uint256 float = odd.token.code.length == 0 ? address(vault).balance : _balance(odd.token, address(vault));
        Outcome[] memory outcomes = _pay(items);
        vm.assertEq(outcomes.length, 3, "one event an item");
        _expectPaid(outcomes[0], items[0]);
        _expectFailed(outcomes[1], items[1], reason);
        _expectPaid(outcomes[2], items[2]);
        vm.assertEq(usdc.balanceOf(ALICE), 1e6, "the item before is paid");
        vm.assertEq(usdc.balanceOf(BOB), 2e6, "the item after is paid");
        uint256 others = odd.token == address(usdc) ? 3e6 : 0;
        vm.assertEq(_spent(odd.token), spent + others, "the cap is unspent");
        uint256 left = odd.token.code.length == 0 ? address(vault).balance : _balance(odd.token, address(vault));
        vm.assertEq(left, float - others, "the float is untouched");
    }

    /// @dev The reason of an item whose callee reverted with these bytes.
    function _revertedWith(bytes memory answer) internal pure returns (bytes32) {
        return bytes32(PayoutVault.CallReverted.selector) | (bytes32(answer) >> 32);
    }
}

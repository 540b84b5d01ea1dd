// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../../src/TestToken.sol";
import {Reentry} from "./Reentry.sol";

/// @notice Moves nothing and answers every transfer with the bytes that it was told.
contract AnsweringToken {
    bool internal reverts;
    bytes internal answer;

    function say(bool reverts_, bytes calldata answer_) external {
        (reverts, answer) = (reverts_, answer_);
    }

    function balanceOf(address) external pure returns (uint256) {
        return 1_000_000e6;
    }

    fallback() external {
        bytes memory words = answer;
        if (reverts) {
            assembly ("memory-safe") {
                revert(add(words, 32), mload(words))
            }
        }
        assembly ("memory-safe") {
            return(add(words, 32), mload(words))
        }
    }
}

/// @notice Answers with as many bytes as its gas buys: zeros, or what reverts.
contract BombToken {
    bool internal immutable reverts;

    constructor(bool reverts_) {
        reverts = reverts_;
    }

    function balanceOf(address) external pure returns (uint256) {
        return 1_000_000e6;
    }

    fallback() external {
        // 200,000 bytes of memory cost about 95,000 gas.
        if (reverts) {
            assembly {
                revert(0, 200000)
            }
        }
        assembly {
            return(0, 200000)
        }
    }
}

/// @notice A transfer runs until its gas is used up.
contract BurningToken {
    function balanceOf(address) external pure returns (uint256) {
        return 1_000_000e6;
    }

    fallback() external {
        while (true) {}
    }
}

/// @notice Keeps one hundredth of what it moves.
contract FeeToken is TestToken {
    address internal constant COLLECTOR = address(0xFEE);

    function transfer(address to, uint256 units) external returns (bool) {
        _move(msg.sender, COLLECTOR, units / 100);
        _move(msg.sender, to, units - units / 100);
        return true;
    }
}

/// @notice Calls the vault from inside a transfer, notes how that ended, then moves the units.
contract ReenteringToken is TestToken, Reentry {
    function transfer(address to, uint256 units) external returns (bool) {
        _reenter();
        _move(msg.sender, to, units);
        return true;
    }
}

/// @notice Swallows its own lack of gas: where its inner work does not get the gas it needs, it moves nothing and
/// still answers.
contract SwallowingToken {
    mapping(address holder => uint256 units) public balanceOf;
    mapping(uint256 slot => uint256 value) internal work;

    function mint(address to, uint256 units) external {
        balanceOf[to] += units;
    }

    function transfer(address to, uint256 units) external returns (bool) {
        try this.move(msg.sender, to, units) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev Burns a fixed amount of gas before it moves anything.
    function move(address from, address to, uint256 units) external {
        uint256 start = gasleft();
        uint256 sum = 0;
        while (start - gasleft() < 90_000) sum += block.timestamp;
        work[0] = sum;
        balanceOf[from] -= units;
        balanceOf[to] += units;
    }
}

/// @notice As dear as USDC: a proxy that asks for its administrator and its implementation, and behind it a pause
/// flag and a word for each holder with the balance and the bar.
contract ProxiedToken {
    address internal administrator = address(0xAD);
    address internal implementation;
    bool internal paused;
    mapping(address holder => uint256 packed) internal balanceAndBar;

    constructor() {
        implementation = address(new ProxiedTokenCode());
    }

    fallback() external {
        require(msg.sender != administrator, "administrator");
        address code = implementation;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let succeeded := delegatecall(gas(), code, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch succeeded
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}

/// @notice The code of `ProxiedToken`; its storage has the same shape.
contract ProxiedTokenCode {
    address internal administrator;
    address internal implementation;
    bool internal paused;
    mapping(address holder => uint256 packed) internal balanceAndBar;

    event Transfer(address indexed from, address indexed to, uint256 value);

    modifier unbarred(address holder) {
        require(balanceAndBar[holder] >> 255 == 0, "barred");
        _;
    }

    function mint(address to, uint256 units) external {
        balanceAndBar[to] += units;
    }

    function balanceOf(address holder) external view returns (uint256) {
        return balanceAndBar[holder] & (type(uint256).max >> 1);
    }

    function transfer(address to, uint256 units) external unbarred(msg.sender) unbarred(to) returns (bool) {
        require(!paused, "paused");
        require(to != address(0), "to zero");
        require(balanceAndBar[msg.sender] >= units, "balance");
        balanceAndBar[msg.sender] -= units;
        balanceAndBar[to] += units;
        emit Transfer(msg.sender, to, units);
        return true;
    }
}

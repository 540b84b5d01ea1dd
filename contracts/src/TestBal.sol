// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./TestToken.sol";

/// @title A plain ERC-20 token with 18 decimals
/// @notice Returns true or reverts, and has no other habits.
contract TestBal is TestToken {
    string public constant name = "Test Balancer";
    string public constant symbol = "BAL";
    uint8 public constant decimals = 18;

    /// @notice Moves `units` of the caller to `to`.
    function transfer(address to, uint256 units) external returns (bool) {
        _move(msg.sender, to, units);
        return true;
    }

    /// @notice Moves `units` of `from` to `to` within the caller's allowance.
    function transferFrom(address from, address to, uint256 units) external returns (bool) {
        _spend(from, msg.sender, units);
        _move(from, to, units);
        return true;
    }

    /// @notice Lets `spender` move up to `units` of the caller.
    function approve(address spender, uint256 units) external returns (bool) {
        _allow(msg.sender, spender, units);
        return true;
    }
}

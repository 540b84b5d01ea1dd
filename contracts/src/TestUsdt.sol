// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./TestToken.sol";

/// @title A token with the habits of USDT
/// @notice 6 decimals; transfer, transferFrom and approve return nothing, so a caller that insists on a
/// returned `true` fails; an allowance has to be set to zero before it is changed.
contract TestUsdt is TestToken {
    string public constant name = "Test Tether USD";
    string public constant symbol = "USDT";
    uint8 public constant decimals = 6;

    /// @notice Moves `units` of the caller to `to`.
    function transfer(address to, uint256 units) external {
        _move(msg.sender, to, units);
    }

    /// @notice Moves `units` of `from` to `to` within the caller's allowance.
    function transferFrom(address from, address to, uint256 units) external {
        _spend(from, msg.sender, units);
        _move(from, to, units);
    }

    /// @notice Lets `spender` move up to `units` of the caller; from zero, or to zero.
    function approve(address spender, uint256 units) external {
        // As the original does it: no reason is given.
        require(units == 0 || allowance[msg.sender][spender] == 0);
        _allow(msg.sender, spender, units);
    }
}

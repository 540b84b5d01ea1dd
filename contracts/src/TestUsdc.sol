// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./TestToken.sol";

/// @title A token with the habits of USDC
/// @notice 6 decimals, returns true or reverts, can be paused as a whole, and refuses listed accounts as
/// sender, recipient and spender. Function names and reasons are those of the original.
contract TestUsdc is TestToken {
    string public constant name = "Test USD Coin";
    string public constant symbol = "USDC";
    uint8 public constant decimals = 6;

    /// @notice While true, nothing moves.
    bool public paused;

    /// @notice Accounts that may neither send, receive nor spend.
    mapping(address account => bool listed) public isBlacklisted;

    event Pause();
    event Unpause();
    event Blacklisted(address indexed account);
    event UnBlacklisted(address indexed account);

    modifier whenNotPaused() {
        require(!paused, "Pausable: paused");
        _;
    }

    modifier notBlacklisted(address account) {
        require(!isBlacklisted[account], "Blacklistable: account is blacklisted");
        _;
    }

    /// @inheritdoc TestToken
    function mint(address to, uint256 units) public override whenNotPaused notBlacklisted(to) {
        super.mint(to, units);
    }

    /// @notice Moves `units` of the caller to `to`.
    function transfer(address to, uint256 units)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(to)
        returns (bool)
    {
        _move(msg.sender, to, units);
        return true;
    }

    /// @notice Moves `units` of `from` to `to` within the caller's allowance.
    function transferFrom(address from, address to, uint256 units)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(from)
        notBlacklisted(to)
        returns (bool)
    {
        _spend(from, msg.sender, units);
        _move(from, to, units);
        return true;
    }

    /// @notice Lets `spender` move up to `units` of the caller.
    function approve(address spender, uint256 units)
        external
        whenNotPaused
        notBlacklisted(msg.sender)
        notBlacklisted(spender)
        returns (bool)
    {
        _allow(msg.sender, spender, units);
        return true;
    }

    /// @notice Stops all movement.
    function pause() external onlyOwner {
        paused = true;
        emit Pause();
    }

    /// @notice Lets units move again.
    function unpause() external onlyOwner {
        paused = false;
        emit Unpause();
    }

    /// @notice Bars `account` from sending, receiving and spending.
    function blacklist(address account) external onlyOwner {
        isBlacklisted[account] = true;
        emit Blacklisted(account);
    }

    /// @notice Takes `account` off the list.
    function unBlacklist(address account) external onlyOwner {
        isBlacklisted[account] = false;
        emit UnBlacklisted(account);
    }
}

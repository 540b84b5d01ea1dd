// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The ledger under the three test tokens
/// @notice Balances, allowances and an owner who may mint. What transfer, transferFrom and approve check and
/// return is left to each token, because that is where real tokens differ.
/// @dev For development chains and test networks only: the owner mints without limit.
abstract contract TestToken {
    /// @notice Whoever deployed the token: may mint, and use the token's other powers.
    /// @dev In storage, not immutable: so the code on chain is the artefact's, whoever deployed it.
    address public owner;

    /// @notice The sum of all balances, in atomic units.
    uint256 public totalSupply;

    /// @notice The balance of each holder, in atomic units.
    mapping(address holder => uint256 units) public balanceOf;

    /// @notice What a holder lets a spender move, in atomic units.
    mapping(address holder => mapping(address spender => uint256 units)) public allowance;

    /// @notice Units moved. A mint comes from the zero address.
    event Transfer(address indexed from, address indexed to, uint256 value);

    /// @notice A holder set what a spender may move.
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor() {
        owner = msg.sender;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "TestToken: caller is not the owner");
        _;
    }

    /// @notice Creates `units` for `to`.
    function mint(address to, uint256 units) public virtual onlyOwner {
        require(to != address(0), "TestToken: mint to the zero address");
        totalSupply += units;
        unchecked {
            // No balance exceeds the total, which was checked above.
            balanceOf[to] += units;
        }
        emit Transfer(address(0), to, units);
    }

    function _move(address from, address to, uint256 units) internal {
        require(to != address(0), "ERC20: transfer to the zero address");
        uint256 balance = balanceOf[from];
        require(balance >= units, "ERC20: transfer amount exceeds balance");
        unchecked {
            // The first by the check above, the second because no balance exceeds the total.
            balanceOf[from] = balance - units;
            balanceOf[to] += units;
        }
        emit Transfer(from, to, units);
    }

    function _spend(address from, address spender, uint256 units) internal {
        uint256 allowed = allowance[from][spender];
        // The largest number stands for an allowance without end, which is not used up.
        if (allowed != type(uint256).max) {
            require(allowed >= units, "ERC20: transfer amount exceeds allowance");
            unchecked {
                allowance[from][spender] = allowed - units;
            }
        }
    }

    function _allow(address from, address spender, uint256 units) internal {
        allowance[from][spender] = units;
        emit Approval(from, spender, units);
    }
}

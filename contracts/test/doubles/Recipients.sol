// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Reentry} from "./Reentry.sol";

/// @notice Takes native coin, and works for it.
contract WorkingRecipient {
    uint256 public received;

    receive() external payable {
        received += msg.value;
    }
}

/// @notice Refuses native coin, with these words.
contract RefusingRecipient {
    error Refused(uint256 amount, string words);

    receive() external payable {
        revert Refused(msg.value, "not today, and not in fewer words than fit into two words of memory");
    }
}

/// @notice Runs until its gas is used up.
contract BurningRecipient {
    receive() external payable {
        while (true) {}
    }
}

/// @notice Answers a payment with as many bytes as its gas buys.
contract BombRecipient {
    bool internal immutable reverts;

    constructor(bool reverts_) {
        reverts = reverts_;
    }

    receive() external payable {
        // 80,000 bytes of memory cost about 20,000 gas.
        if (reverts) {
            assembly {
                revert(0, 80000)
            }
        }
        assembly {
            return(0, 80000)
        }
    }
}

/// @notice Calls back while it is being paid.
contract ReenteringRecipient is Reentry {
    receive() external payable {
        _reenter();
    }
}

/// @notice Accepts only where it gets all the gas that `NATIVE_GAS` and the stipend of a value promise.
contract HungryRecipient {
    uint256 internal constant APPETITE = 52_000;

    receive() external payable {
        require(gasleft() >= APPETITE, "hungry");
    }
}

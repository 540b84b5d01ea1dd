// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Calls back while it is being paid, and notes how that ended.
abstract contract Reentry {
    address internal target;
    bytes internal input;

    bool public wasCalled;
    bool public entered;
    bytes4 public refusal;

    /// @notice What is called back, and with what.
    function aim(address target_, bytes calldata input_) external {
        (target, input) = (target_, input_);
    }

    function _reenter() internal {
        bytes memory answer;
        (entered, answer) = target.call(input);
        refusal = bytes4(answer);
        wasCalled = true;
    }
}

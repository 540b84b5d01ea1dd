// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A float of tokens and native coin that pays every payout number at most once
/// @notice A cold owner decides which tokens leave, how much a day, and by whom; hot operators pay. An item that
/// cannot be paid fails alone: its number stays free, its day's cap unspent, and the items around it are paid.
/// @dev Immutable: no proxy, no delegatecall, no allowance is ever given. What an operator can do at worst is to pay
/// listed tokens to anybody up to the day's caps, and to void numbers. The owner can take the float to `treasury`
/// and nowhere else. Nobody can free a number that is used.
contract PayoutVault {
    /// @notice One payment.
    /// @param number What is paid at most once. The engine's are `epoch << 64 | sequence`; neighbours are cheap.
    /// @param ref What was promised, as the engine hashes it. Only repeated in the event.
    /// @param token The ERC-20 contract, or zero for the native coin.
    /// @param to Who is paid; neither zero nor this contract.
    /// @param amount In atomic units.
    struct Item {
        uint256 number;
        bytes32 ref;
        address token;
        address to;
        uint256 amount;
    }

    /// @notice What the owner set for a token, and what left of it today. One storage slot.
    /// @param listed Whether it is paid at all.
    /// @param day The day of `spent`, counted from 1970 in UTC; older than today means that nothing is spent yet.
    /// @param callGas The gas that one transfer may use: all of it is given to each transfer, never less.
    /// @param dailyCap What may leave in one UTC day, in atomic units.
    /// @param spent What left on `day`.
    struct Token {
        bool listed;
        uint16 day;
        uint24 callGas;
        uint104 dailyCap;
        uint104 spent;
    }

    /// @notice One token of the list, as the constructor takes it; see `setToken`.
    struct Listing {
        address token;
        uint104 dailyCap;
        uint24 callGas;
    }

    /// @dev The bitmap word in hand: 256 neighbouring numbers.
    struct Page {
        uint256 index;
        uint256 bits;
        uint256 storedBits;
    }

    /// @dev The token in hand. `gasNeeded` is what must be left before a transfer of it is tried.
    struct Budget {
        bool open;
        address token;
        bytes32 refusal;
        uint256 callGas;
        uint256 gasNeeded;
        uint256 remaining;
        uint256 storedRemaining;
    }

    /// @notice An item was paid: the token's `transfer` succeeded, or the native call did. What the recipient
    /// received is the token's affair (some take a fee): its own Transfer event says it.
    event Paid(uint256 indexed number, bytes32 indexed ref, address token, address to, uint256 amount);

    /// @notice An item was not paid; its number is as free as before.
    /// @param reason The first four bytes are the selector of the error of this contract that says why. After
    /// `CallReverted` come the first 28 bytes of what the token or the recipient reverted with; they are its words.
    event Failed(uint256 indexed number, bytes32 indexed ref, bytes32 reason);

    /// @notice The number was used before, by a payment or a void, and nothing was done. This says nothing about what
    /// it was used for. `ref` is zero where it was to be voided.
    event Skipped(uint256 indexed number, bytes32 indexed ref);

    /// @notice The number was free, and is used from now on without a payment.
    event Voided(uint256 indexed number);

    event OperatorSet(address indexed operator, bool allowed);
    event TokenSet(address indexed token, bool listed, uint104 dailyCap, uint24 callGas);
    event PausedSet(bool paused);
    event Swept(address indexed token, uint256 amount);
    event OwnershipOffered(address indexed owner, address indexed candidate);
    event OwnershipTransferred(address indexed from, address indexed to);

    // Why a call is refused.
    error NotOwner(address caller);
    error NotCandidate(address caller);
    error NotOperator(address caller);
    error IsPaused();
    error Busy();
    error ZeroAddress();
    error CallGasTooLow(uint24 callGas);
    error OutOfGas();
    error SweepFailed(bytes32 reason);

    // Why an item failed: the selector begins the `reason` of its `Failed`. `NoCode` also refuses a listing.
    error NotListed();
    error NoCode();
    error BadRecipient();
    error OverCap();
    error Unfunded();
    error BadReturn();
    error CallReverted();

    /// @notice The least gas that a listing may give a transfer.
    uint24 public constant MIN_CALL_GAS = 10_000;

    /// @dev What the call itself costs at most before the callee runs: a cold account, a value, a new account
    /// (36,600), and the few instructions between the check and the call.
    uint256 private constant CALL_COST = 40_000;

    /// @dev `transfer(address,uint256)` of ERC-20.
    bytes4 private constant TRANSFER = 0xa9059cbb;

    /// @dev No number has this page: `number >> 8` has 248 bits.
    uint256 private constant NO_PAGE = type(uint256).max;

    /// @notice Where `sweep` sends to.
    address public immutable treasury;

    /// @notice Who sets everything below.
    address public owner;

    /// @notice While true, operators can do nothing.
    bool public paused;

    /// @notice Who may accept the ownership; zero while none is offered.
    address public candidate;

    /// @notice Who may pay and void.
    mapping(address account => bool allowed) public isOperator;

    /// @notice The list of tokens; the native coin is at zero.
    mapping(address token => Token setting) public tokens;

    /// @notice The used numbers, 256 a word: number `n` is bit `n & 255` of word `n >> 8`.
    mapping(uint256 index => uint256 bits) public usedNumbers;

    /// @dev Set while a function that writes is running.
    bool private transient busy;

    modifier onlyOwner() {
        require(msg.sender == owner, NotOwner(msg.sender));
        _;
    }

    modifier onlyOperator() {
        require(isOperator[msg.sender], NotOperator(msg.sender));
        require(!paused, IsPaused());
        _;
    }

    /// @dev Everything that writes shares one lock: so what is held in memory over a call is never stale.
    modifier exclusive() {
        require(!busy, Busy());
        busy = true;
        _;
        busy = false;
    }

    /// @param owner_ The cold owner; a multisig where there is one.
    /// @param treasury_ Where `sweep` sends to, for ever.
    /// @param operators The first operators; may be empty.
    /// @param listings The first tokens; may be empty.
    constructor(address owner_, address treasury_, address[] memory operators, Listing[] memory listings) {
        require(owner_ != address(0) && treasury_ != address(0), ZeroAddress());
        treasury = treasury_;
        _setOwner(owner_);
        for (uint256 i = 0; i < operators.length; ++i) _setOperator(operators[i], true);
        for (uint256 i = 0; i < listings.length; ++i) {
            _setToken(listings[i].token, true, listings[i].dailyCap, listings[i].callGas);
        }
    }

    /// @notice Takes native float from anybody.
    receive() external payable {}

    // ---------------------------------------------------------------- operators

    /// @notice Pays each item whose number is free, in order. One event an item: `Paid`, `Failed` or `Skipped`.
    /// @dev Reverts as a whole with `OutOfGas` when there is not enough gas to give a transfer all that its token's
    /// `callGas` promises: so the outcome of an item does not depend on the gas of the transaction. Cheapest with
    /// neighbouring numbers next to each other, and items of one token next to each other.
    function pay(Item[] calldata items) external onlyOperator exclusive {
        Page memory page = _noPage();
        Budget memory budget;
        for (uint256 i = 0; i < items.length; ++i) {
            Item calldata item = items[i];
            uint256 number = item.number;
            uint256 bit = _turnTo(page, number);
            if (page.bits & bit != 0) {
                emit Skipped(number, item.ref);
                continue;
            }
            address token = item.token;
            if (budget.token != token || !budget.open) {
                _close(budget);
                _open(budget, token);
            }
            address to = item.to;
            uint256 amount = item.amount;
            bytes32 reason = _tryItem(budget, to, amount);
            if (reason == 0) {
                page.bits |= bit;
                emit Paid(number, item.ref, token, to, amount);
            } else {
                emit Failed(number, item.ref, reason);
            }
        }
        _store(page);
        _close(budget);
    }

    /// @notice Uses up each number that is free, without a payment. One event a number: `Voided` or `Skipped`.
    function void(uint256[] calldata numbers) external onlyOperator exclusive {
        Page memory page = _noPage();
        for (uint256 i = 0; i < numbers.length; ++i) {
            uint256 number = numbers[i];
            uint256 bit = _turnTo(page, number);
            if (page.bits & bit == 0) {
                page.bits |= bit;
                emit Voided(number);
            } else {
                emit Skipped(number, 0);
            }
        }
        _store(page);
    }

    // ---------------------------------------------------------------- owner

    /// @notice Lets an account pay and void, or no longer.
    function setOperator(address operator, bool allowed) external onlyOwner exclusive {
        _setOperator(operator, allowed);
    }

    /// @notice Lists a token, changes its settings, or takes it off the list. What was spent today stays counted.
    /// @param token The ERC-20 contract, or zero for the native coin.
    /// @param listed Whether it is paid at all.
    /// @param dailyCap What may leave in one UTC day, in atomic units; zero lets nothing leave.
    /// @param callGas What one transfer may use. Take the dearest transfer to a new holder and double it; for the
    /// native coin it is what a recipient with code may use, beside the 2,300 that come with a value.
    function setToken(address token, bool listed, uint104 dailyCap, uint24 callGas) external onlyOwner exclusive {
        _setToken(token, listed, dailyCap, callGas);
    }

    /// @notice Stops operators, or lets them work again.
    function setPaused(bool paused_) external onlyOwner exclusive {
        paused = paused_;
        emit PausedSet(paused_);
    }

    /// @notice Sends float to the treasury, of any token whether listed or not, paused or not.
    /// @param token The ERC-20 contract, or zero for the native coin.
    /// @param amount In atomic units.
    function sweep(address token, uint256 amount) external onlyOwner exclusive {
        require(token == address(0) || token.code.length != 0, NoCode());
        bytes32 reason = _transfer(token, treasury, amount, gasleft());
        require(reason == 0, SweepFailed(reason));
        emit Swept(token, amount);
    }

    /// @notice Offers the ownership; zero takes an offer back. Nothing changes until it is accepted.
    function offerOwnership(address candidate_) external onlyOwner exclusive {
        candidate = candidate_;
        emit OwnershipOffered(owner, candidate_);
    }

    /// @notice Takes the ownership that was offered to the caller.
    function acceptOwnership() external exclusive {
        require(msg.sender == candidate, NotCandidate(msg.sender));
        candidate = address(0);
        _setOwner(msg.sender);
    }

    // ---------------------------------------------------------------- views

    /// @notice Whether a number was paid or voided. Not for use inside a payment: `pay` stores the bits at its end.
    function isUsed(uint256 number) external view returns (bool) {
        return usedNumbers[number >> 8] & _bit(number) != 0;
    }

    /// @notice What may still leave of a token today, in atomic units; zero where it is not listed.
    function remainingToday(address token) external view returns (uint256) {
        Token memory setting = tokens[token];
        return setting.listed ? _remaining(setting) : 0;
    }

    // ---------------------------------------------------------------- settings

    function _setOwner(address owner_) private {
        emit OwnershipTransferred(owner, owner_);
        owner = owner_;
    }

    function _setOperator(address operator, bool allowed) private {
        require(operator != address(0), ZeroAddress());
        isOperator[operator] = allowed;
        emit OperatorSet(operator, allowed);
    }

    function _setToken(address token, bool listed, uint104 dailyCap, uint24 callGas) private {
        if (listed) {
            require(callGas >= MIN_CALL_GAS, CallGasTooLow(callGas));
            require(token == address(0) || token.code.length != 0, NoCode());
        }
        Token storage setting = tokens[token];
        setting.listed = listed;
        setting.dailyCap = dailyCap;
        setting.callGas = callGas;
        emit TokenSet(token, listed, dailyCap, callGas);
    }

    // ---------------------------------------------------------------- numbers

    function _bit(uint256 number) private pure returns (uint256) {
        return 1 << (number & 0xff);
    }

    function _noPage() private pure returns (Page memory page) {
        page.index = NO_PAGE;
    }

    /// @dev Takes the number's page in hand, and gives the number's bit in it.
    function _turnTo(Page memory page, uint256 number) private returns (uint256 bit) {
        uint256 index = number >> 8;
        if (page.index != index) {
            _store(page);
            page.index = index;
            page.bits = page.storedBits = usedNumbers[index];
        }
        return _bit(number);
    }

    function _store(Page memory page) private {
        if (page.bits != page.storedBits) usedNumbers[page.index] = page.bits;
    }

    // ---------------------------------------------------------------- money

    /// @dev The UTC day. Only ever compared for equality with a day of the past.
    function _today() private view returns (uint16) {
        return uint16(block.timestamp / 1 days);
    }

    function _spent(Token memory setting) private view returns (uint256) {
        return setting.day == _today() ? setting.spent : 0;
    }

    function _remaining(Token memory setting) private view returns (uint256) {
        uint256 spent = _spent(setting);
        return spent < setting.dailyCap ? setting.dailyCap - spent : 0;
    }

    /// @dev Takes a token in hand: what is true of all items of a token is found out once.
    function _open(Budget memory budget, address token) private view {
        Token memory setting = tokens[token];
        budget.open = true;
        budget.token = token;
        budget.callGas = setting.callGas;
        // A call gets at most 63/64 of what is left, and silently less than it asks for.
        budget.gasNeeded = uint256(setting.callGas) * 64 / 63 + CALL_COST;
        budget.remaining = budget.storedRemaining = _remaining(setting);
        budget.refusal = 0;
        if (!setting.listed) budget.refusal = NotListed.selector;
        else if (token != address(0) && token.code.length == 0) budget.refusal = NoCode.selector;
    }

    /// @dev Counts what was paid of the token in hand.
    function _close(Budget memory budget) private {
        uint256 paid = budget.storedRemaining - budget.remaining;
        if (paid == 0) return;
        Token storage setting = tokens[budget.token];
        // No more than `dailyCap` remained, which has as many bits.
        setting.spent = uint104(_spent(setting) + paid);
        setting.day = _today();
    }

    /// @dev Pays an item of the token in hand. Zero, or why it was not paid.
    function _tryItem(Budget memory budget, address to, uint256 amount) private returns (bytes32 reason) {
        if (budget.refusal != 0) return budget.refusal;
        if (to == address(0) || to == address(this)) return BadRecipient.selector;
        if (amount > budget.remaining) return OverCap.selector;
        require(gasleft() >= budget.gasNeeded, OutOfGas());
        reason = _transfer(budget.token, to, amount, budget.callGas);
        if (reason == 0) {
            unchecked {
                budget.remaining -= amount;
            }
        }
    }

    /// @dev Moves tokens or native coin. Zero, or why nothing was moved.
    function _transfer(address token, address to, uint256 amount, uint256 callGas) private returns (bytes32 reason) {
        return token == address(0) ? _sendNative(to, amount, callGas) : _sendToken(token, to, amount, callGas);
    }

    /// @dev Calls `to` with `amount`; copies at most 32 bytes of what it reverts with.
    function _sendNative(address to, uint256 amount, uint256 callGas) private returns (bytes32 reason) {
        if (address(this).balance < amount) return Unfunded.selector;
        bool succeeded;
        bytes32 answer;
        assembly ("memory-safe") {
            mstore(0, 0)
            succeeded := call(callGas, to, amount, 0, 0, 0, 32)
            answer := mload(0)
        }
        return succeeded ? bytes32(0) : _reverted(answer);
    }

    /// @dev Calls `token.transfer(to, amount)` of a token with code; copies at most 32 bytes of the answer. Nothing
    /// and `true` are success. A token that moves units and then answers something else is misjudged here, as
    /// everywhere: such a token must not be listed.
    function _sendToken(address token, address to, uint256 amount, uint256 callGas) private returns (bytes32 reason) {
        bytes4 selector = TRANSFER;
        bool succeeded;
        uint256 size;
        bytes32 answer;
        assembly ("memory-safe") {
            // The input goes to free memory, and is not kept.
            let input := mload(0x40)
            mstore(input, selector)
            mstore(add(input, 4), to)
            mstore(add(input, 36), amount)
            mstore(0, 0)
            succeeded := call(callGas, token, 0, input, 68, 0, 32)
            size := returndatasize()
            answer := mload(0)
        }
        if (!succeeded) return _reverted(answer);
        if (size == 0 || (size >= 32 && answer == bytes32(uint256(1)))) return 0;
        return BadReturn.selector;
    }

    function _reverted(bytes32 answer) private pure returns (bytes32 reason) {
        return bytes32(CallReverted.selector) | (answer >> 32);
    }
}

//! The three test tokens of `contracts/`, as bytecode.

use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::{SolCall, sol};
use serde::Deserialize;

sol! {
    /// What the test tokens share, and the powers of their owner.
    interface TestToken {
        function transfer(address to, uint256 amount) external;
        function balanceOf(address account) external view returns (uint256);
        function mint(address to, uint256 amount) external;
        function pause() external;
        function unpause() external;
        function blacklist(address account) external;
        function unBlacklist(address account) external;
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

/// A test token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// 6 decimals, returns true, can be paused, has a blacklist.
    Usdc,
    /// 6 decimals, `transfer` returns nothing.
    Usdt,
    /// 18 decimals, plain.
    Bal,
}

impl TokenKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Usdc, Self::Usdt, Self::Bal];

    /// Decimal places of one unit.
    #[must_use]
    pub const fn decimals(self) -> u8 {
        match self {
            Self::Usdc | Self::Usdt => 6,
            Self::Bal => 18,
        }
    }

    /// What the token is listed as.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Usdc => "USDC",
            Self::Usdt => "USDT",
            Self::Bal => "BAL",
        }
    }

    /// The init code. Its constructor takes nothing and makes the deployer the owner.
    #[must_use]
    pub(crate) fn init_code(self) -> Bytes {
        #[derive(Deserialize)]
        struct Artifact {
            bytecode: String,
        }
        let text = match self {
            Self::Usdc => include_str!("../../../contracts/artifacts/TestUsdc.json"),
            Self::Usdt => include_str!("../../../contracts/artifacts/TestUsdt.json"),
            Self::Bal => include_str!("../../../contracts/artifacts/TestBal.json"),
        };
        let artifact: Artifact = serde_json::from_str(text)
            .expect("the checked-in artefact is JSON with a `bytecode` string");
        hex::decode(artifact.bytecode)
            .expect("the checked-in artefact's `bytecode` is hexadecimal")
            .into()
    }
}

/// What the owner of a token may do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOrder {
    /// Every transfer reverts from now on.
    Pause,
    /// Transfers go through again.
    Unpause,
    /// Transfers from and to this account revert.
    Blacklist(Address),
    /// The account may pay and be paid again.
    Unblacklist(Address),
}

impl TokenOrder {
    pub(crate) fn calldata(self) -> Bytes {
        match self {
            Self::Pause => TestToken::pauseCall {}.abi_encode(),
            Self::Unpause => TestToken::unpauseCall {}.abi_encode(),
            Self::Blacklist(account) => TestToken::blacklistCall { account }.abi_encode(),
            Self::Unblacklist(account) => TestToken::unBlacklistCall { account }.abi_encode(),
        }
        .into()
    }
}

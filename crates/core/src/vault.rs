//! `PayoutVault` as Portcullis speaks to it: calldata of payments and voids, and the events that answer them.
//! The contract is `contracts/src/PayoutVault.sol`; `docs/guide/vault.md` says what it guarantees.

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use alloy_sol_types::{SolCall, SolError, SolEvent, sol};

use crate::amount::Amount;
use crate::number::{PaymentRef, PayoutNumber};
use crate::slot::Payload;

sol! {
    /// The part of the vault that Portcullis speaks.
    interface PayoutVault {
        /// One payment.
        struct Item {
            uint256 number;
            bytes32 ref;
            address token;
            address to;
            uint256 amount;
        }

        function pay(Item[] calldata items) external;
        function void(uint256[] calldata numbers) external;
        function isUsed(uint256 number) external view returns (bool);
        function isOperator(address account) external view returns (bool);
        function remainingToday(address token) external view returns (uint256);
        function paused() external view returns (bool);
        function owner() external view returns (address);
        function treasury() external view returns (address);

        error NotOperator(address caller);
        error IsPaused();

        event Paid(uint256 indexed number, bytes32 indexed ref, address token, address to, uint256 amount);
        event Failed(uint256 indexed number, bytes32 indexed ref, bytes32 reason);
        event Skipped(uint256 indexed number, bytes32 indexed ref);
        event Voided(uint256 indexed number);
    }
}

/// One payment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultItem {
    /// What the vault pays at most once.
    pub number: PayoutNumber,
    /// For which request.
    pub reference: PaymentRef,
    /// In which token; `None` is the native coin.
    pub token: Option<Address>,
    /// To whom.
    pub to: Address,
    /// How much.
    pub amount: Amount,
}

/// What the vault said about one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultEvent {
    /// It left for the recipient.
    Paid {
        /// The number.
        number: U256,
        /// For which request.
        reference: PaymentRef,
        /// In which token; `None` is the native coin.
        token: Option<Address>,
        /// To whom.
        to: Address,
        /// How much.
        amount: Amount,
    },
    /// It was not paid, and the number is free.
    Failed {
        /// The number.
        number: U256,
        /// For which request.
        reference: PaymentRef,
        /// The selector of the vault's error, and the first bytes of what the token said.
        reason: B256,
    },
    /// The number was used before.
    Skipped {
        /// The number.
        number: U256,
        /// For which request; zero where it was to be voided.
        reference: PaymentRef,
    },
    /// The number was free, and is used up.
    Voided {
        /// The number.
        number: U256,
    },
}

impl VaultEvent {
    /// The number that it is about.
    #[must_use]
    pub const fn number(&self) -> U256 {
        match self {
            Self::Paid { number, .. }
            | Self::Failed { number, .. }
            | Self::Skipped { number, .. }
            | Self::Voided { number } => *number,
        }
    }
}

/// The call that pays these items, in this order.
#[must_use]
pub fn vault_payment(vault: Address, items: &[VaultItem]) -> Payload {
    let items = items
        .iter()
        .map(|item| PayoutVault::Item {
            number: item.number.to_u256(),
            r#ref: item.reference.0,
            token: item.token.unwrap_or_default(),
            to: item.to,
            amount: item.amount.atomic(),
        })
        .collect();
    Payload { to: vault, value: U256::ZERO, input: call(&PayoutVault::payCall { items }) }
}

/// The call that uses these numbers up without paying.
#[must_use]
pub fn vault_void(vault: Address, numbers: &[PayoutNumber]) -> Payload {
    let numbers = numbers.iter().map(|number| number.to_u256()).collect();
    Payload { to: vault, value: U256::ZERO, input: call(&PayoutVault::voidCall { numbers }) }
}

fn call(call: &impl SolCall) -> Bytes {
    call.abi_encode().into()
}

/// Why the vault refuses a call whatever it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultRefusal {
    /// Its owner has paused it.
    Paused,
    /// The caller is none of its operators.
    NotOperator,
}

impl VaultRefusal {
    /// From the selector of the error that a call reverts with.
    #[must_use]
    pub fn of_selector(selector: [u8; 4]) -> Option<Self> {
        match selector {
            PayoutVault::IsPaused::SELECTOR => Some(Self::Paused),
            PayoutVault::NotOperator::SELECTOR => Some(Self::NotOperator),
            _ => None,
        }
    }
}

/// Reads the items of a `pay` call back; `None` when the calldata is another call.
#[must_use]
pub fn read_vault_payment(input: &[u8]) -> Option<Vec<VaultItem>> {
    let call = PayoutVault::payCall::abi_decode(input).ok()?;
    call.items
        .into_iter()
        .map(|item| {
            Some(VaultItem {
                number: PayoutNumber::from_u256(item.number)?,
                reference: PaymentRef(item.r#ref),
                token: token_of(item.token),
                to: item.to,
                amount: Amount::from_atomic(item.amount),
            })
        })
        .collect()
}

/// Reads a log of `vault`; `None` when it is another contract's, or says nothing about a number.
#[must_use]
pub fn read_vault_event(vault: Address, log: &Log) -> Option<VaultEvent> {
    if log.address != vault {
        return None;
    }
    if let Ok(event) = PayoutVault::Paid::decode_log(log) {
        return Some(VaultEvent::Paid {
            number: event.number,
            reference: PaymentRef(event.r#ref),
            token: token_of(event.token),
            to: event.to,
            amount: Amount::from_atomic(event.amount),
        });
    }
    if let Ok(event) = PayoutVault::Failed::decode_log(log) {
        let (number, reference) = (event.number, PaymentRef(event.r#ref));
        return Some(VaultEvent::Failed { number, reference, reason: event.reason });
    }
    if let Ok(event) = PayoutVault::Skipped::decode_log(log) {
        let reference = PaymentRef(event.r#ref);
        return Some(VaultEvent::Skipped { number: event.number, reference });
    }
    let event = PayoutVault::Voided::decode_log(log).ok()?;
    Some(VaultEvent::Voided { number: event.number })
}

fn token_of(token: Address) -> Option<Address> {
    (!token.is_zero()).then_some(token)
}

/// What a `Failed` says, in words: the name of the vault's own error.
#[must_use]
pub fn failure_in_words(reason: B256) -> &'static str {
    // Selectors of the errors in `contracts/src/PayoutVault.sol`; docs/guide/vault.md lists them.
    match reason.0 {
        [0x66, 0x5c, 0x1c, 0x57, ..] => "the vault does not list the token",
        [0xf0, 0x46, 0xa7, 0x14, ..] => "the token has no code",
        [0x67, 0xa2, 0xcc, 0x26, ..] => "the vault refuses the recipient",
        [0x34, 0x2f, 0xa6, 0x6d, ..] => "the day's cap of the vault is used up",
        [0x2e, 0xc2, 0x7b, 0xbc, ..] => "the vault has too little native coin",
        [0x49, 0xe7, 0xd8, 0x85, ..] => "the token answered neither nothing nor true",
        [0xbb, 0xdf, 0x0a, 0x77, ..] => "the token or the recipient reverted",
        _ => "the vault gave a reason that is not known here",
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;

    const VAULT: Address = Address::repeat_byte(0x77);

    fn item(sequence: u64, token: Option<Address>) -> VaultItem {
        VaultItem {
            number: PayoutNumber { epoch: 3, sequence },
            reference: PaymentRef(B256::repeat_byte(5)),
            token,
            to: Address::repeat_byte(6),
            amount: Amount::from_atomic(U256::from(70)),
        }
    }

    #[test]
    fn the_calls_have_the_selectors_of_the_contract() {
        let pay = keccak256("pay((uint256,bytes32,address,address,uint256)[])");
        assert_eq!(vault_payment(VAULT, &[item(1, None)]).input[..4], pay[..4]);
        let void = keccak256("void(uint256[])");
        let voiding = vault_void(VAULT, &[item(1, None).number]);
        assert_eq!(voiding.input[..4], void[..4]);
        assert_eq!((voiding.to, voiding.value), (VAULT, U256::ZERO));
    }

    #[test]
    fn payments_read_back_and_other_calls_do_not() {
        let items = [item(1, None), item(2, Some(Address::repeat_byte(9)))];
        let payload = vault_payment(VAULT, &items);
        assert_eq!(payload.to, VAULT);
        assert!(payload.value.is_zero(), "native payments leave the vault's own coin");
        assert_eq!(read_vault_payment(&payload.input), Some(items.to_vec()));
        let voiding = vault_void(VAULT, &[items[0].number]);
        assert_eq!(read_vault_payment(&voiding.input), None);
    }

    #[test]
    fn events_of_the_vault_read_back_and_those_of_others_do_not() {
        let number = item(4, None).number.to_u256();
        let (r#ref, reason) = (B256::repeat_byte(5), B256::repeat_byte(8));
        let reference = PaymentRef(r#ref);
        let (to, amount) = (Address::repeat_byte(6), U256::from(70));
        let paid = PayoutVault::Paid { number, r#ref, token: Address::ZERO, to, amount };
        let amount = Amount::from_atomic(amount);
        for (data, expected) in [
            (
                paid.encode_log_data(),
                VaultEvent::Paid { number, reference, token: None, to, amount },
            ),
            (
                PayoutVault::Failed { number, r#ref, reason }.encode_log_data(),
                VaultEvent::Failed { number, reference, reason },
            ),
            (
                PayoutVault::Skipped { number, r#ref }.encode_log_data(),
                VaultEvent::Skipped { number, reference },
            ),
            (PayoutVault::Voided { number }.encode_log_data(), VaultEvent::Voided { number }),
        ] {
            let log = Log { address: VAULT, data };
            assert_eq!(read_vault_event(VAULT, &log), Some(expected));
            assert_eq!(expected.number(), number);
            assert_eq!(read_vault_event(Address::repeat_byte(1), &log), None);
        }
    }

    #[test]
    fn the_reasons_are_the_selectors_of_the_errors() {
        for (error, words) in [
            ("NotListed()", "the vault does not list the token"),
            ("NoCode()", "the token has no code"),
            ("BadRecipient()", "the vault refuses the recipient"),
            ("OverCap()", "the day's cap of the vault is used up"),
            ("Unfunded()", "the vault has too little native coin"),
            ("BadReturn()", "the token answered neither nothing nor true"),
            ("CallReverted()", "the token or the recipient reverted"),
        ] {
            let mut reason = B256::repeat_byte(0xee);
            reason.0[..4].copy_from_slice(&keccak256(error)[..4]);
            assert_eq!(failure_in_words(reason), words, "{error}");
        }
        assert!(failure_in_words(B256::ZERO).contains("not known"));
    }
}

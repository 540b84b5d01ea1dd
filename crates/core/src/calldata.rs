//! Calldata: built here, from amounts and addresses, and read back from what others built.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::{SolCall, SolEvent, sol};

use crate::amount::Amount;
use crate::slot::Payload;

sol! {
    /// The part of ERC-20 that Portcullis speaks.
    interface Erc20 {
        function transfer(address to, uint256 amount) external returns (bool);
        function balanceOf(address account) external view returns (uint256);
        function decimals() external view returns (uint8);
        function symbol() external view returns (string memory);
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

/// What pays `amount` to `to` on the `direct` rail: a plain transfer of the coin or the token.
#[must_use]
pub fn direct_payment(token: Option<Address>, to: Address, amount: Amount) -> Payload {
    match token {
        None => Payload { to, value: amount.atomic(), input: Bytes::new() },
        Some(token) => Payload {
            to: token,
            value: alloy_primitives::U256::ZERO,
            input: Erc20::transferCall { to, amount: amount.atomic() }.abi_encode().into(),
        },
    }
}

/// A token's Transfer event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTransfer {
    /// The token.
    pub token: Address,
    /// Who paid.
    pub from: Address,
    /// Who was paid.
    pub to: Address,
    /// How much.
    pub amount: Amount,
}

/// Reads a log as an ERC-20 Transfer; `None` when it is something else.
#[must_use]
pub fn read_transfer(log: &alloy_primitives::Log) -> Option<TokenTransfer> {
    let event = Erc20::Transfer::decode_log(log).ok()?;
    Some(TokenTransfer {
        token: log.address,
        from: event.from,
        to: event.to,
        amount: Amount::from_atomic(event.value),
    })
}

/// What a payload of the `direct` rail pays: token, recipient and amount. `None` for everything else, a zero
/// self-transfer among it.
#[must_use]
pub fn read_direct_payment(
    sender: Address,
    payload: &Payload,
) -> Option<(Option<Address>, Address, Amount)> {
    if payload.is_self_transfer(sender) {
        return None;
    }
    if payload.input.is_empty() {
        return Some((None, payload.to, Amount::from_atomic(payload.value)));
    }
    let call = Erc20::transferCall::abi_decode(&payload.input).ok()?;
    let (to, amount) = (call.to, Amount::from_atomic(call.amount));
    let again = direct_payment(Some(payload.to), to, amount);
    (again == *payload).then_some((Some(payload.to), to, amount))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, hex};

    use super::*;

    #[test]
    fn a_token_transfer_is_the_known_bytes() {
        let token = Address::with_last_byte(1);
        let payload = direct_payment(
            Some(token),
            Address::with_last_byte(2),
            Amount::from_atomic(U256::from(1_000_000)),
        );
        assert_eq!(payload.to, token);
        assert!(payload.value.is_zero());
        // `transfer(address,uint256)` of ERC-20 has the selector a9059cbb.
        let expected = hex!(
            "a9059cbb"
            "0000000000000000000000000000000000000000000000000000000000000002"
            "00000000000000000000000000000000000000000000000000000000000f4240"
        );
        assert_eq!(payload.input.as_ref(), expected);
    }

    #[test]
    fn native_coin_travels_as_value() {
        let amount = Amount::from_atomic(U256::from(5));
        let payload = direct_payment(None, Address::with_last_byte(2), amount);
        assert_eq!(payload.value, U256::from(5));
        assert_eq!(payload.to, Address::with_last_byte(2));
        assert!(payload.input.is_empty());
    }

    #[test]
    fn a_transfer_event_reads_back_and_others_do_not() {
        let event = Erc20::Transfer {
            from: Address::with_last_byte(1),
            to: Address::with_last_byte(2),
            value: U256::from(3),
        };
        let token = Address::with_last_byte(9);
        let log = alloy_primitives::Log { address: token, data: event.encode_log_data() };
        let expected = TokenTransfer {
            token,
            from: Address::with_last_byte(1),
            to: Address::with_last_byte(2),
            amount: Amount::from_atomic(U256::from(3)),
        };
        assert_eq!(read_transfer(&log), Some(expected));
        let mut other = log;
        other.data.topics_mut_unchecked()[0] = alloy_primitives::B256::ZERO;
        assert_eq!(read_transfer(&other), None);
    }

    #[test]
    fn a_direct_payment_reads_back_and_nothing_else_does() {
        let sender = Address::with_last_byte(7);
        let amount = Amount::from_atomic(U256::from(5));
        for token in [None, Some(Address::with_last_byte(1))] {
            let to = Address::with_last_byte(2);
            let payload = direct_payment(token, to, amount);
            assert_eq!(read_direct_payment(sender, &payload), Some((token, to, amount)));
        }
        assert_eq!(read_direct_payment(sender, &Payload::self_transfer(sender)), None);
        let token = Some(Address::with_last_byte(1));
        let mut paying = direct_payment(token, Address::with_last_byte(2), amount);
        paying.value = U256::from(1);
        assert_eq!(read_direct_payment(sender, &paying), None, "value beside a transfer");
    }
}

//! Destinations: parsing with the EIP-55 checksum, and the addresses that nobody is ever paid at.

use alloy_primitives::Address;
use thiserror::Error;

/// Why an address is not a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DestinationError {
    /// Not `0x` and 40 hexadecimal digits.
    #[error("must be 0x followed by 40 hexadecimal digits")]
    Malformed,
    /// Mixed case that does not match the EIP-55 checksum: most likely a typing error.
    #[error("has a wrong EIP-55 checksum: check the address, a character may be mistyped")]
    WrongChecksum,
    /// `0x00…00`.
    #[error("is the zero address: a payment to it is lost")]
    Zero,
    /// `0x…01` to `0x…ffff`, where chains keep their precompiled contracts.
    #[error("is a precompiled contract of the chain: a payment to it is lost")]
    Precompile,
    /// The token's own contract.
    #[error("is the token's own contract: a payment to it is lost")]
    TokenContract,
    /// One of this deployment's own senders or contracts.
    #[error("belongs to this deployment")]
    Own,
}

/// The highest address that is taken for a precompiled or a system contract.
/// Bor keeps its own at `0x1000`, `0x1001` and `0x1010`; EIP-7951 took `0x100`.
const PRECOMPILE_HIGHEST: u64 = 0xffff;

/// Reads a destination. All-lower and all-upper forms carry no checksum and are accepted, as EIP-55 says.
///
/// # Errors
/// [`DestinationError::Malformed`] or [`DestinationError::WrongChecksum`].
pub fn parse_address(text: &str) -> Result<Address, DestinationError> {
    let digits = text.strip_prefix("0x").ok_or(DestinationError::Malformed)?;
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.len() != 40 || !hexadecimal {
        return Err(DestinationError::Malformed);
    }
    let address: Address = text.parse().map_err(|_| DestinationError::Malformed)?;
    let has_lower = digits.bytes().any(|byte| byte.is_ascii_lowercase());
    let has_upper = digits.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_lower && has_upper && address.to_checksum(None) != text {
        return Err(DestinationError::WrongChecksum);
    }
    Ok(address)
}

/// Whether `address` may be paid in the token at `token` (`None` for the native coin).
/// `own` are this deployment's senders and contracts on the chain.
///
/// # Errors
/// See [`DestinationError`].
pub fn check_destination(
    address: Address,
    token: Option<Address>,
    own: &[Address],
) -> Result<(), DestinationError> {
    if address.is_zero() {
        return Err(DestinationError::Zero);
    }
    let (head, tail) = address.as_slice().split_at(12);
    let mut low = [0_u8; 8];
    low.copy_from_slice(tail);
    if head.iter().all(|byte| *byte == 0) && u64::from_be_bytes(low) <= PRECOMPILE_HIGHEST {
        return Err(DestinationError::Precompile);
    }
    if token == Some(address) {
        return Err(DestinationError::TokenContract);
    }
    if own.contains(&address) {
        return Err(DestinationError::Own);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;

    use super::*;

    #[test]
    fn checksums_are_those_of_eip_55() {
        // The examples of EIP-55 itself.
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
        ] {
            assert!(parse_address(text).is_ok(), "{text}");
        }
        let wrong = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD";
        assert_eq!(parse_address(wrong), Err(DestinationError::WrongChecksum));
    }

    #[test]
    fn what_is_not_an_address_is_malformed() {
        for text in [
            "",
            "0x",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed0",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
            " 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "vitalik.eth",
        ] {
            assert_eq!(parse_address(text), Err(DestinationError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn places_where_money_is_lost_are_refused() {
        let token = address!("3c499c542cEF5E3811e1192ce70d8cC03d5c3359");
        let own = address!("1111111111111111111111111111111111111111");
        let check = |to| check_destination(to, Some(token), &[own]);
        assert_eq!(check(Address::ZERO), Err(DestinationError::Zero));
        assert_eq!(check(Address::with_last_byte(1)), Err(DestinationError::Precompile));
        let system = address!("0000000000000000000000000000000000001010");
        assert_eq!(check(system), Err(DestinationError::Precompile));
        assert_eq!(check(token), Err(DestinationError::TokenContract));
        assert_eq!(check(own), Err(DestinationError::Own));
        let first_ordinary = address!("0000000000000000000000000000000000010000");
        assert_eq!(check(first_ordinary), Ok(()));
        assert_eq!(check_destination(token, None, &[]), Ok(()));
    }
}

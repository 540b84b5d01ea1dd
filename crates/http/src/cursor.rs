//! Cursors: where a page ended, in a form that clients do not take apart.

use alloy_primitives::hex;
use portcullis_core::id::WithdrawalId;
use sha2::{Digest, Sha256};

const VERSION: &str = "c1";
const CHECK_BYTES: usize = 4;

/// The cursor behind this withdrawal.
pub(crate) fn cursor_after(last: WithdrawalId) -> String {
    let bytes = last.to_bytes();
    format!("{VERSION}{}{}", hex::encode(bytes), hex::encode(check_of(bytes)))
}

/// Reads a cursor back; `None` for what was not written by [`cursor_after`].
pub(crate) fn parse_cursor(text: &str) -> Option<WithdrawalId> {
    let digits = text.strip_prefix(VERSION)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !digits.bytes().all(is_digit) {
        return None;
    }
    let bytes: [u8; 16 + CHECK_BYTES] = hex::decode(digits).ok()?.try_into().ok()?;
    let (id, check) = bytes.split_first_chunk::<16>()?;
    (check == check_of(*id)).then(|| WithdrawalId::from_bytes(*id))
}

/// Tells a typing error from a cursor; it is no secret.
fn check_of(id: [u8; 16]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::digest(id);
    let mut check = [0_u8; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let id = WithdrawalId::from_bytes([7; 16]);
        let cursor = cursor_after(id);
        assert_eq!(parse_cursor(&cursor), Some(id));
        let mistyped = cursor.replacen("07", "08", 1);
        for bad in ["", "c1", "c2", &cursor[2..], &mistyped, &cursor.to_uppercase(), "c10x07", "é"]
        {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }
}

//! Random bytes of the operating system.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::failure::Failure;

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|error| {
        let advice = "check that /dev/urandom can be read";
        Failure::Failed(format!("the operating system gives no random bytes ({error}): {advice}"))
    })
}

/// The random part of an id.
pub(crate) fn entropy() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Random parts of ids, for who cannot fail.
pub(crate) fn source() -> Arc<dyn Fn() -> u128 + Send + Sync> {
    // Linux gives random bytes for ever once it has given some, and the process' own id took some.
    Arc::new(|| entropy().expect("the operating system gave random bytes at the start"))
}

/// 32 secret random bytes as 64 hexadecimal digits.
pub(crate) fn hex_secret() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

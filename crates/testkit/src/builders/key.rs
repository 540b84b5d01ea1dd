//! Keys that everybody knows, for chains whose money is worth nothing.

use alloy_primitives::{Address, B256, Signature, keccak256};
use k256::ecdsa::SigningKey;

/// A test key. Its bytes are public by construction: they are derived from a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevKey {
    /// The secp256k1 private key.
    pub private_key: [u8; 32],
    /// Its address.
    pub address: Address,
}

/// The test key number `index`.
#[must_use]
pub fn dev_key(index: u64) -> DevKey {
    DevKey::from_name(&format!("portcullis test key {index}"))
}

impl DevKey {
    /// The test key of `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let private_key = keccak256(name.as_bytes()).0;
        let address = Address::from_public_key(signing_key(&private_key).verifying_key());
        Self { private_key, address }
    }

    /// Signs a digest, with a low `s` and the parity that recovers the address.
    ///
    /// # Panics
    /// Never: secp256k1 signs every digest of 32 bytes.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Signature {
        let (signature, recovery) = signing_key(&self.private_key)
            .sign_prehash_recoverable(digest.as_slice())
            .expect("a 32-byte digest is never too short for secp256k1");
        Signature::from((signature, recovery))
    }
}

fn signing_key(private_key: &[u8; 32]) -> SigningKey {
    SigningKey::from_slice(private_key)
        .expect("a hash lies outside the group order with a probability of 2^-127")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_sign_for_their_address() {
        let (first, second) = (dev_key(0), dev_key(1));
        assert_ne!(first.address, second.address);
        let digest = keccak256(b"a digest");
        let signer = first.sign(digest).recover_address_from_prehash(&digest);
        assert_eq!(signer.ok(), Some(first.address));
    }
}

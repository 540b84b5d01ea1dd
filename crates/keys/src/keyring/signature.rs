//! From what a key outside this process answers to a signature that the chain takes: DER or two numbers, then the low
//! `s` (EIP-2), then the parity by which the sender is recovered.

use alloy_primitives::{Address, B256};
use k256::ecdsa::{RecoveryId, Signature as Numbers, VerifyingKey};
use k256::pkcs8::DecodePublicKey;
use thiserror::Error;

/// The tag and the length in front of an uncompressed point, where it comes as a DER OCTET STRING.
const POINT_HEAD: [u8; 2] = [0x04, 65];

/// The length of an uncompressed point, its own first byte included.
const POINT_BYTES: usize = 65;

/// An answer that is not the signature that was asked for. It never leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// Not the DER form of two numbers, nor two numbers of 32 bytes.
    #[error("the answer is no ECDSA signature over secp256k1")]
    Malformed,
    /// Another key's, or over another digest.
    #[error("the answer is not this key's signature over this digest")]
    OtherKey,
    /// Not a point of secp256k1.
    #[error("the public key is not one of secp256k1")]
    PublicKey,
}

/// Reads a public key as `SubjectPublicKeyInfo`, as AWS KMS gives it.
pub(super) fn key_of_spki(der: &[u8]) -> Result<VerifyingKey, SignatureError> {
    VerifyingKey::from_public_key_der(der).map_err(|_| SignatureError::PublicKey)
}

/// Reads a public key as PKCS#11 gives it (`CKA_EC_POINT`): the point inside a DER OCTET STRING. Some tokens leave that out.
pub(super) fn key_of_point(bytes: &[u8]) -> Result<VerifyingKey, SignatureError> {
    let point = match bytes.strip_prefix(&POINT_HEAD) {
        Some(point) if point.len() == POINT_BYTES => point,
        _ => bytes,
    };
    VerifyingKey::from_sec1_bytes(point).map_err(|_| SignatureError::PublicKey)
}

/// The address of a public key.
pub(super) fn address_of(key: &VerifyingKey) -> Address {
    Address::from_public_key(key)
}

/// A signature in DER, as AWS KMS answers.
pub(super) fn from_der(
    der: &[u8],
    digest: B256,
    key: &VerifyingKey,
) -> Result<alloy_primitives::Signature, SignatureError> {
    let numbers = Numbers::from_der(der).map_err(|_| SignatureError::Malformed)?;
    recoverable(numbers, digest, key)
}

/// A signature as `r ‖ s`, as PKCS#11 answers.
pub(super) fn from_numbers(
    bytes: &[u8],
    digest: B256,
    key: &VerifyingKey,
) -> Result<alloy_primitives::Signature, SignatureError> {
    let numbers = Numbers::from_slice(bytes).map_err(|_| SignatureError::Malformed)?;
    recoverable(numbers, digest, key)
}

/// Takes the lower of the two `s`, and finds the parity that recovers this key. That also proves the signature.
fn recoverable(
    numbers: Numbers,
    digest: B256,
    key: &VerifyingKey,
) -> Result<alloy_primitives::Signature, SignatureError> {
    let low = numbers.normalize_s().unwrap_or(numbers);
    let parity = RecoveryId::trial_recovery_from_prehash(key, digest.as_slice(), &low)
        .map_err(|_| SignatureError::OtherKey)?;
    // A transaction has one bit for it. No input that anybody knows of needs the other one.
    if parity.is_x_reduced() {
        return Err(SignatureError::OtherKey);
    }
    Ok((low, parity).into())
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: [u8; 32]) -> Option<SigningKey> {
        SigningKey::from_slice(&bytes).ok()
    }

    /// The other signature of the same key over the same digest.
    fn with_high_s(numbers: &Numbers) -> Numbers {
        let (r, s) = numbers.split_scalars();
        Numbers::from_scalars(*r, -*s).expect("the negative of a scalar is one")
    }

    proptest! {
        #[test]
        fn both_forms_give_the_signature_that_a_local_key_gives(secret: [u8; 32], digest: [u8; 32]) {
            let Some(key) = key(secret) else { return Ok(()) };
            let digest = B256::from(digest);
            let (numbers, parity) =
                key.sign_prehash_recoverable(digest.as_slice()).expect("32 bytes");
            let expected = alloy_primitives::Signature::from((numbers, parity));
            let public = key.verifying_key();
            for form in [numbers, with_high_s(&numbers)] {
                let der = form.to_der();
                prop_assert_eq!(from_der(der.as_bytes(), digest, public), Ok(expected));
                prop_assert_eq!(from_numbers(&form.to_bytes(), digest, public), Ok(expected));
            }
            prop_assert_eq!(expected.normalize_s(), None);
            let recovered = expected.recover_address_from_prehash(&digest).expect("recoverable");
            prop_assert_eq!(recovered, address_of(public));
        }

        #[test]
        fn no_other_key_and_no_other_digest_passes(one: [u8; 32], other: [u8; 32], digest: [u8; 32]) {
            let (Some(one), Some(other)) = (key(one), key(other)) else { return Ok(()) };
            prop_assume!(one != other);
            let digest = B256::from(digest);
            let (numbers, _) = one.sign_prehash_recoverable(digest.as_slice()).expect("32 bytes");
            let der = numbers.to_der();
            let wrong_key = from_der(der.as_bytes(), digest, other.verifying_key());
            prop_assert_eq!(wrong_key, Err(SignatureError::OtherKey));
            let other_digest = !digest;
            let wrong_digest = from_der(der.as_bytes(), other_digest, one.verifying_key());
            prop_assert_eq!(wrong_digest, Err(SignatureError::OtherKey));
        }

        #[test]
        fn rubbish_is_refused_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let key = key([3; 32]).expect("a scalar");
            prop_assert!(from_der(&bytes, B256::repeat_byte(1), key.verifying_key()).is_err());
            prop_assert!(from_numbers(&bytes, B256::repeat_byte(1), key.verifying_key()).is_err());
            prop_assert!(key_of_spki(&bytes).is_err());
        }
    }

    #[test]
    fn malformed_der_is_refused() {
        let key = key([3; 32]).expect("a scalar");
        let digest = B256::repeat_byte(7);
        let (numbers, _) = key.sign_prehash_recoverable(digest.as_slice()).expect("32 bytes");
        let whole = numbers.to_der().as_bytes().to_vec();
        let long = [&whole[..], &[0]].concat();
        let mut other_tag = whole.clone();
        other_tag[0] = 0x31;
        let mut other_length = whole.clone();
        other_length[1] = other_length[1].wrapping_add(1);
        // Zero is no `r`, and the order itself is none either.
        let zero = [0x30, 6, 2, 1, 0, 2, 1, 1];
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .expect("the order of secp256k1");
        let beyond = [&[0x30, 38, 2, 33, 0], &order[..], &[2, 1, 1]].concat();
        // A number may not begin with a needless zero, nor be negative.
        let padded = [0x30, 8, 2, 2, 0, 1, 2, 2, 0, 1];
        let negative = [0x30, 6, 2, 1, 0x81, 2, 1, 1];
        let cases: [&[u8]; 10] = [
            b"",
            &whole[..whole.len() - 1],
            &whole[..4],
            &long,
            &other_tag,
            &other_length,
            &zero,
            &beyond,
            &padded,
            &negative,
        ];
        for (at, bytes) in cases.into_iter().enumerate() {
            let read = from_der(bytes, digest, key.verifying_key());
            assert_eq!(read, Err(SignatureError::Malformed), "{at}");
        }
        for length in [0, 63, 65] {
            let read = from_numbers(&vec![1; length], digest, key.verifying_key());
            assert_eq!(read, Err(SignatureError::Malformed), "{length}");
        }
    }

    #[test]
    fn public_keys_are_read_in_each_form() {
        let key = key([3; 32]).expect("a scalar");
        let public = *key.verifying_key();
        let point = public.to_encoded_point(false);
        // The identifiers of an elliptic curve key and of secp256k1, then the point as a bit string.
        let head = hex::decode("3056301006072a8648ce3d020106052b8104000a034200").expect("digits");
        let spki = [&head, point.as_bytes()].concat();
        assert_eq!(key_of_spki(&spki), Ok(public));
        let wrapped = [&POINT_HEAD, point.as_bytes()].concat();
        assert_eq!(key_of_point(point.as_bytes()), Ok(public));
        assert_eq!(key_of_point(&wrapped), Ok(public));
        assert_eq!(key_of_point(&wrapped[..66]), Err(SignatureError::PublicKey));
        assert_eq!(key_of_point(&[0x04; 65]), Err(SignatureError::PublicKey));
        // A point beside the curve, and the right point under the name of another curve.
        for at in [spki.len() - 1, head.len() - 4] {
            let mut other = spki.clone();
            other[at] ^= 1;
            assert_eq!(key_of_spki(&other), Err(SignatureError::PublicKey), "{at}");
        }
    }
}

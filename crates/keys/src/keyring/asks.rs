//! What the tests of all holders ask, and the look at what they answer.

use alloy_primitives::{Address, B256};

use super::{Ask, Signed};

/// So many different digests, for each of the senders in turn.
pub(super) fn asked(senders: impl Iterator<Item = (u64, Address)>, count: u8) -> Vec<Ask> {
    let senders: Vec<(u64, Address)> = senders.collect();
    (0..count)
        .map(|byte| Ask {
            key: senders[usize::from(byte) % senders.len()],
            digest: B256::repeat_byte(byte.wrapping_add(1)),
        })
        .collect()
}

/// Each has a signature of its sender that a node takes.
pub(super) fn are_signed(asked: &[Ask], signed: &[Signed]) {
    assert_eq!(asked.len(), signed.len());
    for (ask, signature) in asked.iter().zip(signed) {
        let signature = signature.as_ref().expect("it is signed");
        assert_eq!(signature.normalize_s(), None, "nodes refuse the upper half");
        let signer = signature.recover_address_from_prehash(&ask.digest).expect("recoverable");
        assert_eq!(signer, ask.key.1);
    }
}

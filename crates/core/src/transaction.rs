//! Transactions: EIP-1559 envelopes built from a slot, a payload and fees, and read back from bytes.

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{SignableTransaction, Transaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind};
use thiserror::Error;

use crate::access_list::{ListedAccount, from_wire, to_wire};
use crate::fee::Fees;
use crate::slot::{Payload, Slot};

/// An EIP-1559 transaction that nobody signed yet.
#[derive(Clone, Debug)]
pub struct UnsignedTransaction(TxEip1559);

/// Bytes that are not a transaction that Portcullis can read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// Not an EIP-2718 envelope of a known type.
    #[error("is not a transaction envelope: {0}")]
    Malformed(String),
    /// The signature recovers to nobody.
    #[error("has a signature that recovers to no address")]
    BadSignature,
    /// It creates a contract, which Portcullis never does.
    #[error("creates a contract")]
    Creation,
    /// It is valid on every chain (before EIP-155), which Portcullis never signs.
    #[error("names no chain id")]
    NoChainId,
}

/// What signed bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedTransaction {
    /// The slot that it takes.
    pub slot: Slot,
    /// What it does.
    pub payload: Payload,
    /// Its hash.
    pub hash: B256,
    /// What it may cost.
    pub fees: Fees,
    /// Its gas limit.
    pub gas_limit: u64,
    /// What it says beforehand that it touches.
    pub access_list: Vec<ListedAccount>,
}

impl UnsignedTransaction {
    /// Builds it.
    #[must_use]
    pub fn new(slot: Slot, payload: &Payload, fees: Fees, gas_limit: u64) -> Self {
        Self(TxEip1559 {
            chain_id: slot.chain_id,
            nonce: slot.nonce,
            gas_limit,
            max_fee_per_gas: fees.max_fee_per_gas_wei,
            max_priority_fee_per_gas: fees.max_priority_fee_per_gas_wei,
            to: TxKind::Call(payload.to),
            value: payload.value,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: payload.input.clone(),
        })
    }

    /// The same with an access list.
    #[must_use]
    pub fn with_access_list(mut self, list: &[ListedAccount]) -> Self {
        self.0.access_list = to_wire(list);
        self
    }

    /// What has to be signed.
    #[must_use]
    pub fn signature_hash(&self) -> B256 {
        self.0.signature_hash()
    }

    /// The transaction's hash and its bytes for `eth_sendRawTransaction`.
    #[must_use]
    pub fn into_signed(self, signature: Signature) -> (B256, Bytes) {
        let envelope = TxEnvelope::Eip1559(self.0.into_signed(signature));
        (*envelope.tx_hash(), envelope.encoded_2718().into())
    }
}

/// Reads signed bytes back, recovering the sender from the signature.
///
/// # Errors
/// See [`TransactionError`].
pub fn decode_transaction(raw: &[u8]) -> Result<DecodedTransaction, TransactionError> {
    let envelope = TxEnvelope::decode_2718_exact(raw)
        .map_err(|error| TransactionError::Malformed(error.to_string()))?;
    let sender: Address = envelope.recover_signer().map_err(|_| TransactionError::BadSignature)?;
    Ok(DecodedTransaction {
        slot: Slot {
            chain_id: envelope.chain_id().ok_or(TransactionError::NoChainId)?,
            sender,
            nonce: envelope.nonce(),
        },
        payload: Payload {
            to: envelope.to().ok_or(TransactionError::Creation)?,
            value: envelope.value(),
            input: envelope.input().clone(),
        },
        hash: *envelope.tx_hash(),
        fees: Fees {
            max_fee_per_gas_wei: envelope.max_fee_per_gas(),
            max_priority_fee_per_gas_wei: envelope
                .max_priority_fee_per_gas()
                .unwrap_or_else(|| envelope.max_fee_per_gas()),
        },
        gas_limit: envelope.gas_limit(),
        access_list: envelope.access_list().map(from_wire).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, hex};

    use super::*;

    #[test]
    fn bytes_read_back_to_what_was_built() {
        let payload = Payload {
            to: Address::with_last_byte(9),
            value: U256::from(5),
            input: Bytes::from_static(&[1, 2, 3]),
        };
        let fees = Fees { max_fee_per_gas_wei: 30, max_priority_fee_per_gas_wei: 2 };
        let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a valid scalar");
        let sender = Address::from_public_key(key.verifying_key());
        let slot = Slot { chain_id: 137, sender, nonce: 7 };
        let list = [ListedAccount {
            address: payload.to,
            slots: vec![B256::repeat_byte(1), B256::repeat_byte(2)],
        }];
        let unsigned =
            UnsignedTransaction::new(slot, &payload, fees, 60_000).with_access_list(&list);
        let hash = unsigned.signature_hash();
        let signature = key.sign_prehash_recoverable(hash.as_slice()).expect("32 bytes");
        let (hash, raw) = unsigned.into_signed(signature.into());
        let decoded = decode_transaction(&raw).expect("it was just encoded");
        assert_eq!(decoded.hash, hash);
        assert_eq!(decoded.payload, payload);
        assert_eq!(decoded.fees, fees);
        assert_eq!(decoded.gas_limit, 60_000);
        assert_eq!(decoded.slot, slot);
        assert_eq!(decoded.access_list, list);
    }

    #[test]
    fn what_is_no_transaction_is_refused() {
        for raw in [vec![], vec![2], hex!("02c0").to_vec(), vec![0xff; 40]] {
            assert!(matches!(decode_transaction(&raw), Err(TransactionError::Malformed(_))));
        }
    }
}

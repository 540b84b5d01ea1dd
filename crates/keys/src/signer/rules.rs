//! What the signer checks before it signs: the intent by itself, then against the journal.

use std::collections::{BTreeMap, HashSet};

use alloy_primitives::{Address, B256};
use portcullis_core::address::check_destination;
use portcullis_core::calldata::direct_payment;
use portcullis_core::id::DeploymentId;
use portcullis_core::intent::{PaymentIntent, SigningIntent};
use portcullis_core::number::{PaymentRef, PayoutNumber};
use portcullis_core::seal::SealingKeys;
use portcullis_core::slot::{AttemptKind, Payload, Purpose, Rail, Slot};
use portcullis_core::vault::{VaultItem, vault_payment, vault_void};

use super::caps::ChainCaps;
use super::refusal::SigningRefusal;
use crate::journal::Index;

/// The most payments that one transaction carries, whatever is asked for.
const PAYMENTS_MAX: usize = 200;

/// The rules that need no memory.
#[derive(Debug)]
pub(super) struct Rulebook {
    pub(super) sealing: SealingKeys,
    pub(super) deployment: DeploymentId,
    pub(super) caps: BTreeMap<u64, ChainCaps>,
    /// Every address of the keystore, and every vault: none is paid by a withdrawal.
    pub(super) own: Vec<Address>,
}

impl Rulebook {
    /// Checks an intent by itself and builds what it does. The seal comes first: of a payment that was
    /// tampered with, nothing else is worth saying.
    pub(super) fn check(&self, intent: &SigningIntent) -> Result<Payload, SigningRefusal> {
        let chain_id = intent.slot.chain_id;
        let payload = self.payload(intent)?;
        let caps = self.caps.get(&chain_id).ok_or(SigningRefusal::NoCaps { chain_id })?;
        // A cancel pays nobody: its slot's payments are neither read nor journaled again, so that a
        // payment that was tampered with can still be canceled.
        if intent.kind == AttemptKind::Payload {
            for payment in &intent.payments {
                self.check_payment(payment, chain_id)?;
            }
            if intent.purpose == Purpose::Pay {
                caps.check_amounts(intent)?;
            }
        }
        caps.check_fees(intent)?;
        Ok(payload)
    }

    /// What an intent's transaction does. The vault is the one of the signer's own configuration.
    pub(super) fn payload(&self, intent: &SigningIntent) -> Result<Payload, SigningRefusal> {
        let chain_id = intent.slot.chain_id;
        let payments = intent.payments.as_slice();
        if intent.kind == AttemptKind::Cancel {
            return Ok(Payload::self_transfer(intent.slot.sender));
        }
        let vault = || {
            let caps = self.caps.get(&chain_id).ok_or(SigningRefusal::NoCaps { chain_id })?;
            caps.vault.ok_or(SigningRefusal::NoVault { chain_id })
        };
        match (intent.rail, intent.purpose, payments) {
            (Rail::Direct, Purpose::Pay, [payment]) => {
                Ok(direct_payment(payment.token, payment.to, payment.amount))
            }
            (Rail::Vault, Purpose::Pay, [_, ..]) if payments.len() <= PAYMENTS_MAX => {
                let items: Vec<VaultItem> = payments.iter().map(item_of).collect();
                Ok(vault_payment(vault()?, &items))
            }
            (Rail::Vault, Purpose::Void, [_, ..]) if payments.len() <= PAYMENTS_MAX => {
                let numbers: Vec<PayoutNumber> =
                    payments.iter().map(|payment| payment.number).collect();
                Ok(vault_void(vault()?, &numbers))
            }
            _ => Err(SigningRefusal::PaymentCount { slot: intent.slot, given: payments.len() }),
        }
    }

    fn check_payment(&self, payment: &PaymentIntent, chain_id: u64) -> Result<(), SigningRefusal> {
        let withdrawal = payment.withdrawal;
        self.sealing
            .verify_payment(&payment.sealed(self.deployment, chain_id), &payment.seal)
            .map_err(|reason| SigningRefusal::Seal { withdrawal, reason })?;
        let reference = PaymentRef::derive(
            self.deployment,
            payment.tenant,
            &payment.external_id,
            payment.token,
            payment.to,
            payment.amount,
        );
        if reference != payment.reference {
            return Err(SigningRefusal::Reference { withdrawal });
        }
        check_destination(payment.to, payment.token, &self.own)
            .map_err(|reason| SigningRefusal::Destination { withdrawal, to: payment.to, reason })
    }
}

const fn item_of(payment: &PaymentIntent) -> VaultItem {
    VaultItem {
        number: payment.number,
        reference: payment.reference,
        token: payment.token,
        to: payment.to,
        amount: payment.amount,
    }
}

/// Checks an intent against what was signed before (invariants 1, 3 and 13). A cancel fits into every slot.
pub(super) fn check_journal(
    index: &Index,
    intent: &SigningIntent,
    digest: B256,
) -> Result<(), SigningRefusal> {
    if intent.kind == AttemptKind::Cancel {
        return Ok(());
    }
    let slot = intent.slot;
    if let Some(entry) = index.slot(slot) {
        let mut digests = entry.payload_digests().peekable();
        if digests.peek().is_none() {
            return Err(SigningRefusal::SlotCanceled { slot });
        }
        if let Some(journaled) = digests.find(|journaled| *journaled != digest) {
            return Err(SigningRefusal::SlotUsed { slot, journaled, asked: digest });
        }
        // Equal amounts to one destination have one digest: the payments themselves must be the same too.
        let same = entry.payments.iter().eq(intent.payments.iter().map(|payment| &payment.number));
        if !same {
            return Err(SigningRefusal::SlotOfOthers { slot, journaled: entry.payments.clone() });
        }
    }
    intent.payments.iter().try_for_each(|payment| check_payment(index, intent, payment))
}

fn check_payment(
    index: &Index,
    intent: &SigningIntent,
    payment: &PaymentIntent,
) -> Result<(), SigningRefusal> {
    let (slot, withdrawal) = (intent.slot, payment.withdrawal);
    if let Some(known) = index.payment(payment.number)
        && known.reference != payment.reference
    {
        return Err(SigningRefusal::NumberReused { withdrawal, number: payment.number });
    }
    // By ref as well as by number: after a restore the same request may come back under a new number.
    for (number, known) in index.payments_of(payment.reference) {
        if known.voided && intent.purpose == Purpose::Pay {
            return Err(SigningRefusal::PaymentVoided { withdrawal, number });
        }
        for ride in &known.rides {
            if ride.slot == slot && ride.released {
                return Err(SigningRefusal::PaymentReleased { number, slot });
            }
            let (same_number, elsewhere) = (number == payment.number, ride.slot);
            if ride.slot == slot && same_number {
                continue;
            }
            if !ride.released {
                return Err(SigningRefusal::PaymentElsewhere { withdrawal, number, elsewhere });
            }
            // Such a ride is released before it is final: until then only its number guards it (invariant 14). To the
            // direct rail it never goes: a vault that somebody else reaches could still pay that number.
            let guarded = intent.rail == Rail::Vault && (same_number || ride.is_final);
            if ride.rail == Rail::Vault && !guarded {
                return Err(SigningRefusal::RodeVault { withdrawal, number, elsewhere });
            }
        }
    }
    Ok(())
}

/// What one call has taken already: within a call nothing may come twice, so that every intent can be
/// checked against the journal as it was before the call.
#[derive(Debug, Default)]
pub(super) struct Taken {
    slots: HashSet<Slot>,
    numbers: HashSet<PayoutNumber>,
    references: HashSet<PaymentRef>,
}

impl Taken {
    /// Whether the intent repeats anything.
    pub(super) fn check(&self, intent: &SigningIntent) -> Result<(), SigningRefusal> {
        let repeats = intent.payments.iter().any(|payment| {
            self.numbers.contains(&payment.number) || self.references.contains(&payment.reference)
        });
        if repeats || self.slots.contains(&intent.slot) {
            return Err(SigningRefusal::RepeatedInCall { slot: intent.slot });
        }
        Ok(())
    }

    /// Remembers an intent that is going to be signed.
    pub(super) fn take(&mut self, intent: &SigningIntent) {
        self.slots.insert(intent.slot);
        for payment in &intent.payments {
            self.numbers.insert(payment.number);
            self.references.insert(payment.reference);
        }
    }
}

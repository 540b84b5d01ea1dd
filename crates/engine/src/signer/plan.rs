//! Who pays what: shares queued payments among senders, pure.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use portcullis_core::amount::Amount;

/// What a sender can still take on.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// The account.
    pub(super) address: Address,
    /// Slots that it may open.
    pub(super) slots: u64,
    /// What it can spend, by token; `None` is the native coin, gas money already taken off for what
    /// is under way.
    pub(super) funds: BTreeMap<Option<Address>, Amount>,
}

impl Room {
    fn fund(&self, token: Option<Address>) -> Amount {
        self.funds.get(&token).copied().unwrap_or_default()
    }

    /// What the native coin and the token are after one more payment; `None` when it has too little.
    fn after(
        &self,
        token: Option<Address>,
        amount: Amount,
        gas_cost: Amount,
    ) -> Option<(Amount, Amount)> {
        let native = self.fund(None).checked_sub(gas_cost)?;
        if token.is_none() {
            let native = native.checked_sub(amount)?;
            return Some((native, native));
        }
        Some((native, self.fund(token).checked_sub(amount)?))
    }

    fn take(&mut self, token: Option<Address>, (native, fund): (Amount, Amount)) {
        self.funds.insert(None, native);
        self.funds.insert(token, fund);
        self.slots = self.slots.saturating_sub(1);
    }
}

/// Gives each payment, in order, to the sender with the most free slots that can afford it.
/// `None` where nobody can. `gas_cost` is what one transfer may cost at most.
pub(super) fn share(
    rooms: &mut [Room],
    payments: &[(Option<Address>, Amount)],
    gas_cost: Amount,
) -> Vec<Option<Address>> {
    payments
        .iter()
        .map(|(token, amount)| {
            let chosen = rooms
                .iter_mut()
                .filter(|room| room.slots > 0)
                .filter_map(|room| {
                    let after = room.after(*token, *amount, gas_cost)?;
                    Some((room, after))
                })
                .max_by_key(|(room, _)| (room.slots, std::cmp::Reverse(room.address)));
            chosen.map(|(room, after)| {
                room.take(*token, after);
                room.address
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    const TOKEN: Option<Address> = Some(Address::repeat_byte(9));

    fn units(units: u64) -> Amount {
        Amount::from_atomic(U256::from(units))
    }

    fn room(byte: u8, slots: u64, native: u64, token: u64) -> Room {
        Room {
            address: Address::repeat_byte(byte),

            slots,
            funds: BTreeMap::from([(None, units(native)), (TOKEN, units(token))]),
        }
    }

    fn by(senders: [u8; 4]) -> Vec<Option<Address>> {
        let sender = |byte| (byte > 0).then(|| Address::repeat_byte(byte));
        senders.into_iter().map(sender).collect()
    }

    #[test]
    fn work_is_shared_evenly() {
        let mut rooms = [room(1, 2, 100, 100), room(2, 1, 100, 100)];
        let payments = vec![(TOKEN, units(1)); 4];
        let shared = share(&mut rooms, &payments, units(1));
        assert_eq!(shared, by([1, 1, 2, 0]), "the freest first, then nobody");
    }

    #[test]
    fn nobody_promises_what_it_does_not_have() {
        let mut rooms = [room(1, 8, 10, 5), room(2, 8, 10, 50)];
        let payments =
            [(TOKEN, units(40)), (TOKEN, units(40)), (TOKEN, units(5)), (None, units(9))];
        let shared = share(&mut rooms, &payments, units(1));
        assert_eq!(shared, by([2, 0, 1, 0]), "what is promised is gone, and gas money too");
        let mut poor = [room(1, 8, 0, 50)];
        assert_eq!(share(&mut poor, &[(TOKEN, units(1))], units(1)), [None], "no gas money");
    }

    #[test]
    fn native_payments_leave_the_gas_money_of_others() {
        let mut rooms = [room(1, 8, 10, 0)];
        let shared = share(&mut rooms, &[(None, units(6)), (None, units(2))], units(2));
        assert_eq!(shared, by([1, 0, 0, 0])[..2]);
    }
}

//! What must hold between the tables after every commit, whatever was interrupted before it.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::amount::Amount;
use portcullis_core::withdrawal::{State, StateCode};
use portcullis_store::withdrawal::WithdrawalRecord;

use crate::fixture::Fixture;
use crate::rail::NONCE_FIRST;

impl Fixture {
    /// Checks everything; panics at the first contradiction.
    pub(crate) async fn check(&self) {
        self.quiesce().await;
        self.store.check_ledger().await.expect("the ledger adds up");
        self.store.verify_audit().await.expect("the audit chain holds");
        let records = self.all().await;
        self.check_numbers(&records).await;
        self.check_seals(&records);
        self.check_balances(&records).await;
        self.check_bindings(&records).await;
        self.check_work(&records).await;
        self.check_slots(&records).await;
    }

    async fn check_numbers(&self, records: &[WithdrawalRecord]) {
        let next = self.number("SELECT sequence_next FROM deployment").await;
        let given: BTreeSet<u64> = records.iter().map(|record| record.number.sequence).collect();
        let expected: BTreeSet<u64> = (1..=records.len() as u64).collect();
        assert_eq!(given, expected, "numbers are unique and without gaps");
        assert_eq!(next - 1, i64::try_from(records.len()).expect("few"));
        for record in records {
            let events = record.timeline.len() as u64;
            assert_eq!(record.event_sequence, events, "{}: {:?}", record.id, record.timeline);
        }
    }

    fn check_seals(&self, records: &[WithdrawalRecord]) {
        for record in records {
            let intent = record.intent();
            let sealed = intent.sealed(self.deployment, record.chain_id);
            self.keys.verify_payment(&sealed, &record.seal).expect("the seal of what was accepted");
        }
    }

    async fn check_balances(&self, records: &[WithdrawalRecord]) {
        let accounts: BTreeSet<&str> =
            records.iter().map(|record| record.account.as_str()).collect();
        for account in accounts {
            let of_account = || {
                records.iter().filter(|record| {
                    record.account.as_str() == account && record.asset == self.token.id
                })
            };
            let sum = |in_bucket: fn(&State) -> bool| {
                of_account()
                    .filter(|record| in_bucket(&record.state))
                    .try_fold(Amount::ZERO, |sum, record| sum.checked_add(record.amount))
                    .expect("small amounts")
            };
            let balance = self.balance(account).await;
            assert_eq!(balance.paid, sum(is_paid), "paid by {account}");
            assert_eq!(balance.held, sum(is_held), "held of {account}");
            let spent = balance.paid.checked_add(balance.held).expect("small amounts");
            assert_eq!(balance.available.checked_add(spent), Some(balance.deposited));
        }
    }

    async fn check_bindings(&self, records: &[WithdrawalRecord]) {
        let query = "SELECT hex(withdrawal_id), hex(slot_id) FROM bindings WHERE released_at = 0";
        let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (withdrawal, slot) in self.pairs(query).await {
            live.entry(withdrawal).or_default().push(slot);
        }
        for record in records {
            let bound = live.remove(&hex(&record.id.to_bytes())).unwrap_or_default();
            let expected: Vec<String> =
                record.state.slot().iter().map(|slot| hex(&slot.to_bytes())).collect();
            assert_eq!(bound, expected, "live bindings of {} in {:?}", record.id, record.state);
        }
        assert!(live.is_empty(), "bindings of nothing: {live:?}");
    }

    async fn check_work(&self, records: &[WithdrawalRecord]) {
        let rows = self.pairs("SELECT hex(withdrawal_id), stage FROM work").await;
        let mut stages: BTreeMap<String, String> = rows.into_iter().collect();
        for record in records {
            let stage = stages.remove(&hex(&record.id.to_bytes()));
            let expected = stages_of(&record.state);
            let fits = match &stage {
                None => expected.is_empty(),
                Some(stage) => expected.contains(&stage.as_str()),
            };
            assert!(fits, "{} in {:?} has its work at {stage:?}", record.id, record.state);
        }
        assert!(stages.is_empty(), "work of nothing: {stages:?}");
    }

    async fn check_slots(&self, records: &[WithdrawalRecord]) {
        let query = "SELECT hex(id), stage || ' ' || coalesce(outcome, '-') FROM slots";
        let slots: BTreeMap<String, String> = self.pairs(query).await.into_iter().collect();
        for record in records {
            let Some(slot) = record.state.slot() else { continue };
            let found = &slots[&hex(&slot.to_bytes())];
            let expected = slots_of(record.state.code());
            assert!(expected.contains(&found.as_str()), "{:?} rides {found:?}", record.state);
        }
        // A stage of committed bytes has an attempt, and the ordinals of a slot have no gaps.
        let naked = "SELECT count(*) FROM slots WHERE stage <> 'bound' AND NOT EXISTS \
                     (SELECT 1 FROM attempts WHERE attempts.slot_id = slots.id)";
        assert_eq!(self.number(naked).await, 0, "slots that go on without bytes");
        let gaps = "SELECT count(*) FROM (SELECT slot_id FROM attempts GROUP BY slot_id \
                    HAVING max(ordinal) <> count(*)) AS counted";
        assert_eq!(self.number(gaps).await, 0, "gaps between attempts");
        let nonces = format!(
            "SELECT count(*) FROM senders AS s WHERE s.nonce_next - {NONCE_FIRST} <> \
             (SELECT count(*) FROM slots WHERE slots.sender = s.address \
             AND slots.nonce BETWEEN {NONCE_FIRST} AND s.nonce_next - 1)"
        );
        assert_eq!(self.number(nonces).await, 0, "nonces that were given have one slot each");
    }
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode_upper(bytes)
}

const fn is_paid(state: &State) -> bool {
    matches!(state, State::Confirmed { .. })
}

const fn is_held(state: &State) -> bool {
    !matches!(
        state,
        State::Confirmed { .. } | State::Rejected | State::Canceled | State::Failed { .. }
    )
}

/// Where the work of a state may stand; nowhere when there is none.
const fn stages_of(state: &State) -> &'static [&'static str] {
    match state {
        State::Pending | State::Validating => &["validate"],
        State::Queued => &["validate", "sign"],
        State::Signing { .. } | State::Signed { .. } | State::Broadcasting { .. } => &["broadcast"],
        State::Broadcasted { .. }
        | State::Confirming { .. }
        | State::Confirmed { is_final: false, .. } => &["monitor"],
        State::Held { .. } | State::AwaitingApproval => &["held"],
        State::Confirmed { is_final: true, .. }
        | State::Rejected
        | State::Canceled
        | State::Failed { .. } => &[],
    }
}

/// Stages and outcomes of the slot that a payment in this state may ride. A slot that was consumed
/// without paying leaves its payments where they were until that is final.
fn slots_of(state: StateCode) -> Vec<&'static str> {
    const UNPAID: [&str; 4] =
        ["included reverted", "included canceled", "confirmed reverted", "confirmed canceled"];
    let (own, may_be_unpaid): (&[&str], bool) = match state {
        StateCode::Signing => (&["bound -"], false),
        StateCode::Signed => (&["signed -", "sent -"], true),
        StateCode::Broadcasting => (&["sending -", "sent -"], true),
        StateCode::Broadcasted => (&["sent -"], true),
        StateCode::Confirming => (&["included paid"], false),
        StateCode::Confirmed => (&["confirmed paid", "final paid"], false),
        StateCode::Held => (&["sent -", "included paid", "confirmed paid", "final paid"], true),
        _ => (&[], false),
    };
    own.iter().chain(UNPAID.iter().filter(|_| may_be_unpaid)).copied().collect()
}

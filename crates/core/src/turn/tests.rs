//! The order against a queue that is served from its front.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

use super::{Line, SPACING_MS, TenantLine, front, head_start_ms};
use crate::time::Timestamp;
use crate::withdrawal::Priority;

const START_MS: i64 = 1_795_168_800_000;

type Tenant = u32;
type Account = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    turn: Timestamp,
    sequence: u64,
    tenant: Tenant,
    account: Account,
    priority: Priority,
}

/// A queue as the store keeps it: lines by account, rows by turn.
struct Queue {
    now: Timestamp,
    accepted: u64,
    rows: BTreeSet<Row>,
    accounts: BTreeMap<(Tenant, Account), Line>,
    tenants: BTreeMap<Tenant, Line>,
}

impl Queue {
    fn new() -> Self {
        Self {
            now: Timestamp::from_millis(START_MS),
            accepted: 0,
            rows: BTreeSet::new(),
            accounts: BTreeMap::new(),
            tenants: BTreeMap::new(),
        }
    }

    fn accept(&mut self, tenant: Tenant, account: Account, priority: Priority) -> Row {
        let next = self.rows.first().map(|row| (row.turn, row.priority));
        if next.is_none() {
            self.accounts.clear();
            self.tenants.clear();
        }
        let front = front(self.now, next);
        let waiting = self
            .accounts
            .range((tenant, 0)..=(tenant, Account::MAX))
            .filter(|(_, line)| line.standard > front)
            .count() as u64;
        let accounts = self.tenants.get(&tenant).copied().unwrap_or_default();
        let mut of_tenant = TenantLine { front, accounts, waiting };
        let line = self.accounts.entry((tenant, account)).or_default();
        let turn = of_tenant.place(line, priority);
        self.tenants.insert(tenant, of_tenant.accounts);
        self.accepted += 1;
        let row = Row { turn, sequence: self.accepted, tenant, account, priority };
        self.rows.insert(row);
        row
    }

    fn accept_many(&mut self, tenant: Tenant, account: Account, count: u32) {
        for _ in 0..count {
            self.accept(tenant, account, Priority::Standard);
        }
    }

    fn serve(&mut self, count: usize) -> Vec<Row> {
        (0..count).map_while(|_| self.rows.pop_first()).collect()
    }

    /// How many rows are served until the last one of these is.
    fn position(&self, is_one: impl Fn(&Row) -> bool) -> usize {
        self.rows.iter().rposition(is_one).map_or(0, |index| index + 1)
    }
}

#[test]
fn urgent_goes_before_vip_and_vip_before_standard() {
    let mut queue = Queue::new();
    for (account, priority) in (0_u32..).zip([
        Priority::Standard,
        Priority::Vip,
        Priority::Urgent,
        Priority::Standard,
        Priority::Urgent,
        Priority::Vip,
    ]) {
        queue.accept(account % 2, account, priority);
    }
    let order: Vec<Priority> = queue.serve(6).into_iter().map(|row| row.priority).collect();
    let mut expected = order.clone();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(order, expected);
}

#[test]
fn a_standard_payment_that_waited_long_enough_goes_before_fresh_higher_ones() {
    for above in [Priority::Vip, Priority::Urgent] {
        let mut queue = Queue::new();
        let standard = queue.accept(1, 1, Priority::Standard);
        queue.now = queue.now.plus_millis(head_start_ms(above) - 1);
        let fresh = queue.accept(2, 2, above);
        assert!(fresh.turn < standard.turn, "{above:?}: it has not waited long enough");
        queue.now = queue.now.plus_millis(1 + SPACING_MS);
        let fresh = queue.accept(3, 3, above);
        assert!(standard.turn < fresh.turn, "{above:?}: it has waited long enough");
    }
}

#[test]
fn fifty_thousand_of_one_tenant_do_not_keep_ten_of_another_waiting() {
    let mut queue = Queue::new();
    queue.accept_many(1, 1, 50_000);
    queue.accept_many(2, 1, 10);
    assert!(queue.position(|row| row.tenant == 2) <= 22);
    // Nor later, when the queue is far ahead of the clock or behind it.
    for served_per_second in [10, 100, 1_000] {
        let mut queue = Queue::new();
        queue.accept_many(1, 1, 50_000);
        for _ in 0..20 {
            queue.serve(served_per_second);
            queue.now = queue.now.plus_millis(1_000);
        }
        queue.accept_many(2, 1, 10);
        let position = queue.position(|row| row.tenant == 2);
        assert!(position <= 22, "{served_per_second}: {position}");
    }
}

#[test]
fn a_tenant_has_one_share_however_many_accounts_it_has() {
    let mut queue = Queue::new();
    for account in 0..300 {
        queue.accept_many(1, account, 20);
    }
    queue.accept_many(2, 1, 10);
    // Accounts that come one after the other stand between those before them: the sum of 1/n of them, not their number.
    let position = queue.position(|row| row.tenant == 2);
    assert!(position <= 10 * 8 + 12, "{position}");
    let mut queue = Queue::new();
    for account in 0..2_000 {
        queue.accept(1, account, Priority::Standard);
    }
    queue.accept_many(2, 1, 10);
    assert!(queue.position(|row| row.tenant == 2) <= 22);
}

#[test]
fn fifty_thousand_of_one_account_do_not_keep_ten_of_its_neighbour_waiting() {
    let mut queue = Queue::new();
    queue.accept_many(1, 1, 50_000);
    queue.accept_many(1, 2, 10);
    assert!(queue.position(|row| row.account == 2) <= 40);
}

#[test]
fn who_was_served_while_nobody_waited_shares_equally_later() {
    let mut queue = Queue::new();
    queue.accept_many(1, 1, 10_000);
    queue.serve(5_000);
    queue.accept_many(2, 1, 5_000);
    let next = queue.serve(1_000);
    let first = next.iter().filter(|row| row.tenant == 1).count();
    assert!((450..=550).contains(&first), "{first} of 1000");
    // And once all of it is served, a new payment of the first comes as soon as anybody's.
    queue.serve(usize::MAX);
    queue.accept_many(3, 1, 1_000);
    queue.accept_many(2, 1, 1_000);
    queue.accept(1, 1, Priority::Standard);
    assert!(queue.position(|row| row.tenant == 1) <= 4);
}

#[test]
fn a_burst_of_one_priority_stays_before_lower_ones_of_its_account() {
    let mut queue = Queue::new();
    for _ in 0..10_000 {
        queue.accept(1, 1, Priority::Vip);
    }
    queue.accept_many(1, 1, 10);
    let order = queue.serve(usize::MAX);
    assert!(order[..10_000].iter().all(|row| row.priority == Priority::Vip));
}

/// An acceptance (tenant, account, priority), or services and the passing of time.
type Step = (Option<(Tenant, Account, Priority)>, u16, usize);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let accepted = (0_u32..3, 0_u32..4, prop::sample::select(Priority::ALL.as_slice()));
    let step = (prop::option::weighted(0.8, accepted), any::<u16>(), 0_usize..4);
    prop::collection::vec(step, 1..300)
}

proptest! {
    #[test]
    fn nothing_is_overtaken_by_what_comes_a_head_start_later(steps in steps()) {
        let mut queue = Queue::new();
        for (accepted, millis, served) in steps {
            if let Some((tenant, account, priority)) = accepted {
                let row = queue.accept(tenant, account, priority);
                let earliest = queue.now.plus_millis(-head_start_ms(priority));
                prop_assert!(row.turn > earliest, "it goes before its own head start");
            } else {
                queue.serve(served);
                queue.now = queue.now.plus_millis(i64::from(millis));
            }
        }
    }

    #[test]
    fn an_account_is_served_in_order_and_by_priority(steps in steps()) {
        let mut queue = Queue::new();
        let mut last: BTreeMap<(Tenant, Account), Vec<Row>> = BTreeMap::new();
        for (accepted, millis, served) in steps {
            if let Some((tenant, account, priority)) = accepted {
                let row = queue.accept(tenant, account, priority);
                let waiting = last.entry((tenant, account)).or_default();
                waiting.retain(|earlier| queue.rows.contains(earlier));
                for earlier in waiting.iter().filter(|earlier| earlier.priority >= priority) {
                    prop_assert!(earlier < &row, "{earlier:?} was first, and is not lower than {row:?}");
                }
                waiting.push(row);
            } else {
                queue.serve(served);
                queue.now = queue.now.plus_millis(i64::from(millis));
            }
        }
    }
}

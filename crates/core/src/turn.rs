//! Whose turn it is: the order in which accepted withdrawals are paid.
//!
//! Each gets a virtual instant when it is accepted, and the queue is paid in the order of these instants, so that an index
//! alone gives the next few hundred. The instant is that of the acceptance, earlier by the head start of the priority, and
//! later the more of the same account and tenant waits already:
//!
//! - *Aging*: no instant lies further in the past than the head start of `urgent`. What has waited longer than that is
//!   overtaken by nothing that comes later, whatever its priority.
//! - *Fairness*: a payment stands [`SPACING_MS`] behind the one before it of its account, times the accounts of the
//!   tenant that wait. So a tenant has one place every [`SPACING_MS`] however many accounts it has, and tenants take turns.
//! - *Forgiveness*: instants begin where the queue stands, not at the clock, when the queue ran ahead of the clock. Who
//!   was served while nobody else waited is not made to wait for it later. When nothing waits at all, all lines end.

use std::cmp::max;

use crate::time::Timestamp;
use crate::withdrawal::Priority;

/// How far apart two payments of one tenant stand. Above the time that one payment takes, so that whoever comes later is
/// served between them and not behind them: it is, where at least ten payments a second are made.
pub const SPACING_MS: i64 = 100;

/// Accounts of one tenant beyond this are not counted when the payments of one of them are spaced.
pub const ACCOUNTS_COUNTED_MAX: u64 = 1_000;

/// How much earlier than a standard withdrawal one of this priority is paid.
#[must_use]
pub const fn head_start_ms(priority: Priority) -> i64 {
    match priority {
        Priority::Standard => 0,
        Priority::Vip => 10 * 60_000,
        Priority::Urgent => 60 * 60_000,
    }
}

/// Where a line ends, for each priority: the last instants that were given in it, without head starts. A lower
/// priority never stands before a higher one of the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The last urgent one.
    pub urgent: Timestamp,
    /// The last one that is vip or urgent.
    pub vip: Timestamp,
    /// The last one.
    pub standard: Timestamp,
}

impl Line {
    /// Where the next one of this priority comes behind.
    #[must_use]
    pub const fn end(&self, priority: Priority) -> Timestamp {
        match priority {
            Priority::Standard => self.standard,
            Priority::Vip => self.vip,
            Priority::Urgent => self.urgent,
        }
    }

    fn extend(&mut self, priority: Priority, to: Timestamp) {
        self.standard = max(self.standard, to);
        if priority >= Priority::Vip {
            self.vip = max(self.vip, to);
        }
        if priority >= Priority::Urgent {
            self.urgent = max(self.urgent, to);
        }
    }
}

/// The lines of one tenant on one chain, as far as the turns in hand need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantLine {
    /// Where the queue stands: nothing is placed before it.
    pub front: Timestamp,
    /// The line of the accounts themselves: each stands in it with the first payment that it has waiting.
    pub accounts: Line,
    /// How many accounts wait.
    pub waiting: u64,
}

impl TenantLine {
    /// Places one payment of an account behind what its line has already; returns the instant of its turn.
    pub fn place(&mut self, account: &mut Line, priority: Priority) -> Timestamp {
        let end = account.end(priority);
        if account.standard <= self.front {
            self.waiting = self.waiting.saturating_add(1);
        }
        let at = if end <= self.front {
            let at = max(self.front, self.accounts.end(priority)).plus_millis(SPACING_MS);
            self.accounts.extend(priority, at);
            at
        } else {
            let accounts = self.waiting.clamp(1, ACCOUNTS_COUNTED_MAX);
            let accounts = i64::try_from(accounts).unwrap_or(i64::MAX);
            end.plus_millis(SPACING_MS.saturating_mul(accounts))
        };
        account.extend(priority, at);
        at.plus_millis(head_start_ms(priority).saturating_neg())
    }
}

/// Where the queue of a chain stands: at the clock, or where the payment that is next was placed if that is later.
#[must_use]
pub fn front(now: Timestamp, next: Option<(Timestamp, Priority)>) -> Timestamp {
    let placed = next.map(|(turn, priority)| turn.plus_millis(head_start_ms(priority)));
    placed.map_or(now, |placed| max(now, placed))
}

#[cfg(test)]
mod tests;

//! What one trip to the database tells of a group of requests, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::id::{ExternalId, TenantId};
use portcullis_core::time::Timestamp;
use portcullis_core::withdrawal::Priority;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Select};

use super::Submission;
use super::turns::{self, Lines};
use crate::audit;
use crate::db::Transaction;
use crate::deployment::{self, hold_off_halts, refuse_restored};
use crate::dialect::by_index;
use crate::entity::{self, balance, line, withdrawal, work};
use crate::error::StoreError;
use crate::ledger::{BalanceRow, Purse, ROWS_PER_STATEMENT, balances_of, read_balance};
use crate::reconcile::any_forgotten;
use crate::trip::{Answers, Asked, Trip, in_steps};

/// The state of the database, as far as a group needs it.
pub(super) struct Picture {
    /// Whether reconcile left anything that a request could be about.
    pub(super) has_forgotten: bool,
    /// The requests that were accepted before.
    pub(super) known: Vec<withdrawal::Model>,
    /// What the accounts have.
    pub(super) balances: BTreeMap<Purse, BalanceRow>,
    /// Where payout numbers are taken from.
    pub(super) numbers: Option<entity::deployment::Model>,
    /// The head of the audit log.
    pub(super) audited: Option<entity::audit::Model>,
    /// The turn and priority of what is paid next on each chain; `None` when nothing is due.
    pub(super) next: BTreeMap<u64, Option<(Timestamp, Priority)>>,
    /// The lines in which these requests stand, where they reach beyond now.
    pub(super) lines: BTreeMap<(u64, TenantId), Lines>,
}

/// The questions about what is due on a chain, and about lines there.
struct OfChain {
    due: [Asked<work::Model>; 2],
    lines: Vec<(TenantId, Vec<Asked<line::Model>>)>,
}

impl Picture {
    /// Looks; lines that are at their end are cleared away before. Where others accept too, what comes behind the payout
    /// numbers is looked at when they are through.
    ///
    /// # Errors
    /// [`StoreError::Halted`] while the database may be an old one: a request that it does not know may be paid.
    pub(super) async fn look(
        tx: &Transaction,
        submissions: &[&Submission],
    ) -> Result<Self, StoreError> {
        hold_off_halts(tx).await?;
        let mut trip = Trip::default();
        let restored = trip.ask(deployment::restored());
        let forgotten = trip.ask(any_forgotten());
        let known = ask_known(&mut trip, submissions);
        let purses: Vec<Purse> = submissions.iter().map(|submission| submission.purse()).collect();
        let balances: Vec<Asked<balance::Model>> =
            balances_of(&purses).into_iter().map(|select| trip.ask(select)).collect();
        let numbers = trip.ask(deployment::numbers().lock_exclusive());
        let audited = trip.ask(audit::newest());
        let chains = ask_chains(&mut trip, tx.now, submissions);
        let mut answers = trip.go(tx).await?;
        refuse_restored(answers.take(&restored)?)?;
        let mut picture = Self {
            has_forgotten: !answers.take(&forgotten)?.is_empty(),
            known: answers.take_all(&known)?,
            balances: BTreeMap::new(),
            numbers: answers.take(&numbers)?.pop(),
            audited: answers.take(&audited)?.pop(),
            next: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        for row in answers.take_all(&balances)? {
            let (purse, row) = read_balance(&row)?;
            picture.balances.insert(purse, row);
        }
        for (chain_id, of_chain) in chains {
            picture.add_chain(chain_id, of_chain, &mut answers)?;
        }
        Ok(picture)
    }

    fn add_chain(
        &mut self,
        chain_id: u64,
        of_chain: OfChain,
        answers: &mut Answers,
    ) -> Result<(), StoreError> {
        let mut next = None;
        for due in of_chain.due {
            next = next.or(answers.take(&due)?.pop());
        }
        self.next.insert(chain_id, next.map(|row| turns::place_of(&row)).transpose()?);
        for (tenant, asked) in of_chain.lines {
            let rows = answers.take_all(&asked)?;
            self.lines.insert((chain_id, tenant), rows.into_iter().map(turns::read_line).collect());
        }
        Ok(())
    }
}

fn ask_known(trip: &mut Trip, submissions: &[&Submission]) -> Vec<Asked<withdrawal::Model>> {
    let mut by_tenant: BTreeMap<TenantId, Vec<&ExternalId>> = BTreeMap::new();
    for submission in submissions {
        by_tenant.entry(submission.tenant).or_default().push(&submission.external_id);
    }
    let mut asked = Vec::with_capacity(by_tenant.len());
    for (tenant, ids) in by_tenant {
        asked.extend(
            ids.chunks(ROWS_PER_STATEMENT).map(|ids| trip.ask(withdrawals_of(tenant, ids))),
        );
    }
    asked
}

fn withdrawals_of(tenant: TenantId, ids: &[&ExternalId]) -> Select<withdrawal::Entity> {
    let ids = in_steps(ids.iter().map(|id| id.as_str()).collect());
    let query = withdrawal::Entity::find()
        .filter(withdrawal::Column::TenantId.eq(tenant.to_bytes().to_vec()))
        .filter(withdrawal::Column::ExternalId.is_in(ids));
    by_index(query, "withdrawals_by_request").lock_exclusive()
}

fn ask_chains(
    trip: &mut Trip,
    now: Timestamp,
    submissions: &[&Submission],
) -> BTreeMap<u64, OfChain> {
    let mut accounts: BTreeMap<u64, BTreeMap<TenantId, BTreeSet<&str>>> = BTreeMap::new();
    for submission in submissions {
        let tenants = accounts.entry(submission.chain_id).or_default();
        tenants.entry(submission.tenant).or_default().insert(submission.account.as_str());
    }
    let mut chains = BTreeMap::new();
    for (chain_id, tenants) in accounts {
        let due = turns::due(chain_id, now).map(|select| trip.ask(select));
        turns::clear_lines(trip, chain_id, tenants.keys().copied(), now, &due);
        let mut lines = Vec::with_capacity(tenants.len());
        for (tenant, names) in tenants {
            let selects = turns::lines_of(chain_id, tenant, names);
            lines.push((tenant, selects.into_iter().map(|select| trip.ask(select)).collect()));
        }
        chains.insert(chain_id, OfChain { due, lines });
    }
    chains
}

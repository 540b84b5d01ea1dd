//! The schema against the code: whatever the code writes fits, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::ledger::PostingKind;
use portcullis_core::slot::{AttemptKind, ItemOutcome, Purpose, Rail, SlotOutcome, SlotStage};
use portcullis_core::withdrawal::StateCode;
use portcullis_store::alarm::AlarmKind;
use portcullis_store::command::CommandKind;
use portcullis_store::dead_letter::{DeadLetterQueue, LetterEnd};
use portcullis_store::transition::Stage;

use crate::fixture::Fixture;

/// The lists of `CHECK (column IN ('a', 'b'))`, by table and column.
fn lists(table: &str, sql: &str) -> Vec<((String, String), BTreeSet<String>)> {
    let mut found = Vec::new();
    for part in sql.split("CHECK (").skip(1) {
        let Some((column, rest)) = part.split_once(" IN (") else { continue };
        let values = rest.split_once(')').map_or("", |(values, _)| values);
        if !values.contains('\'') {
            continue;
        }
        let texts =
            values.split(',').map(|value| value.trim().trim_matches('\'').to_owned()).collect();
        found.push(((table.to_owned(), column.to_owned()), texts));
    }
    found
}

fn texts(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn the_lists_of_the_schema_are_those_of_the_code() {
    let fixture = Fixture::open().await;
    let tables =
        fixture.pairs("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY 1").await;
    let found: BTreeMap<_, _> = tables.iter().flat_map(|(table, sql)| lists(table, sql)).collect();
    let key = |table: &str, column: &str| (table.to_owned(), column.to_owned());
    let states: Vec<&str> = StateCode::ALL.iter().map(|code| code.as_str()).collect();
    let expected = BTreeMap::from([
        (key("postings", "kind"), texts(&PostingKind::ALL.map(PostingKind::as_str))),
        (key("withdrawals", "state"), texts(&states)),
        (key("work", "stage"), texts(&Stage::ALL.map(Stage::as_str))),
        (
            key("slots", "purpose"),
            texts(&[Purpose::Pay, Purpose::Fill, Purpose::Void].map(Purpose::as_str)),
        ),
        (key("slots", "rail"), texts(&[Rail::Direct, Rail::Vault].map(Rail::as_str))),
        (key("bindings", "item"), texts(&ItemOutcome::ALL.map(ItemOutcome::as_str))),
        (key("slots", "stage"), texts(&SlotStage::ALL.map(SlotStage::as_str))),
        (key("slots", "outcome"), texts(&SlotOutcome::ALL.map(SlotOutcome::as_str))),
        (
            key("attempts", "kind"),
            texts(&[AttemptKind::Payload, AttemptKind::Cancel].map(AttemptKind::as_str)),
        ),
        (key("alarms", "kind"), texts(&AlarmKind::ALL.map(AlarmKind::as_str))),
        (key("dead_letters", "queue"), texts(&DeadLetterQueue::ALL.map(DeadLetterQueue::as_str))),
        (key("dead_letters", "ended_how"), texts(&LetterEnd::ALL.map(LetterEnd::as_str))),
        (key("commands", "kind"), texts(&CommandKind::ALL.map(CommandKind::as_str))),
    ]);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_table_is_strict() {
    let fixture = Fixture::open().await;
    let loose = "SELECT count(*) FROM sqlite_master WHERE type = 'table' \
                 AND name NOT IN ('_sqlx_migrations', 'sqlite_stat1', 'sqlite_stat4') AND sql NOT LIKE '%) STRICT'";
    assert_eq!(fixture.number(loose).await, 0);
}

/// Without them the planner takes an index for better than the key of a row (ADR 0011).
#[tokio::test]
async fn every_index_of_a_table_with_statistics_has_some() {
    let fixture = Fixture::open().await;
    let without = "SELECT m.name, i.name FROM sqlite_master AS m JOIN pragma_index_list(m.name) AS i \
                   WHERE m.type = 'table' AND m.name IN (SELECT tbl FROM sqlite_stat1) \
                   AND i.name NOT IN (SELECT idx FROM sqlite_stat1)";
    assert_eq!(fixture.pairs(without).await, []);
    let with = "SELECT count(DISTINCT tbl) FROM sqlite_stat1";
    assert_eq!(fixture.number(with).await, 5);
}

#[tokio::test]
async fn statistics_that_somebody_gathered_are_replaced_with_their_samples() {
    let fixture = Fixture::open().await;
    let fixed = "SELECT idx, stat FROM sqlite_stat1 ORDER BY idx";
    let expected = fixture.pairs(fixed).await;
    fixture.queue("analysed", 1).await;
    fixture.sql("ANALYZE").await;
    let samples = "SELECT count(*) FROM sqlite_stat4";
    assert_ne!(fixture.number(samples).await, 0, "there is something to sample");
    assert_ne!(fixture.pairs(fixed).await, expected);
    fixture.sql("DELETE FROM _sqlx_migrations WHERE version = 34").await;
    fixture.store.migrate().await.expect("migrates");
    assert_eq!(fixture.number(samples).await, 0, "they do not fit");
    assert_eq!(fixture.pairs(fixed).await, expected);
}

#[tokio::test]
async fn readers_do_not_wait_for_the_writer() {
    let fixture = Fixture::open().await;
    let mode = fixture.pairs("SELECT journal_mode, '' FROM pragma_journal_mode").await;
    assert_eq!(mode[0].0, "wal");
}

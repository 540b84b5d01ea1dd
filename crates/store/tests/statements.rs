//! Sets: the number of statements does not grow with the number of withdrawals.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_store::intake::Submission;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[path = "exercise/behind.rs"]
#[expect(dead_code, reason = "this is one test of many that use it")]
mod behind;
#[path = "exercise/fixture.rs"]
#[expect(dead_code, reason = "this is one test of many that use it")]
mod fixture;

use fixture::{Database, Fixture, PATIENCE_MS, pass};

pub(crate) const DATABASE: Database = Database::Sqlite;

/// Statements that the driver has told of: it tells a whole process, so this test has one of its own.
static TOLD: AtomicU64 = AtomicU64::new(0);

struct Statements;

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {
        TOLD.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

async fn counted<F: Future>(work: F) -> u64 {
    let before = TOLD.load(Ordering::SeqCst);
    work.await;
    TOLD.load(Ordering::SeqCst) - before
}

fn requests(fixture: &Fixture, count: usize) -> Vec<Submission> {
    (0..count)
        .map(|n| {
            let name = format!("w{n}-{:x}", fixture.random());
            fixture.submission(&name, &format!("account-{}", n % 20), 1)
        })
        .collect()
}

#[tokio::test]
async fn a_set_takes_the_same_few_statements_whatever_its_size() {
    tracing::subscriber::set_global_default(Statements).expect("nothing else listens");
    let fixture = Fixture::open().await;
    for n in 0..20 {
        fixture.fund(&format!("account-{n}"), 1_000).await;
    }
    let mut intake = Vec::new();
    let mut processor = Vec::new();
    // The first of each size opens windows and lines; later ones find them.
    for size in [20, 20, 500, 100] {
        let set = fixture.intake.submit_many(requests(&fixture, size), PATIENCE_MS);
        intake.push(Box::pin(counted(async { assert!(set.await.is_ok()) })).await);
        let judged = fixture.store.validate(500, &pass);
        processor.push(Box::pin(counted(async { assert_eq!(judged.await, Ok(size)) })).await);
    }
    println!("statements of intake: {intake:?}, of the processor: {processor:?}");
    assert_eq!(intake[1..], [intake[1]; 3], "intake");
    assert_eq!(processor[1..], [processor[1]; 3], "processor");
    assert!((1..=24).contains(&intake[1]), "{intake:?}");
    assert!((1..=16).contains(&processor[1]), "{processor:?}");
}

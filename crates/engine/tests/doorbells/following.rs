//! What a queue holds is what waits: a scaler reads it, and a lost message costs nothing but time.

use std::sync::Arc;

use portcullis_engine::{Bell, Queue, QueueCount, SqsQueues, sets_of};
use portcullis_testkit::Moto;

use crate::house::{House, queues_of, until};

/// Three sets.
const ROWS: u64 = 120;

async fn messages(queues: &SqsQueues, queue: Queue) -> QueueCount {
    queues.count(&queues.name(queue)).await.expect("counts")
}

#[tokio::test]
async fn the_number_of_messages_follows_the_work_from_stage_to_stage() {
    let (server, house) = (Moto::start(), House::new().await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    let relay = house.relay(&queues);
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 0, "nothing waits");
    house.accept(ROWS).await;
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.visible, sets_of(ROWS));
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.visible, 3, "once is enough");
    let processor = house.processor(Arc::new(queues_of(&server).await));
    until("policy has passed all", || async { house.rows(Queue::TxQueued).await == ROWS }).await;
    until("the messages went with the work", || async {
        messages(&queues, Queue::TxRequest).await.total() == 0
    })
    .await;
    // The doorbells of these are lost, and its timer rings in an hour: it hears of them by the relay alone.
    house.accept(10).await;
    relay.step().await.expect("relays");
    let all = ROWS + 10;
    until("the rest has passed", || async { house.rows(Queue::TxQueued).await == all }).await;
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxQueued).await.total(), 3);
    processor.stop().await;
}

#[tokio::test]
async fn too_many_messages_are_taken_away_and_too_few_are_added() {
    let (server, house) = (Moto::start(), House::new().await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    let name = queues.name(Queue::TxRequest);
    house.accept(ROWS).await;
    // Every one twice, and then some.
    queues.send(&name, "{\"queue\":\"tx-request\"}", 27).await.expect("sends");
    let relay = house.relay(&queues);
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 3);
    let purged = queues.receive(&name, 10, 0).await.expect("receives");
    let handles: Vec<String> = purged.into_iter().map(|message| message.handle).collect();
    queues.delete(&name, &handles).await.expect("deletes");
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 0);
    relay.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 3, "a purged queue fills again");
}

#[tokio::test]
async fn one_process_relays_and_the_others_leave_it_to_it() {
    let (server, house) = (Moto::start(), House::new().await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    let (first, second) = (house.relay(&queues), house.relay(&queues));
    first.step().await.expect("relays");
    house.accept(1).await;
    second.step().await.expect("has nothing to do");
    first.step().await.expect("relays");
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 1);
}

#[tokio::test]
async fn a_fast_clock_drops_no_message_whose_work_waits() {
    let (server, house) = (Moto::start(), House::on_server(90_000).await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    // It holds the lease: no other relay mends what a consumer does.
    house.relay(&queues).step().await.expect("relays");
    house.accept(1).await;
    let name = queues.name(Queue::TxRequest);
    queues.send(&name, "{\"queue\":\"tx-request\"}", 3).await.expect("sends");
    let (_doorbells, carrying) = house.carry(&[Bell::Validate], Some(Arc::clone(&queues)), None);
    until("what is too much went", || async {
        messages(&queues, Queue::TxRequest).await.total() <= 1
    })
    .await;
    assert_eq!(messages(&queues, Queue::TxRequest).await.total(), 1, "the work waits");
    carrying.stop().await;
    assert_eq!(messages(&queues, Queue::TxRequest).await.visible, 1, "it was given back");
}

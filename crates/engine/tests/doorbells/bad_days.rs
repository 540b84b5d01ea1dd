//! Duplicates, expired handles, poisoned messages, and a server that comes back empty.

use std::sync::Arc;

use portcullis_engine::{Bell, Component, MAX_RECEIVES, Queue, Redriven, SqsError};
use portcullis_store::dead_letter::DeadLetterQueue;
use portcullis_testkit::Moto;

use crate::house::{House, queues_of, until};

const BODY: &str = "{\"queue\":\"tx-queued\",\"stage\":\"sign\"}";

#[tokio::test]
async fn a_handle_that_is_not_ours_any_more_hurts_nobody() {
    let server = Moto::start();
    let queues = queues_of(&server).await;
    queues.create_all().await.expect("makes them");
    let name = queues.name(Queue::TxQueued);
    queues.send(&name, BODY, 1).await.expect("sends");
    let first = queues.receive(&name, 1, 0).await.expect("receives").remove(0);
    assert!(queues.receive(&name, 1, 0).await.expect("receives").is_empty(), "it is out of sight");
    let handles = [first.handle.clone()];
    assert!(queues.keep(&name, &handles, 0).await.expect("gives back").is_empty());
    let again = queues.receive(&name, 1, 0).await.expect("receives").remove(0);
    queues.delete(&name, std::slice::from_ref(&again.handle)).await.expect("deletes");
    queues.delete(&name, &[again.handle, first.handle.clone()]).await.expect("is no error");
    assert_eq!(queues.keep(&name, &handles, 60).await.expect("is no error"), [0]);
    assert_eq!(queues.count(&name).await.expect("counts").total(), 0);
}

#[tokio::test]
async fn what_is_received_too_often_becomes_a_dead_letter_and_is_sent_again_on_demand() {
    let server = Moto::start();
    let queues = queues_of(&server).await;
    queues.create_all().await.expect("makes them");
    let (name, letters) = (queues.name(Queue::TxQueued), DeadLetterQueue::Request);
    let home = queues.dead_letter_name(letters);
    queues.send(&name, BODY, 1).await.expect("sends");
    for receive in 1..=MAX_RECEIVES {
        let received = queues.receive(&name, 1, 0).await.expect("receives");
        let handles: Vec<String> = received.into_iter().map(|it| it.handle).collect();
        assert_eq!(handles.len(), 1, "receive {receive}");
        queues.keep(&name, &handles, 0).await.expect("gives back");
    }
    assert!(queues.receive(&name, 1, 0).await.expect("receives").is_empty());
    assert_eq!(queues.count(&home).await.expect("counts").visible, 1);
    queues.send(&home, "of somebody else", 2).await.expect("sends");
    let mut done = Redriven::default();
    queues.redrive(letters, 100, &mut done).await.expect("redrives");
    assert_eq!(done, Redriven { sent: 1, failed: 0, foreign: 2 });
    assert_eq!(queues.count(&home).await.expect("counts").total(), 2, "what is not ours stays");
    let back = queues.receive(&name, 1, 0).await.expect("receives");
    assert_eq!(back.first().map(|message| message.body.as_str()), Some(BODY));
}

#[tokio::test]
async fn queues_are_made_twice_without_harm() {
    let server = Moto::start();
    let queues = queues_of(&server).await;
    let first = queues.create_all().await.expect("makes them");
    assert_eq!(first.len(), Queue::ALL.len() + DeadLetterQueue::ALL.len());
    assert!(first.iter().all(|name| name.starts_with("test-")), "{first:?}");
    assert_eq!(queues.create_all().await.expect("they exist"), first);
}

#[tokio::test]
async fn every_message_twice_and_in_any_order_is_the_same_work() {
    let (server, house) = (Moto::start(), House::new().await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    let name = queues.name(Queue::TxRequest);
    let processors =
        [house.processor(Arc::new(queues_of(&server).await)), house.processor(queues.clone())];
    for _ in 0..5 {
        queues.send(&name, "a late one, of work that is done", 1).await.expect("sends");
        house.accept(10).await;
        queues.send(&name, "{}", 4).await.expect("sends");
    }
    until("each is judged once", || async { house.rows(Queue::TxQueued).await == 50 }).await;
    assert_eq!(house.rows(Queue::TxRequest).await, 0);
    until("all messages are gone", || async {
        queues.count(&name).await.expect("counts").total() == 0
    })
    .await;
    for processor in processors {
        processor.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_filled_again() {
    let (mut server, house) = (Moto::start(), House::new().await);
    let queues = Arc::new(queues_of(&server).await);
    queues.create_all().await.expect("makes them");
    let (rings, api) = house.carry(&[], Some(Arc::new(queues_of(&server).await)), None);
    let processor = house.processor(Arc::new(queues_of(&server).await));
    house.accept(5).await;
    rings.ring(Bell::Validate);
    until("the first are judged", || async { house.rows(Queue::TxQueued).await == 5 }).await;
    assert_eq!(house.concerns.all(), []);
    server.kill();
    house.accept(5).await;
    rings.ring(Bell::Validate);
    let name = queues.name(Queue::TxRequest);
    assert!(matches!(queues.count(&name).await, Err(SqsError::Failed { .. })));
    until("it is told once, however many miss it", || async {
        matches!(&house.concerns.all()[..], [one] if one.component == Component::Queues)
    })
    .await;
    server.start_again();
    let missing = queues.count(&name).await;
    assert!(matches!(&missing, Err(SqsError::Missing(_))), "{missing:?}");
    queues.create_all().await.expect("makes them again");
    // That ring was lost. The relay of the processes sees what waits.
    until("all are judged", || async { house.rows(Queue::TxQueued).await == 10 }).await;
    rings.ring(Bell::Validate);
    until("nobody misses it", || async { house.concerns.all().is_empty() }).await;
    processor.stop().await;
    api.stop().await;
}

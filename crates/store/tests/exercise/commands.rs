//! Commands of the other roles: asked once, done once.

use portcullis_core::slot::AttemptKind;
use portcullis_store::command::{Command, CommandKind};
use portcullis_store::slot::NewAttempt;

use crate::fixture::{CHAIN, Fixture};
use crate::rail::{NONCE_FIRST, signed, slot_at};

async fn request(fixture: &Fixture, kind: CommandKind, nonce: u64) -> bool {
    let slot = slot_at(0, nonce);
    fixture.store.request_command(kind, slot, "recovery", "late").await.expect("writes")
}

async fn open(fixture: &Fixture) -> Vec<Command> {
    fixture.store.open_commands(CHAIN, 99).await.expect("reads")
}

#[tokio::test]
async fn the_same_command_is_open_once() {
    let fixture = Fixture::open().await;
    assert!(request(&fixture, CommandKind::Bump, 5).await);
    assert!(!request(&fixture, CommandKind::Bump, 5).await, "open already");
    assert!(request(&fixture, CommandKind::Bump, 6).await, "another slot");
    assert!(request(&fixture, CommandKind::Cancel, 5).await, "another kind");
    let commands = open(&fixture).await;
    let seen: Vec<_> = commands.iter().map(|it| (it.kind, it.slot)).collect();
    let expected = [
        (CommandKind::Bump, slot_at(0, 5)),
        (CommandKind::Bump, slot_at(0, 6)),
        (CommandKind::Cancel, slot_at(0, 5)),
    ];
    assert_eq!(seen, expected, "oldest first");
    assert_eq!(
        (commands[0].requested_by.as_str(), commands[0].reason.as_str()),
        ("recovery", "late")
    );
    assert_eq!(fixture.store.open_commands(1, 9).await, Ok(vec![]));
    let answers = [(commands[0].id, "done".to_owned())];
    fixture.store.answer_commands(&answers).await.expect("answers");
    assert_eq!(open(&fixture).await.len(), 2);
    assert!(request(&fixture, CommandKind::Bump, 5).await, "the first is done: a new one");
    let audited = "SELECT count(*) FROM audit WHERE action LIKE 'slot.%'";
    assert_eq!(fixture.number(audited).await, 4);
    fixture.check().await;
}

#[tokio::test]
async fn an_answer_is_given_once() {
    let fixture = Fixture::open().await;
    request(&fixture, CommandKind::Fill, 5).await;
    let id = open(&fixture).await[0].id;
    for answer in ["first", "second"] {
        fixture.store.answer_commands(&[(id, answer.to_owned())]).await.expect("answers");
        fixture.clock.advance(1);
    }
    let answers = fixture.pairs("SELECT answer, '' FROM commands").await;
    assert_eq!(answers, [("first".to_owned(), String::new())]);
}

#[tokio::test]
async fn a_command_that_is_put_off_is_not_due() {
    let fixture = Fixture::open().await;
    request(&fixture, CommandKind::Bump, 5).await;
    let id = open(&fixture).await[0].id;
    let until = fixture.now().plus_millis(100);
    fixture.store.defer_command(id, until).await.expect("defers");
    assert_eq!(open(&fixture).await, []);
    assert!(!request(&fixture, CommandKind::Bump, 5).await, "it is still open");
    fixture.clock.set(until);
    assert_eq!(open(&fixture).await.len(), 1);
}

#[tokio::test]
async fn a_wish_to_cancel_is_seen_at_the_slot_and_ends_with_the_bytes_that_fulfil_it() {
    let fixture = Fixture::open().await;
    let (_, new, _) = fixture.sent("w").await;
    request(&fixture, CommandKind::Cancel, NONCE_FIRST).await;
    let slot = fixture.store.slot(new.slot).await.expect("reads").expect("is open");
    assert!(slot.cancel_requested);
    let done = [(open(&fixture).await[0].id, "signed".to_owned())];
    let lease = fixture.sender_lease(0).await;
    let wrong = signed(slot_at(0, 77), AttemptKind::Cancel, 2);
    let attempts = [NewAttempt { slot_id: new.id, signed: wrong }];
    let leases = [lease];
    assert!(fixture.store.commit_attempts(&leases, &attempts, &done).await.is_err());
    assert_eq!(open(&fixture).await.len(), 1, "nothing was signed, so nothing is done");
    let attempts =
        [NewAttempt { slot_id: new.id, signed: signed(new.slot, AttemptKind::Cancel, 2) }];
    fixture.store.commit_attempts(&leases, &attempts, &done).await.expect("commits");
    assert_eq!(open(&fixture).await, []);
    fixture.check().await;
}

#[tokio::test]
async fn candidates_of_recovery_have_waited_since_their_newest_bytes() {
    let fixture = Fixture::open().await;
    let (_, new, _) = fixture.sent("w").await;
    let committed = fixture.now();
    let waiting = async |before| {
        let found = fixture.store.waiting_heads(CHAIN, before).await.expect("reads");
        found.iter().map(|open| open.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting(committed).await, [], "not older");
    fixture.clock.advance(1_000);
    assert_eq!(waiting(committed.plus_millis(1)).await, [new.id]);
    fixture.commit(&new, &signed(new.slot, AttemptKind::Payload, 2)).await.expect("commits");
    assert_eq!(waiting(committed.plus_millis(1)).await, [], "it has new bytes");
    assert_eq!(waiting(fixture.now().plus_millis(1)).await, [new.id]);
}

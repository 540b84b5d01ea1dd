//! The audit chain: what was changed, removed or slipped in shows.

use alloy_primitives::hex;
use portcullis_core::id::TenantId;
use portcullis_store::StoreError;
use portcullis_store::command::CommandKind;
use sha2::{Digest, Sha256};

use crate::fixture::{CHAIN, Fixture, PATIENCE_MS};
use crate::rail::slot_at;

async fn with_entries() -> Fixture {
    let fixture = Fixture::open().await;
    for n in 0..5_u8 {
        let id = TenantId::from_bytes([100 + n; 16]);
        fixture.store.create_tenant(id, &format!("tenant {n}"), "cli:alice").await.expect("adds");
    }
    fixture
}

#[tokio::test]
async fn an_untouched_chain_has_a_head_that_moves_with_every_entry() {
    let fixture = with_entries().await;
    let before = fixture.store.verify_audit().await.expect("holds").expect("is not empty");
    assert_eq!(before.sequence, 8, "the fixture's tenant and two assets, and five tenants");
    fixture.store.raise_halt("tamper", "seen").await.expect("raises");
    let after = fixture.store.verify_audit().await.expect("holds").expect("is not empty");
    assert_eq!(after.sequence, 9);
    assert_ne!(after.hash, before.hash);
}

#[tokio::test]
async fn every_change_is_found() {
    for damage in [
        "UPDATE audit SET at = at + 1 WHERE sequence = 3",
        "UPDATE audit SET tenant_id = NULL WHERE sequence = 4",
        "UPDATE audit SET actor = 'cli:bob' WHERE sequence = 4",
        "UPDATE audit SET action = 'tenant.drop' WHERE sequence = 4",
        "UPDATE audit SET subject = 'x' WHERE sequence = 4",
        "UPDATE audit SET detail = 'x' WHERE sequence = 8",
        "UPDATE audit SET hash = X'00' WHERE sequence = 4",
        "UPDATE audit SET previous_hash = X'00' WHERE sequence = 4",
        "UPDATE audit SET sequence = 99 WHERE sequence = 8",
        "DELETE FROM audit WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 4",
        "INSERT INTO audit SELECT 9, at, tenant_id, actor, action, subject, detail, previous_hash, \
         hash FROM audit WHERE sequence = 8",
        "INSERT INTO audit SELECT 9, at, tenant_id, actor, action, subject, detail, hash, \
         X'00' FROM audit WHERE sequence = 8",
        "INSERT INTO audit SELECT 0, at, tenant_id, actor, action, subject, detail, X'00', \
         hash FROM audit WHERE sequence = 1",
    ] {
        let fixture = with_entries().await;
        assert_eq!(fixture.sql(damage).await, 1, "{damage}");
        let error = fixture.store.verify_audit().await.expect_err(damage);
        assert!(matches!(error, StoreError::Corrupt { table: "audit", .. }), "{damage}: {error}");
    }
}

#[tokio::test]
async fn a_commit_of_intake_is_one_entry() {
    let fixture = Fixture::open().await;
    fixture.fund("alice", 10).await;
    let all = (0..3).map(|n| fixture.submission(&format!("w{n}"), "alice", 1)).collect();
    fixture.intake.submit_many(all, PATIENCE_MS).await.expect("answers");
    let entries = fixture
        .pairs("SELECT subject, detail FROM audit WHERE action = 'withdrawals.accept'")
        .await;
    let [(subject, detail)] = <[_; 1]>::try_from(entries).expect("one entry");
    assert_eq!(subject, "1-1..1-3");
    assert!(detail.starts_with("3 withdrawals, refs 0x"), "{detail}");
    fixture.submit(fixture.submission("poor", "alice", 99)).await;
    let entries = "SELECT count(*) FROM audit WHERE action = 'withdrawals.accept'";
    assert_eq!(fixture.number(entries).await, 1, "nothing was accepted");
    fixture.check().await;
}

/// The hash of an entry, as whoever can write the database can compute it too: the chain has no key.
fn hash_of(fields: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update((field.len() as u64).to_be_bytes());
        hasher.update(field);
    }
    hex::encode(hasher.finalize())
}

#[tokio::test]
async fn an_entry_that_is_forged_with_its_hash_does_not_fit_the_next() {
    let fixture = with_entries().await;
    let at = fixture.number("SELECT at FROM audit WHERE sequence = 4").await;
    let bytes = "SELECT hex(previous_hash), hex(tenant_id) FROM audit WHERE sequence = 4";
    let (previous, tenant) = fixture.pairs(bytes).await.remove(0);
    let texts = "SELECT action || '/' || subject, detail FROM audit WHERE sequence = 4";
    let (what, detail) = fixture.pairs(texts).await.remove(0);
    let (action, subject) = what.split_once('/').expect("two parts");
    let forge = |actor: &str| {
        hash_of(&[
            b"portcullis/audit/v1",
            &hex::decode(&previous).expect("hexadecimal"),
            &4_i64.to_be_bytes(),
            &at.to_be_bytes(),
            &hex::decode(&tenant).expect("hexadecimal"),
            actor.as_bytes(),
            action.as_bytes(),
            subject.as_bytes(),
            detail.as_bytes(),
        ])
    };
    let stored = fixture.pairs("SELECT hex(hash), '' FROM audit WHERE sequence = 4").await;
    assert_eq!(stored[0].0.to_lowercase(), forge("cli:alice"), "this is how it is computed");
    let forged = forge("cli:bob");
    let change =
        format!("UPDATE audit SET actor = 'cli:bob', hash = X'{forged}' WHERE sequence = 4");
    assert_eq!(fixture.sql(change).await, 1);
    let error = fixture.store.verify_audit().await.expect_err("entry 5 follows another one");
    assert!(error.to_string().contains("row 5"), "{error}");
}

#[tokio::test]
async fn fields_do_not_flow_into_each_other() {
    let fixture = with_entries().await;
    let moved = "UPDATE audit SET actor = 'cli:alicetenant.add', action = '' WHERE sequence = 4";
    assert_eq!(fixture.sql(moved).await, 1);
    assert!(fixture.store.verify_audit().await.is_err());
}

#[tokio::test]
async fn a_cut_tail_shows_in_the_head() {
    let fixture = with_entries().await;
    let before = fixture.store.verify_audit().await.expect("holds");
    fixture.sql("DELETE FROM audit WHERE sequence = 8").await;
    let after = fixture.store.verify_audit().await.expect("the rest is a chain of its own");
    assert_ne!(after, before, "which is why the signer's journal keeps the head");
}

#[tokio::test]
async fn a_long_chain_is_read_in_parts() {
    let fixture = Fixture::open().await;
    for nonce in 0..1_030 {
        let slot = slot_at(0, nonce);
        fixture.store.request_command(CommandKind::Bump, slot, "t", "late").await.expect("writes");
    }
    let head = fixture.store.verify_audit().await.expect("holds").expect("is not empty");
    assert_eq!(head.sequence, 1_033);
    assert_eq!(fixture.store.open_commands(CHAIN, 2_000).await.map(|all| all.len()), Ok(1_030));
    fixture.sql("UPDATE audit SET detail = 'x' WHERE sequence = 1005").await;
    assert!(fixture.store.verify_audit().await.is_err());
}

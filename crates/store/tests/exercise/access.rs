//! Tenants and API keys.

use portcullis_core::id::{ApiKeyId, TenantId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_store::StoreError;
use portcullis_store::access::{ApiKeyRecord, NewApiKey, Scope, Scopes};
use zeroize::Zeroizing;

use crate::fixture::Fixture;

const HASH: [u8; 32] = [4; 32];

fn new_key(fixture: &Fixture) -> NewApiKey {
    NewApiKey {
        id: ApiKeyId::from_bytes([6; 16]),
        tenant: fixture.tenant,
        name: "shop".into(),
        secret_hash: HASH,
        scopes: "withdrawals:read,withdrawals:write".parse().expect("scopes"),
    }
}

async fn with_key() -> (Fixture, ApiKeyRecord) {
    let fixture = Fixture::open().await;
    let new = new_key(&fixture);
    let record = fixture.store.create_api_key(&fixture.keys, &new, "test").await.expect("adds");
    (fixture, record)
}

#[tokio::test]
async fn a_tenant_is_one_by_its_name() {
    let fixture = Fixture::open().await;
    let other = TenantId::from_bytes([2; 16]);
    let known = fixture.store.create_tenant(other, "acme", "test").await.expect("answers");
    assert_eq!(known.id, fixture.tenant);
    fixture.store.create_tenant(other, "Acme", "test").await.expect("another name");
    let names: Vec<String> =
        fixture.store.tenants().await.expect("lists").into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["Acme", "acme"]);
}

#[tokio::test]
async fn a_key_is_found_by_its_hash_until_and_after_it_is_revoked() {
    let (fixture, record) = with_key().await;
    let find = || fixture.store.api_key(&fixture.keys, HASH);
    assert_eq!(find().await, Ok(Some(record.clone())));
    assert!(record.scopes.contains(Scope::WithdrawalsWrite));
    assert!(!record.scopes.contains(Scope::DepositsWrite));
    assert_eq!(fixture.store.api_key(&fixture.keys, [5; 32]).await, Ok(None));
    let listed = fixture.store.api_keys(&fixture.keys, fixture.tenant).await;
    assert_eq!(listed, Ok(vec![record.clone()]));
    let other = fixture.store.api_keys(&fixture.keys, TenantId::from_bytes([2; 16])).await;
    assert_eq!(other, Ok(vec![]));
    fixture.clock.advance(5);
    let revoke = |id| fixture.store.revoke_api_key(&fixture.keys, id, "test");
    assert_eq!(revoke(ApiKeyId::from_bytes([7; 16])).await, Ok(false));
    assert_eq!(revoke(record.id).await, Ok(true));
    assert_eq!(revoke(record.id).await, Ok(false), "once");
    let revoked = ApiKeyRecord { revoked_at: Some(fixture.now()), ..record };
    assert_eq!(find().await, Ok(Some(revoked)));
}

#[tokio::test]
async fn the_same_secret_is_not_added_twice() {
    let (fixture, _) = with_key().await;
    let again = NewApiKey { id: ApiKeyId::from_bytes([8; 16]), ..new_key(&fixture) };
    let outcome = fixture.store.create_api_key(&fixture.keys, &again, "test").await;
    let key = "api_keys_by_secret".to_owned();
    assert_eq!(outcome, Err(StoreError::Duplicate { during: "create_api_key", key }));
}

#[tokio::test]
async fn every_sealed_column_is_guarded() {
    let changes = [
        "id = X'07070707070707070707070707070707'",
        "tenant_id = X'02020202020202020202020202020202'",
        "secret_hash = X'00'",
        "scopes = 'withdrawals:read,deposits:write'",
        "revoked_at = 1",
        "seal_key_id = 2",
        "mac = X'00'",
    ];
    for change in changes {
        let (fixture, _) = with_key().await;
        assert_eq!(fixture.sql(format!("UPDATE api_keys SET {change}")).await, 1);
        let hash = if change.starts_with("secret_hash") { [0; 32] } else { HASH };
        let found = fixture.store.api_key(&fixture.keys, hash).await;
        assert_eq!(found, Ok(None), "{change}: a forged row is no key");
    }
}

#[tokio::test]
async fn a_revocation_cannot_be_taken_back_behind_the_store() {
    let (fixture, record) = with_key().await;
    fixture.store.revoke_api_key(&fixture.keys, record.id, "test").await.expect("revokes");
    for change in ["revoked_at = NULL", "revoked_at = revoked_at + 1"] {
        assert_eq!(fixture.sql(format!("UPDATE api_keys SET {change}")).await, 1);
        let found = fixture.store.api_key(&fixture.keys, HASH).await;
        assert_eq!(found, Ok(None), "{change}");
    }
}

#[tokio::test]
async fn keys_sealed_before_a_rotation_are_still_known() {
    let (fixture, record) = with_key().await;
    let rotated = SealingKeys::new(SealKeyId(2), Zeroizing::new([8; 32]))
        .with_verifying(SealKeyId(1), Zeroizing::new([7; 32]));
    assert_eq!(fixture.store.api_key(&rotated, HASH).await, Ok(Some(record.clone())));
    fixture.store.revoke_api_key(&rotated, record.id, "test").await.expect("revokes");
    let old_only = fixture.store.api_key(&fixture.keys, HASH).await;
    assert_eq!(old_only, Ok(None), "sealed with the new key");
    let found = fixture.store.api_key(&rotated, HASH).await.expect("verifies").expect("is there");
    assert_eq!(found.revoked_at, Some(fixture.now()));
}

#[test]
fn scopes_read_back() {
    for scope in Scope::ALL {
        let set: Scopes = scope.as_str().parse().expect("a scope");
        assert_eq!(set.iter().collect::<Vec<_>>(), [scope]);
    }
    assert_eq!(Scopes::all().to_string().parse(), Ok(Scopes::all()));
    assert!("withdrawals:all".parse::<Scopes>().is_err());
    assert!("".parse::<Scopes>().is_err());
}

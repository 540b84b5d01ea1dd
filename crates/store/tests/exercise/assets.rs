//! Assets: unique per chain, sealed.

use portcullis_core::asset::Asset;
use portcullis_core::id::AssetId;
use portcullis_store::StoreError;
use portcullis_store::asset::AssetOutcome;

use crate::fixture::{Fixture, address_of, units};

#[tokio::test]
async fn an_asset_is_registered_once_and_not_changed_by_a_second_registration() {
    let fixture = Fixture::open().await;
    let register =
        async |asset: &Asset| fixture.store.register_asset(&fixture.keys, asset, "t").await;
    let id = AssetId::from_bytes([9; 16]);
    let same = Asset { id, ..fixture.token.clone() };
    assert_eq!(register(&same).await, Ok(AssetOutcome::Exists(fixture.token.clone())));
    let known = || Ok(AssetOutcome::Conflict(fixture.token.clone()));
    let dearer = Asset { amount_max: units(2), ..same.clone() };
    assert_eq!(register(&dearer).await, known());
    let other_token = Asset { token: Some(address_of("other")), ..same.clone() };
    assert_eq!(register(&other_token).await, known());
    let other_symbol = Asset { symbol: "USDX".into(), ..same.clone() };
    assert_eq!(register(&other_symbol).await, known());
    let second_native = Asset { token: None, symbol: "MATIC".into(), ..same.clone() };
    let outcome = register(&second_native).await;
    assert_eq!(outcome, Ok(AssetOutcome::Conflict(fixture.native.clone())));
    let elsewhere = Asset { chain_id: 80_002, ..same };
    assert_eq!(register(&elsewhere).await, Ok(AssetOutcome::Registered));
    let listed = fixture.store.assets(&fixture.keys).await.expect("verifies");
    let expected = [fixture.native.clone(), fixture.token.clone(), elsewhere];
    assert_eq!(listed, expected, "by chain and symbol, as they were registered");
}

#[tokio::test]
async fn every_sealed_column_is_guarded() {
    for change in [
        "id = X'07070707070707070707070707070707'",
        "chain_id = 1",
        "symbol = 'USDT'",
        "token = X'0707070707070707070707070707070707070707'",
        "decimals = 18",
        "amount_min = '0'",
        "amount_max = '999999999999'",
        "daily_max = NULL",
        "daily_max = '1'",
        "enabled = 0",
        "seal_key_id = 2",
        "mac = X'00'",
    ] {
        let fixture = Fixture::open().await;
        assert_eq!(fixture.store.assets(&fixture.keys).await.map(|all| all.len()), Ok(2));
        let forged = format!("UPDATE assets SET {change} WHERE symbol = 'USDC'");
        assert_eq!(fixture.sql(forged).await, 1);
        let listed = fixture.store.assets(&fixture.keys).await;
        assert_eq!(
            listed,
            Ok(vec![fixture.native.clone()]),
            "{change}: only the sound one is used"
        );
    }
}

#[tokio::test]
async fn a_forged_asset_is_not_registered_over() {
    let fixture = Fixture::open().await;
    fixture.sql("UPDATE assets SET amount_max = '1' WHERE symbol = 'USDC'").await;
    let outcome = fixture.store.register_asset(&fixture.keys, &fixture.token, "test").await;
    assert!(matches!(outcome, Err(StoreError::Corrupt { .. })), "{outcome:?}");
}

//! Taking a withdrawal back.

use alloy_primitives::{B256, Bytes};
use axum::http::StatusCode;
use portcullis_core::fee::Fees;
use portcullis_core::id::{SlotId, WithdrawalId};
use portcullis_core::intent::SignedAttempt;
use portcullis_core::policy::{Rule, Verdict};
use portcullis_core::slot::{AttemptKind, Purpose, Rail, Slot};
use portcullis_store::slot::{NewAttempt, NewSlot};
use serde_json::{Value, json};

use crate::house::{DEAD, House, PAYEE, good};

#[tokio::test]
async fn an_unbound_withdrawal_is_canceled_and_its_money_free() {
    let house = House::open().await;
    let id = house.pay(&good("c-1")).await.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(house.available("alice").await, "4990");
    let path = format!("/v1/withdrawals/{id}/cancel");
    let answer = house.post(&path, &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.body["status"], "CANCELED");
    assert_eq!(answer.body["final"], true);
    assert_eq!(house.available("alice").await, "5000");
    let again = house.post(&path, &json!({})).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &answer.body));
    assert_eq!(house.available("alice").await, "5000", "released once");
    let retried = house.pay(&good("c-1")).await;
    assert_eq!(retried.body["status"], "CANCELED", "the id names this request for ever");
}

#[tokio::test]
async fn what_is_not_there_cannot_be_canceled() {
    let house = House::open().await;
    let answer =
        house.post("/v1/withdrawals/wd_00000000000000000000000000/cancel", &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "WITHDRAWAL_NOT_FOUND"));
    let answer = house.post("/v1/withdrawals/nonsense/cancel", &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "INVALID_ID"));
}

/// Pays 1 POL on the network whose node is dead: the engine's part is played by the test.
async fn queued(house: &House) -> WithdrawalId {
    let deposit = json!({"external_id": "in", "network": DEAD, "asset": "POL", "amount": "5"});
    house.post("/v1/accounts/alice/deposits", &deposit).await;
    let answer = house.pay(&bound_body()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let pass = |_: &_, _| Verdict::Pass(Rule::Default);
    assert_eq!(house.store.validate(10, &pass).await.expect("validates"), 1);
    answer.body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

fn bound_body() -> Value {
    json!({
        "external_id": "bound-1", "account_id": "alice", "network": DEAD, "asset": "POL",
        "amount": "1", "to_address": PAYEE,
    })
}

#[tokio::test]
async fn a_bound_withdrawal_is_canceled_in_its_slot_and_shows_its_attempts() {
    let house = House::open().await;
    house.store.register_senders(80_002, &[(house.sender, 41)]).await.expect("registers");
    let id = queued(&house).await;
    let leases = house.store.acquire_leases(&["sender:test".to_owned()], "test", 60_000).await;
    let leases = leases.expect("leases");
    let slot = Slot { chain_id: 80_002, sender: house.sender, nonce: 41 };
    let (slot_id, payload_digest) = (SlotId::from_bytes([5; 16]), B256::repeat_byte(3));
    let new = NewSlot {
        id: slot_id,
        slot,
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        payload_digest,
        payments: vec![id],
        gas_estimated: Some(20_001),
        why: Some("single: fewer than 5 in the queue".to_owned()),
    };
    house.store.bind(&leases, &[new]).await.expect("binds");
    let answer = house.post(&format!("/v1/withdrawals/{id}/cancel"), &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.body["status"], "SIGNING", "nothing is decided yet");
    let again = house.post(&format!("/v1/withdrawals/{id}/cancel"), &json!({})).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &answer.body));
    let commands = house.store.open_commands(80_002, 9).await.expect("reads");
    assert_eq!(commands.len(), 1, "asked for once");
    let signed = SignedAttempt {
        slot,
        kind: AttemptKind::Payload,
        payload_digest,
        hash: B256::repeat_byte(0xab),
        raw: Bytes::from_static(&[2, 0xc0]),
        fees: Fees { max_fee_per_gas_wei: 90, max_priority_fee_per_gas_wei: 30 },
        gas_limit: 21_000,
    };
    let attempt = NewAttempt { slot_id, signed };
    house.store.commit_attempts(&leases, &[attempt], &[]).await.expect("commits");
    let view = house.get(&format!("/v1/withdrawals/{id}")).await.body;
    assert_eq!(view["status"], "SIGNED");
    let hash = B256::repeat_byte(0xab).to_string();
    let expected = json!([{
        "network": DEAD,
        "sender": house.sender.to_checksum(None),
        "nonce": 41,
        "hash": hash,
        "kind": "payload",
        "max_fee_per_gas_wei": "90",
        "max_priority_fee_per_gas_wei": "30",
        "gas_limit": "21000",
        "payments": 1,
        "gas_estimated_per_payment": "20001",
        "gas_used_per_payment": null,
        "committed_at": "2026-11-20T16:00:00.000Z",
        "sent_at": null,
        "outcome": null,
        "gas_used": null,
        "effective_gas_price_wei": null,
        "explorer_url": format!("https://amoy.polygonscan.com/tx/{hash}"),
    }]);
    assert_eq!(view["attempts"], expected);
    let replayed = house.pay(&bound_body()).await;
    assert_eq!((replayed.status, &replayed.body), (StatusCode::OK, &view));
    let listed = house.get("/v1/withdrawals?status=SIGNED").await;
    assert_eq!(listed.body["data"], json!([view]));
}

#[tokio::test]
async fn a_withdrawal_among_others_is_not_canceled_alone() {
    let house = House::open().await;
    house.store.register_senders(80_002, &[(house.sender, 41)]).await.expect("registers");
    let one = queued(&house).await;
    let body = json!({
        "external_id": "bound-2", "account_id": "alice", "network": DEAD, "asset": "POL",
        "amount": "1", "to_address": PAYEE,
    });
    let two = house.pay(&body).await.body["id"].as_str().and_then(|id| id.parse().ok());
    let two: WithdrawalId = two.expect("an id");
    let pass = |_: &_, _| Verdict::Pass(Rule::Default);
    assert_eq!(house.store.validate(10, &pass).await.expect("validates"), 1);
    let leases = house.store.acquire_leases(&["sender:test".to_owned()], "test", 60_000).await;
    let new = NewSlot {
        id: SlotId::from_bytes([5; 16]),
        slot: Slot { chain_id: 80_002, sender: house.sender, nonce: 41 },
        purpose: Purpose::Pay,
        rail: Rail::Direct,
        payload_digest: B256::repeat_byte(3),
        payments: vec![one, two],
        gas_estimated: Some(20_001),
        why: Some("single: fewer than 5 in the queue".to_owned()),
    };
    house.store.bind(&leases.expect("leases"), &[new]).await.expect("binds");
    let answer = house.post(&format!("/v1/withdrawals/{one}/cancel"), &json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "BOUND_IN_BATCH"));
}

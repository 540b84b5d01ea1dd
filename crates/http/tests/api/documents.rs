//! The description of the API, and the page that shows it.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::house::{House, good};

const ROUTES: [(&str, &str); 18] = [
    ("post", "/v1/withdrawals"),
    ("get", "/v1/withdrawals"),
    ("post", "/v1/withdrawals/batch"),
    ("get", "/v1/withdrawals/{id}"),
    ("post", "/v1/withdrawals/{id}/cancel"),
    ("post", "/v1/fee-estimates"),
    ("post", "/v1/accounts/{id}/deposits"),
    ("get", "/v1/accounts/{id}"),
    ("get", "/v1/networks"),
    ("get", "/v1/internal/dead-letters"),
    ("get", "/v1/internal/dead-letters/{id}"),
    ("post", "/v1/internal/dead-letters/{id}/redrive"),
    ("post", "/v1/internal/dead-letters/{id}/discard"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/health"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
];

/// Every `$ref` of the document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.insert(reference.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_every_route_is_there() {
    let house = House::open().await;
    let answer = house.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = &answer.body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            described.insert((method.clone(), path.clone()));
            for part in ["summary", "operationId", "responses", "security", "tags"] {
                assert!(!operation[part].is_null(), "{method} {path} has no {part}");
            }
            if path.starts_with("/v1/") {
                let (code, described) = ("401", &operation["responses"]);
                assert!(!described[code].is_null(), "{method} {path} does not describe {code}");
            }
        }
    }
    let expected = ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(described, BTreeSet::from(expected));
    for (method, path) in ROUTES {
        let path = path.replace("{id}", "wd_00000000000000000000000000");
        let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
        let answer = house.send(request.body(Body::empty()).expect("a request")).await;
        assert!(!["ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&answer.code()), "{path}");
    }
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference} points nowhere");
    }
}

#[tokio::test]
async fn the_schemas_name_the_fields_that_are_sent_and_taken() {
    let house = House::open().await;
    let document = house.get("/openapi.json").await.body;
    let names = |schema: &str| -> BTreeSet<String> {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        properties.expect("properties").keys().cloned().collect()
    };
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let mut body = good("schema-1");
    body["priority"] = json!("vip");
    body["metadata"] = json!({});
    body["token_address"] = json!(house.token.to_checksum(None));
    assert_eq!(names("WithdrawalRequest"), fields(&body), "the body uses every field");
    let answer = house.pay(&body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(names("WithdrawalView"), fields(&answer.body));
    let account = house.get("/v1/accounts/alice").await.body;
    assert_eq!(names("AccountView"), fields(&account));
    assert_eq!(names("BalanceView"), fields(&account["balances"][0]));
    let networks = house.get("/v1/networks").await.body;
    assert_eq!(names("NetworkView"), fields(&networks["data"][0]));
    assert_eq!(names("AssetView"), fields(&networks["data"][0]["assets"][0]));
    let required = document["components"]["schemas"]["WithdrawalRequest"]["required"].clone();
    assert_eq!(required, json!(["account_id", "network", "amount", "to_address"]));
}

#[tokio::test]
async fn the_page_is_served_from_the_binary() {
    let house = House::open().await;
    let page = house.get("/docs/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    assert!(!page.text.contains("https://"), "nothing is loaded from elsewhere");
    for file in ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        assert_eq!(house.get(file).await.status, StatusCode::OK, "{file}");
    }
    let start = house.get("/docs/swagger-initializer.js").await;
    assert!(start.text.contains("/openapi.json"), "{}", start.text);
    let redirect = Request::builder().method(Method::GET).uri("/docs").body(Body::empty());
    let redirect = house.send(redirect.expect("a request")).await;
    assert!(redirect.status.is_redirection());
}

#[tokio::test]
async fn networks_name_their_assets_and_bounds() {
    let house = House::open().await;
    let answer = house.get("/v1/networks").await;
    let networks = answer.body["data"].as_array().expect("a list");
    assert_eq!(networks.len(), 2);
    let live = &networks[0];
    assert_eq!(live["network"], "localhost");
    assert_eq!(live["chain_id"], 31_337);
    assert_eq!(live["confirmations"], 3);
    let assets = live["assets"].as_array().expect("assets");
    let usdc = assets.iter().find(|asset| asset["asset"] == "USDC").expect("USDC");
    assert_eq!(usdc["amount_min"], "1");
    assert_eq!(usdc["amount_max"], "1000");
    assert_eq!(usdc["decimals"], 6);
    assert_eq!(usdc["enabled"], true);
    assert_eq!(networks[1]["explorer_url"], "https://amoy.polygonscan.com");
}

//! A deployment in a temporary directory: two tenants, keys, assets, a working chain and a dead one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use alloy_primitives::{Address, U256};
use alloy_rpc_client::RpcClient;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use portcullis_cache::{Facts, MemoryCache};
use portcullis_core::amount::Amount;
use portcullis_core::asset::Asset;
use portcullis_core::chain::ChainSpec;
use portcullis_core::effect::EffectGate;
use portcullis_core::id::{ApiKeyId, AssetId, DeploymentId, TenantId};
use portcullis_core::seal::{SealKeyId, SealingKeys};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_evm::{GasOracle, PoolLimits, Provider, ProviderPool};
use portcullis_http::{ApiLimits, ApiParts, ChainAccess, Concern, KeyLimit};
use portcullis_store::access::NewApiKey;
use portcullis_store::intake::{Intake, IntakeLimits};
use portcullis_store::withdrawal::WithdrawalFilter;
use portcullis_store::{Store, StoreOptions};
use portcullis_testkit::{
    Fault, SeededEntropy, SimConfig, SimNode, SimTransport, TestClock, TokenKind, dev_key,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

pub(crate) const KEY: &str = "pk_live_the_key_that_may_do_everything";
pub(crate) const READER: &str = "pk_live_the_key_that_reads_withdrawals";
pub(crate) const REVOKED: &str = "pk_live_the_key_that_was_revoked";
pub(crate) const STRANGER: &str = "pk_live_the_key_of_the_other_tenant";
pub(crate) const OPERATOR: &str = "pk_live_the_key_of_an_operator";
pub(crate) const PAYEE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
pub(crate) const LIVE: &str = "localhost";
pub(crate) const DEAD: &str = "polygon-amoy";

const LIVE_ID: u64 = 31_337;
const DEAD_ID: u64 = 80_002;
const OFF_TOKEN: Address = Address::repeat_byte(0x0f);
const START_MS: i64 = 1_795_190_400_000;

pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) clock: TestClock,
    pub(crate) node: SimNode,
    pub(crate) transport: SimTransport,
    pub(crate) keys: Arc<SealingKeys>,
    pub(crate) token: Address,
    pub(crate) sender: Address,
    pub(crate) tenant: TenantId,
    pub(crate) accepted_rings: Arc<AtomicU64>,
    pub(crate) concerns: Arc<Mutex<Vec<Concern>>>,
    pub(crate) revoked_id: ApiKeyId,
    pub(crate) facts: Facts,
    router: Router,
    _directory: tempfile::TempDir,
}

/// An answer, its body read as JSON where it is.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// `field: CODE` of each refused field.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let fields = self.body["error"]["fields"].as_array().cloned().unwrap_or_default();
        fields.iter().map(|field| (text(&field["field"]), text(&field["code"]))).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn units(units: u128) -> Amount {
    Amount::from_atomic(U256::from(units))
}

fn asset(id: u8, chain_id: u64, symbol: &str, token: Option<Address>) -> Asset {
    let decimals = if token.is_some() { 6 } else { 18 };
    let one = 10_u128.pow(u32::from(decimals));
    Asset {
        id: AssetId::from_bytes([id; 16]),
        chain_id,
        symbol: symbol.to_owned(),
        token,
        decimals,
        amount_min: units(one),
        amount_max: units(one * 1_000),
        daily_max: None,
        enabled: symbol != "OFF",
    }
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::open_with(ApiLimits::default(), None).await
    }

    /// With other limits, and a gate around the commits that requests make.
    pub(crate) async fn open_with(limits: ApiLimits, gate: Option<Arc<dyn EffectGate>>) -> Self {
        Self::open_bounded(limits, IntakeLimits::default(), gate).await
    }

    /// With other bounds of intake too.
    pub(crate) async fn open_bounded(
        limits: ApiLimits,
        intake: IntakeLimits,
        gate: Option<Arc<dyn EffectGate>>,
    ) -> Self {
        Self::build(limits, intake, gate, None).await
    }

    /// With a limit of each key. Opening asks once.
    pub(crate) async fn open_limited(limit: KeyLimit) -> Self {
        Self::build(ApiLimits::default(), IntakeLimits::default(), None, Some(limit)).await
    }

    async fn build(
        limits: ApiLimits,
        intake: IntakeLimits,
        gate: Option<Arc<dyn EffectGate>>,
        key_limit: Option<KeyLimit>,
    ) -> Self {
        crate::observed::keep_log();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = TestClock::at(Timestamp::from_millis(START_MS));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let url = directory.path().join("portcullis.db").to_string_lossy().into_owned();
        let options =
            StoreOptions { url, readers_max: 4, busy_timeout_ms: 1_000, ..StoreOptions::default() };
        let store = Store::open(&options, Arc::clone(&shared)).await.expect("opens");
        store.migrate().await.expect("migrates");
        store.found_deployment(DeploymentId::from_bytes([9; 16])).await.expect("is founded");
        let keys = Arc::new(SealingKeys::new(SealKeyId(1), zeroize::Zeroizing::new([7; 32])));
        let node = SimNode::new(SimConfig { chain_id: LIVE_ID, ..SimConfig::default() });
        let token = node.deploy_token(TokenKind::Usdc).expect("the token deploys");
        node.mine(Timestamp::from_millis(START_MS));
        let transport = SimTransport::new(node.clone());
        let (tenant, revoked_id) = register(&store, &keys, token).await;
        let sender = dev_key(1).address;
        let chains = vec![
            access(
                LIVE_ID,
                Provider::from_client("sim", "test", RpcClient::new(transport.clone(), true)),
                &shared,
            ),
            access(DEAD_ID, dead_provider(), &shared),
        ];
        let accepted_rings = Arc::new(AtomicU64::new(0));
        let concerns = Arc::new(Mutex::new(Vec::new()));
        let gated = match gate {
            Some(gate) => store.clone().with_gate(gate),
            None => store.clone(),
        };
        let seen = (&accepted_rings, &concerns);
        let intake = Intake::bounded(gated.clone(), Arc::clone(&keys), intake);
        let parts = ApiParts { limits, intake, key_limit, ..parts(&gated, &keys, chains, seen) };
        let house = Self {
            facts: parts.facts.clone(),
            router: portcullis_http::router(parts),
            store,
            clock,
            node,
            transport,
            keys,
            token,
            sender,
            tenant,
            accepted_rings,
            concerns,
            revoked_id,
            _directory: directory,
        };
        house.store.register_senders(LIVE_ID, &[(sender, 0)]).await.expect("registers");
        house.deposit("alice", "USDC", "5000").await;
        house
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router never fails");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the body is complete");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body, text }
    }

    pub(crate) async fn read_with(&self, path: &str, key: &str) -> Answer {
        self.send(request(Method::GET, path, key).body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.read_with(path, KEY).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = request(Method::POST, path, KEY)
            .header("content-type", "application/json")
            .body(body.into())
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn post_as(&self, path: &str, body: &Value, key: &str) -> Answer {
        let request = request(Method::POST, path, key)
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub(crate) async fn pay(&self, body: &Value) -> Answer {
        self.post("/v1/withdrawals", body).await
    }

    pub(crate) async fn deposit(&self, account: &str, asset: &str, amount: &str) {
        let id = format!("deposit-{account}-{asset}-{amount}");
        let body = json!({"external_id": id, "network": LIVE, "asset": asset, "amount": amount});
        let answer = self.post(&format!("/v1/accounts/{account}/deposits"), &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }

    pub(crate) async fn available(&self, account: &str) -> String {
        let answer = self.get(&format!("/v1/accounts/{account}")).await;
        answer.body["balances"][0]["available"].as_str().expect("a balance").to_owned()
    }

    /// Everything that a request could have written: the number of withdrawals, and what Alice holds.
    pub(crate) async fn written(&self) -> (usize, Value) {
        let filter = WithdrawalFilter { limit: 10_000, ..WithdrawalFilter::default() };
        let rows = self.store.withdrawals(self.tenant, &filter).await.expect("reads");
        (rows.len(), self.get("/v1/accounts/alice").await.body)
    }
}

pub(crate) fn request(method: Method, path: &str, key: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"))
}

/// A request to pay 10 USDC that nothing is wrong with.
pub(crate) fn good(external_id: &str) -> Value {
    json!({
        "external_id": external_id,
        "account_id": "alice",
        "network": LIVE,
        "asset": "USDC",
        "amount": "10",
        "to_address": PAYEE,
    })
}

fn access(chain_id: u64, provider: Provider, clock: &Arc<dyn Clock>) -> ChainAccess {
    let spec = ChainSpec::by_id(chain_id).expect("in the catalogue");
    let pool = ProviderPool::new(spec, vec![provider], Arc::clone(clock), PoolLimits::default());
    let pool = pool.expect("one provider");
    let oracle = Arc::new(GasOracle::new(pool.clone(), Arc::clone(clock)));
    ChainAccess { pool, oracle }
}

/// A provider of a node that drops everything.
fn dead_provider() -> Provider {
    let node = SimNode::new(SimConfig { chain_id: DEAD_ID, ..SimConfig::default() });
    let transport = SimTransport::new(node);
    transport.set_faults(drop_everything);
    Provider::from_client("dead", "test", RpcClient::new(transport, true))
}

pub(crate) fn drop_everything(_method: &str, _params: &Value) -> Fault {
    Fault::Drop
}

fn parts(
    store: &Store,
    keys: &Arc<SealingKeys>,
    chains: Vec<ChainAccess>,
    seen: (&Arc<AtomicU64>, &Arc<Mutex<Vec<Concern>>>),
) -> ApiParts {
    let entropy = Mutex::new(SeededEntropy::new(1));
    let (rings, concerns) = (Arc::clone(seen.0), Arc::clone(seen.1));
    let facts = Facts::new(Arc::new(MemoryCache::new(store.clock())));
    ApiParts {
        store: store.clone(),
        intake: Intake::new(store.clone(), Arc::clone(keys)),
        sealing_keys: Arc::clone(keys),
        chains,
        entropy: Arc::new(move || entropy.lock().expect("no panic").next_u128()),
        on_accepted: Arc::new(move || {
            rings.fetch_add(1, Ordering::SeqCst);
        }),
        metrics_render: Arc::new(|| "# TYPE up gauge\nup 1\n".to_owned()),
        concerns: Arc::new(move || concerns.lock().expect("no panic").clone()),
        doc_url_base: "https://docs.example/errors.md".to_owned(),
        limits: ApiLimits::default(),
        key_limit: None,
        facts,
    }
}

async fn register(store: &Store, keys: &SealingKeys, token: Address) -> (TenantId, ApiKeyId) {
    let tenant = |byte| TenantId::from_bytes([byte; 16]);
    store.create_tenant(tenant(1), "one", "test").await.expect("a tenant");
    store.create_tenant(tenant(2), "two", "test").await.expect("a tenant");
    let secrets = [
        (1, KEY, "withdrawals:read,withdrawals:write,deposits:write,accounts:read"),
        (1, READER, "withdrawals:read"),
        (1, REVOKED, "withdrawals:read"),
        (2, STRANGER, "withdrawals:read,withdrawals:write,deposits:write,accounts:read"),
        (1, OPERATOR, "operations"),
    ];
    for (place, (owner, secret, scopes)) in (1_u8..).zip(secrets) {
        let new = NewApiKey {
            id: ApiKeyId::from_bytes([place; 16]),
            tenant: tenant(owner),
            name: format!("key {place}"),
            secret_hash: Sha256::digest(secret).into(),
            scopes: scopes.parse().expect("scopes"),
        };
        store.create_api_key(keys, &new, "test").await.expect("a key");
    }
    for asset in [
        asset(1, LIVE_ID, "USDC", Some(token)),
        asset(2, LIVE_ID, "POL", None),
        asset(3, LIVE_ID, "OFF", Some(OFF_TOKEN)),
        asset(4, DEAD_ID, "POL", None),
    ] {
        store.register_asset(keys, &asset, "test").await.expect("an asset");
    }
    (tenant(1), ApiKeyId::from_bytes([3; 16]))
}

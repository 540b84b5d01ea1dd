//! What only a development chain lets one do: send without a key, create coins, make blocks.

use std::convert::Infallible;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::read::Receipt;
use super::rpc::{Request, Rpc};

/// Many blocks of one second each, for a machine that is busy with other things too.
const MINED_LIMIT: Duration = Duration::from_mins(1);

/// How often the pool is asked whether anything in it is ready to be mined.
const POOL_POLL: Duration = Duration::from_secs(1);

/// What the node holds and has not mined.
#[derive(Deserialize)]
struct PoolStatus {
    pending: U64,
    queued: U64,
}

/// What a transaction of a dev account offers, so that the node does not have to guess per item.
#[derive(Clone, Copy, Debug)]
pub struct Fee {
    /// Gas limit.
    pub gas: u64,
    /// Wei per gas at most, tip included.
    pub max_fee_per_gas: U256,
    /// Wei per gas for the block's producer.
    pub max_priority_fee_per_gas: U256,
}

impl Fee {
    /// A fee with this gas limit which covers the newest base fee doubling several times.
    pub async fn generous(rpc: &Rpc, gas: u64) -> Result<Self> {
        let price: U256 = rpc.call("eth_gasPrice", json!([])).await?;
        let tip: U256 = rpc.call("eth_maxPriorityFeePerGas", json!([])).await?;
        let max_fee_per_gas = price.saturating_mul(U256::from(8)).saturating_add(tip);
        Ok(Self { gas, max_fee_per_gas, max_priority_fee_per_gas: tip })
    }
}

impl Rpc {
    /// The accounts that the node itself signs for.
    pub async fn dev_accounts(&self) -> Result<Vec<Address>> {
        self.call("eth_accounts", json!([])).await
    }

    /// The first of them, which owns what the commands deploy.
    pub async fn first_dev_account(&self) -> Result<Address> {
        let accounts = self.dev_accounts().await?;
        accounts
            .first()
            .copied()
            .context("the node has no dev accounts: it is not a development chain")
    }

    /// Sends calls from a dev account, in order, and waits until all are mined.
    ///
    /// # Errors
    /// One is refused, is not mined within a minute, or fails on the chain.
    pub async fn send_from_dev_account(
        &self,
        from: Address,
        calls: &[(Option<Address>, Bytes)],
        fee: Fee,
    ) -> Result<Vec<Receipt>> {
        // Nonces are given: the items of a batch are not handled in a promised order.
        let first_nonce: U64 =
            self.call("eth_getTransactionCount", json!([from, "pending"])).await?;
        let requests: Vec<Request> = (first_nonce.to::<u64>()..)
            .zip(calls)
            .map(|(nonce, (to, data))| {
                let mut transaction = json!({
                    "from": from,
                    "data": data,
                    "nonce": U64::from(nonce),
                    "gas": U64::from(fee.gas),
                    "maxFeePerGas": fee.max_fee_per_gas,
                    "maxPriorityFeePerGas": fee.max_priority_fee_per_gas,
                });
                if let Some(to) = to {
                    transaction["to"] = json!(to);
                }
                Request::new("eth_sendTransaction", json!([transaction]))
            })
            .collect();
        let hashes: Vec<B256> = self.batch(&requests).await?;
        let receipts = tokio::select! {
            mined = self.wait_for_receipts(&hashes, MINED_LIMIT) => mined?,
            failed = self.offer_overlooked(from, first_nonce, &requests) => match failed? {},
        };
        for receipt in &receipts {
            ensure!(
                receipt.succeeded(),
                "{} of the dev account {from} failed on the chain",
                receipt.transaction_hash
            );
        }
        Ok(receipts)
    }

    /// Offers transactions anew whenever the node has overlooked that they can be mined; ends only with an error.
    ///
    /// A block made between the moment at which anvil looks for the nonce before a transaction's and the moment at which
    /// it files the transaction leaves it, and all after it, waiting for a nonce that is already used.
    async fn offer_overlooked(
        &self,
        from: Address,
        first_nonce: U64,
        requests: &[Request],
    ) -> Result<Infallible> {
        loop {
            sleep(POOL_POLL).await;
            let pool: PoolStatus = self.call("txpool_status", json!([])).await?;
            if !pool.pending.is_zero() || pool.queued.is_zero() {
                continue;
            }
            let next_nonce: U64 =
                self.call("eth_getTransactionCount", json!([from, "latest"])).await?;
            let mined = next_nonce.saturating_sub(first_nonce).to::<usize>();
            self.call::<Value>("anvil_removePoolTransactions", json!([from])).await?;
            self.batch::<B256>(requests.get(mined..).unwrap_or_default()).await?;
        }
    }

    /// Offers signed bytes to the node.
    ///
    /// # Errors
    /// The node refuses them, or fails.
    pub async fn send_raw(&self, raw: &Bytes) -> Result<B256> {
        self.call("eth_sendRawTransaction", json!([raw])).await
    }

    /// Sets the native balance of each address to `wei`.
    pub async fn fund_native(&self, addresses: &[Address], wei: U256) -> Result<()> {
        let set = |address: &Address| Request::new("anvil_setBalance", json!([address, wei]));
        self.batch::<Value>(&addresses.iter().map(set).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Lets each address go on at `nonce`, as if it had sent so many transactions already.
    pub async fn set_nonces(&self, addresses: &[Address], nonce: u64) -> Result<()> {
        let nonce = U64::from(nonce);
        let set = |address: &Address| Request::new("anvil_setNonce", json!([address, nonce]));
        self.batch::<Value>(&addresses.iter().map(set).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Sets the base fee of the next block, in wei; the ones after it follow from that.
    pub async fn set_next_base_fee(&self, wei: u64) -> Result<()> {
        let wei = U64::from(wei);
        self.call::<Value>("anvil_setNextBlockBaseFeePerGas", json!([wei])).await?;
        Ok(())
    }

    /// Offers many signed transactions to the node; the order in which it takes them is its own.
    ///
    /// # Errors
    /// It refuses one, or fails.
    pub async fn send_raw_all(&self, raws: &[Bytes]) -> Result<()> {
        let send = |raw: &Bytes| Request::new("eth_sendRawTransaction", json!([raw]));
        self.batch::<B256>(&raws.iter().map(send).collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Makes `blocks` blocks now.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.call::<Value>("anvil_mine", json!([U64::from(blocks)])).await?;
        Ok(())
    }

    /// From now on a block every `seconds`, or, at 0, only when [`Rpc::mine`] asks for one.
    pub async fn set_interval_mining(&self, seconds: u64) -> Result<()> {
        self.call::<Value>("evm_setIntervalMining", json!([seconds])).await?;
        Ok(())
    }

    /// From now on a block for each transaction, or not.
    pub async fn set_automine(&self, enabled: bool) -> Result<()> {
        self.call::<Value>("evm_setAutomine", json!([enabled])).await?;
        Ok(())
    }

    /// Whether the node writes a line about each request and block.
    pub async fn set_logging(&self, enabled: bool) -> Result<()> {
        self.call::<Value>("anvil_setLoggingEnabled", json!([enabled])).await?;
        Ok(())
    }

    /// Remembers the chain as it is; the number goes to [`Rpc::revert`].
    pub async fn snapshot(&self) -> Result<U256> {
        self.call("evm_snapshot", json!([])).await
    }

    /// Puts the chain back to a snapshot, which is used up by this.
    ///
    /// # Errors
    /// The node does not know the snapshot.
    pub async fn revert(&self, snapshot: U256) -> Result<()> {
        let done: bool = self.call("evm_revert", json!([snapshot])).await?;
        ensure!(done, "the node does not know snapshot {snapshot}");
        Ok(())
    }
}

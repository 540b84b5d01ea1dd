//! Reads of blocks, receipts, transactions and logs from one provider.

use std::ops::RangeInclusive;

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use crate::chain_types::{
    BlockTag, ConsumedNonce, HeadBlock, KnownTransaction, LogQuery, MinedBlock, MinedLog, Receipt,
    quantity,
};
use crate::failure::{ReadError, RpcFailure};
use crate::upstream::Upstream;
use crate::wire::{
    WireHeader, decode, decode_block, decode_header, decode_logs, decode_receipt,
    decode_transaction, malformed,
};

const BLOCK_BY_NUMBER: &str = "eth_getBlockByNumber";

/// Blocks whose transaction count is asked for in one round of the search for a consumed nonce.
const SEARCH_POINTS: u64 = 16;

impl Upstream {
    /// The newest block.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn head(&self) -> Result<HeadBlock, ReadError> {
        let params = [json!(["latest", false])];
        let heads = self
            .ask(BLOCK_BY_NUMBER, &params, |_, raw| decode::<WireHeader>(raw)?.into_head())
            .await?;
        let head = self.only(BLOCK_BY_NUMBER, heads)?;
        self.note_head(head);
        Ok(head)
    }

    /// The header at a height; `None` where the node has none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn header(&self, number: u64) -> Result<Option<HeadBlock>, ReadError> {
        let headers = self.headers_at(&[number]).await?;
        self.only(BLOCK_BY_NUMBER, headers)
    }

    /// The headers of a range, lowest first, up to the first that the node does not have.
    /// They need not link: the chain may change while it is read.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn headers(&self, range: RangeInclusive<u64>) -> Result<Vec<HeadBlock>, ReadError> {
        let numbers: Vec<u64> = range.collect();
        let headers = self.headers_at(&numbers).await?;
        Ok(headers.into_iter().map_while(|header| header).collect())
    }

    pub(crate) async fn headers_at(
        &self,
        numbers: &[u64],
    ) -> Result<Vec<Option<HeadBlock>>, ReadError> {
        let params: Vec<Value> =
            numbers.iter().map(|number| json!([quantity(*number), false])).collect();
        self.ask(BLOCK_BY_NUMBER, &params, |index, raw| decode_header(numbers[index], raw)).await
    }

    /// A block with all its transactions; `None` where the node has none.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn block_transactions(&self, number: u64) -> Result<Option<MinedBlock>, ReadError> {
        let params = [json!([quantity(number), true])];
        let blocks = self.ask(BLOCK_BY_NUMBER, &params, |_, raw| decode_block(number, raw)).await?;
        self.only(BLOCK_BY_NUMBER, blocks)
    }

    /// The receipts of transactions. `None` means that this node shows none now, and proves nothing: healthy
    /// nodes lag, index late, and forget (bor's `txlookuplimit`).
    ///
    /// # Errors
    /// See [`ReadError`]. An error of one item is an error, never a `None`.
    pub async fn receipts(&self, hashes: &[B256]) -> Result<Vec<Option<Receipt>>, ReadError> {
        self.receipts_each(hashes).await.into_iter().collect()
    }

    /// The same with each receipt for itself: one that cannot be read does not hide the others.
    pub async fn receipts_each(&self, hashes: &[B256]) -> Vec<Result<Option<Receipt>, ReadError>> {
        let params: Vec<Value> = hashes.iter().map(|hash| json!([hash])).collect();
        let decode = |index: usize, raw: &_| decode_receipt(hashes[index], raw);
        self.ask_items("eth_getTransactionReceipt", &params, decode).await
    }

    /// Transactions that the node knows, mined or not.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn transactions_by_hash(
        &self,
        hashes: &[B256],
    ) -> Result<Vec<Option<KnownTransaction>>, ReadError> {
        let params: Vec<Value> = hashes.iter().map(|hash| json!([hash])).collect();
        let decode = |index: usize, raw: &_| decode_transaction(hashes[index], raw);
        self.ask("eth_getTransactionByHash", &params, decode).await
    }

    /// The logs of a range that match.
    ///
    /// # Errors
    /// See [`ReadError`]. Providers limit the length of a range and the number of results.
    pub async fn logs(&self, query: &LogQuery) -> Result<Vec<MinedLog>, ReadError> {
        const METHOD: &str = "eth_getLogs";
        let topics: Vec<Value> = query
            .topics
            .iter()
            .map(|values| if values.is_empty() { Value::Null } else { json!(values) })
            .collect();
        let mut filter = json!({
            "fromBlock": quantity(*query.blocks.start()),
            "toBlock": quantity(*query.blocks.end()),
            "topics": topics,
        });
        if !query.addresses.is_empty() {
            filter["address"] = json!(query.addresses);
        }
        let logs = self.ask(METHOD, &[json!([filter])], |_, raw| decode_logs(raw)).await?;
        let logs = self.only(METHOD, logs)?;
        if logs.iter().any(|log| !query.blocks.contains(&log.block.number)) {
            return Err(self.note_bad_answer(METHOD, malformed("a log from outside of the range")));
        }
        Ok(logs)
    }

    /// Finds where `sender` consumed `nonce`, looking above `low_block` (at which it was not consumed) up to
    /// `high_block`. `None` when it is not consumed at `high_block`. Should it already be consumed at
    /// `low_block`, the search goes on below it. Needs the state of old blocks: far back, an archive node.
    ///
    /// # Errors
    /// See [`ReadError`]; [`RpcFailure::Moved`] when the chain changed meanwhile.
    pub async fn find_consumption(
        &self,
        sender: Address,
        nonce: u64,
        low_block: u64,
        high_block: u64,
    ) -> Result<Option<ConsumedNonce>, ReadError> {
        let edges = self.consumed_at(sender, nonce, &[low_block, high_block]).await?;
        let (mut low, mut high) = match edges[..] {
            [_, false] => return Ok(None),
            // Not consumed before the first block.
            [true, _] => (0, low_block),
            _ => (low_block, high_block),
        };
        // Invariant: consumed at `high`; not consumed at `low`, or `low` is block 0.
        while low.saturating_add(1) < high {
            let step = high.abs_diff(low).div_ceil(SEARCH_POINTS).max(1);
            let above_low = low.saturating_add(1);
            let points: Vec<u64> =
                (above_low..high).step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect();
            let consumed = self.consumed_at(sender, nonce, &points).await?;
            for (point, is_consumed) in points.into_iter().zip(consumed) {
                if is_consumed {
                    high = point;
                    break;
                }
                low = point;
            }
        }
        self.read_consumption(sender, nonce, high).await.map(Some)
    }

    /// Whether the nonce is consumed at each of the blocks.
    async fn consumed_at(
        &self,
        sender: Address,
        nonce: u64,
        blocks: &[u64],
    ) -> Result<Vec<bool>, ReadError> {
        let counts = self.counts_of(sender, blocks).await?;
        Ok(counts.into_iter().map(|count| count > nonce).collect())
    }

    async fn read_consumption(
        &self,
        sender: Address,
        nonce: u64,
        number: u64,
    ) -> Result<ConsumedNonce, ReadError> {
        let moved = |what: &str| {
            let text = format!("block {number} {what}");
            self.read_error(BLOCK_BY_NUMBER, RpcFailure::Moved(text))
        };
        let block = self.block_transactions(number).await?.ok_or_else(|| moved("is gone"))?;
        let of_slot = |transaction: &&crate::MinedTransaction| {
            transaction.from == sender && transaction.nonce == nonce
        };
        let found = block.transactions.iter().find(of_slot).cloned();
        if let Some(mut transaction) = found {
            let receipts = self.receipts(&[transaction.hash]).await?;
            let receipt = receipts.into_iter().flatten().next();
            if let Some(receipt) = receipt.filter(|it| it.block == block.header.reference()) {
                transaction.succeeded = Some(receipt.succeeded);
            }
            let block = block.header.reference();
            return Ok(ConsumedNonce { block, transaction: Some(transaction) });
        }
        // Nobody sent it in this block: believed only if block and counts are still the same.
        let edges = [number.saturating_sub(1), number];
        let consumed = self.consumed_at(sender, nonce, &edges).await?;
        let again = self.header(number).await?;
        let unchanged = again.is_some_and(|header| header.hash == block.header.hash);
        if !unchanged || (number > 0 && consumed != [false, true]) {
            return Err(moved("was replaced while it was read"));
        }
        Ok(ConsumedNonce { block: block.header.reference(), transaction: None })
    }

    async fn counts_of(&self, sender: Address, blocks: &[u64]) -> Result<Vec<u64>, ReadError> {
        let asked: Vec<(Address, BlockTag)> =
            blocks.iter().map(|number| (sender, BlockTag::Number(*number))).collect();
        self.counts_at(&asked).await
    }

    pub(crate) fn only<T>(&self, method: &'static str, items: Vec<T>) -> Result<T, ReadError> {
        items.into_iter().next().ok_or_else(|| self.read_error(method, RpcFailure::Missing))
    }
}

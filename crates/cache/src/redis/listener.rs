//! Doorbells by pub/sub: one subscription a process, made again whenever it ends.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::Link;
use crate::memory::MemoryCache;

/// How long to wait before the subscription is made again.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest such wait.
const PAUSE_MOST: Duration = Duration::from_secs(4);
/// A subscription that is silent for so long is made anew: a connection that died without a word looks the same.
const SILENCE_MOST: Duration = Duration::from_mins(1);
/// How long making a connection may take.
const CONNECT_MOST: Duration = Duration::from_secs(2);

/// Passes rings on for ever.
pub(super) async fn listen(link: Arc<Link>, here: Arc<MemoryCache>) {
    let mut pause = PAUSE;
    loop {
        match subscribe(&link).await {
            Ok(subscription) => {
                pause = PAUSE;
                pass_on(&link, subscription, &here).await;
            }
            Err(error) => {
                tracing::debug!(%error, "no doorbells from Redis: the timers ring");
                pause = pause.saturating_mul(2).min(PAUSE_MOST);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn subscribe(link: &Link) -> Result<redis::aio::PubSub, super::ExchangeError> {
    let subscribing = async {
        let mut subscription = link.client.get_async_pubsub().await?;
        subscription.psubscribe(link.channel("*")).await?;
        Ok(subscription)
    };
    tokio::time::timeout(CONNECT_MOST, subscribing)
        .await
        .unwrap_or(Err(super::ExchangeError::Late(CONNECT_MOST.as_millis())))
}

/// Until the subscription ends or falls silent.
async fn pass_on(link: &Link, mut subscription: redis::aio::PubSub, here: &MemoryCache) {
    let prefix = link.channel("");
    let mut messages = subscription.on_message();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE_MOST, messages.next()).await {
        if let Some(bell) = message.get_channel_name().strip_prefix(&prefix) {
            here.ring_here(bell);
        }
    }
}

//! What processes tell each other of providers: which of them fail, and until when they are left alone. Hearsay saves
//! questions and decides nothing: where all providers are left alone, all are asked.

use portcullis_core::time::Timestamp;

use crate::pool::ProviderPool;

impl ProviderPool {
    /// The providers that this process leaves alone now, by name, and until when.
    #[must_use]
    pub fn open_breakers(&self) -> Vec<(String, Timestamp)> {
        let open = self.upstreams().iter().filter_map(|upstream| {
            let until = upstream.health().breaker.open_until(upstream.now())?;
            Some((upstream.name().to_owned(), until))
        });
        open.collect()
    }

    /// Leaves a provider alone until then, because another process found it failing. One that is being tried, or left alone
    /// already, stays as it is.
    pub fn leave_alone(&self, provider: &str, until: Timestamp) {
        for upstream in self.upstreams().iter().filter(|upstream| upstream.name() == provider) {
            let now = upstream.now();
            upstream.health().breaker.leave_alone(now, until);
            tracing::debug!(provider, %until, "another process found it failing");
        }
    }
}

//! A process that does not outlive the test that started it.

use std::process::Child;

/// Killed and waited for when it is dropped.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Kills it now.
    pub(crate) fn end(&mut self) {
        // Gone already is as good.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.end();
    }
}

//! Proof that a request was admitted.

use std::time::Duration;

/// What admission hands to routing. Routing asks for one, so the check cannot be skipped.
#[derive(Clone, Copy, Debug)]
pub struct Permit {
    delayed: Option<Duration>,
}

impl Permit {
    /// A permit for a request that was held for `delayed` by an injected delay. Only `admit` calls this: a permit made
    /// elsewhere is a hole in the policy.
    pub fn granted(delayed: Option<Duration>) -> Self {
        Self { delayed }
    }

    /// How long the request was held by an injected delay, for flags and logs.
    pub fn delayed(&self) -> Option<Duration> {
        self.delayed
    }
}

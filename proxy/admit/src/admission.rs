//! The way of one request through the filters.

use std::time::Duration;

use lateen_proxy_model::Permit;

/// A request on its way through the filters; when none of them ended it, it is admitted.
#[derive(Debug, Default)]
#[must_use]
pub struct Admission {
    delayed: Option<Duration>,
}

impl Admission {
    /// A request before the first filter.
    pub fn begin() -> Self {
        Self::default()
    }

    /// Notes that an injected delay held the request.
    pub fn held(&mut self, delay: Duration) {
        self.delayed = Some(self.delayed.unwrap_or_default().saturating_add(delay));
    }

    /// Whether an injected delay held the request.
    pub fn was_held(&self) -> bool {
        self.delayed.is_some()
    }

    /// The permit, when the last filter let the request pass.
    pub fn conclude(self) -> Permit {
        Permit::granted(self.delayed)
    }
}

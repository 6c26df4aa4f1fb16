//! Cross-origin policies.

use http::HeaderValue;

use crate::matcher::StringMatcher;
use crate::route::Percentage;

/// Cross-origin resource sharing. What a level leaves out comes from the next less specific one.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// Share of requests that it holds for; that of the most specific level counts.
    pub enabled: Option<Percentage>,
    /// Origins allowed.
    pub origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`.
    pub methods: Option<HeaderValue>,
    /// `access-control-allow-headers`.
    pub headers: Option<HeaderValue>,
    /// `access-control-expose-headers`.
    pub expose: Option<HeaderValue>,
    /// `access-control-max-age`, seconds.
    pub max_age: Option<HeaderValue>,
    /// `access-control-allow-credentials: true`.
    pub credentials: Option<bool>,
    /// Pre-flights may ask for `access-control-allow-private-network`.
    pub private_network: Option<bool>,
    /// Pre-flights whose origin does not match are forwarded; so they are when nothing is said.
    pub forward_unmatched_preflights: Option<bool>,
}

impl CorsPolicy {
    /// This policy over one of a less specific level.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        let or = |own: &Option<HeaderValue>, above: &Option<HeaderValue>| {
            own.clone().or_else(|| above.clone())
        };
        Self {
            enabled: Some(self.enabled.unwrap_or(Percentage::ALL)),
            origins: match self.origins.is_empty() {
                true => above.origins.clone(),
                false => self.origins.clone(),
            },
            methods: or(&self.methods, &above.methods),
            headers: or(&self.headers, &above.headers),
            expose: or(&self.expose, &above.expose),
            max_age: or(&self.max_age, &above.max_age),
            credentials: self.credentials.or(above.credentials),
            private_network: self.private_network.or(above.private_network),
            forward_unmatched_preflights: self
                .forward_unmatched_preflights
                .or(above.forward_unmatched_preflights),
        }
    }

    /// Whether it holds for a request with the draw `0..1_000_000`.
    pub fn holds(&self, draw: impl FnOnce() -> u32) -> bool {
        match self.enabled {
            None | Some(Percentage::ALL) => true,
            Some(share) => share.holds(draw()),
        }
    }
}

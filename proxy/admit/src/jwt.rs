//! Authentication by JSON Web Tokens, as Envoy's filter does it. Keys are at hand when this is asked: whoever asks has
//! fetched those of servers before.

mod status;
mod token;

use std::sync::Arc;

use http::HeaderName;
use lateen_proxy_model::{Jwks, JwtFilter, JwtProvider, JwtRequirement, RequestView};
use serde_json::{Map, Value};

pub use status::JwtStatus;
use token::{Found, Token};

/// What authentication changes in a request.
#[derive(Debug, Default)]
pub struct JwtEffects {
    /// Headers to set; those without value are only removed.
    pub headers: Vec<(HeaderName, Option<String>)>,
    /// Query parameters to remove.
    pub query: Vec<Box<str>>,
    /// What is noted for later filters.
    pub metadata: Map<String, Value>,
    /// The route is to be chosen anew.
    pub clear_route: bool,
}

/// Keys of a provider, by its place in the filter; `None` when its server gave none.
pub type KeysOf<'k> = &'k dyn Fn(usize) -> Option<Arc<Jwks>>;

/// One request under examination.
struct Examination<'a> {
    filter: &'a JwtFilter,
    request: &'a RequestView<'a>,
    keys: KeysOf<'a>,
    now: u64,
    effects: JwtEffects,
}

/// Whether a provider finds a token in the request, so that its keys are needed.
pub fn has_token(provider: &JwtProvider, request: &RequestView<'_>) -> bool {
    !token::find(provider, request).is_empty()
}

/// Headers that nobody but this filter may set: what was in a token.
pub fn own_headers(filter: &JwtFilter) -> impl Iterator<Item = &HeaderName> {
    filter.providers.iter().flat_map(|provider| {
        let payload = provider.payload_header.iter().map(|(name, _)| name);
        payload.chain(provider.claim_headers.iter().map(|(name, _)| name))
    })
}

/// Examines the tokens of a request. `now` is in seconds since 1970.
pub fn authenticate(
    filter: &JwtFilter,
    requirement: &JwtRequirement,
    request: &RequestView<'_>,
    keys: KeysOf<'_>,
    now: u64,
) -> (JwtStatus, JwtEffects) {
    let mut examination = Examination {
        filter,
        request,
        keys,
        now,
        effects: JwtEffects::default(),
    };
    let status = examination.meets(requirement);
    (status, examination.effects)
}

impl<'a> Examination<'a> {
    fn meets(&mut self, requirement: &JwtRequirement) -> JwtStatus {
        match requirement {
            JwtRequirement::Provider {
                provider,
                audiences,
            } => self.one(*provider, audiences.as_deref()),
            JwtRequirement::All(list) => {
                let mut statuses = list.iter().map(|it| self.meets(it));
                statuses
                    .find(|status| *status != JwtStatus::Ok)
                    .unwrap_or(JwtStatus::Ok)
            }
            JwtRequirement::Any {
                list,
                allow_missing,
                allow_failed,
            } => self.any(list, *allow_missing, *allow_failed),
            JwtRequirement::AllowMissing => self.every(false),
            JwtRequirement::AllowMissingOrFailed => self.every(true),
        }
    }

    fn any(
        &mut self,
        list: &[JwtRequirement],
        allow_missing: bool,
        allow_failed: bool,
    ) -> JwtStatus {
        let mut outcome = JwtStatus::Missed;
        for requirement in list {
            let status = self.meets(requirement);
            if status == JwtStatus::Ok {
                return status;
            }
            // That another provider's token is missing says less than what is wrong with this one.
            let says_little = matches!(status, JwtStatus::Missed | JwtStatus::UnknownIssuer);
            if !says_little || outcome == JwtStatus::Missed {
                outcome = status;
            }
        }
        match outcome {
            _ if allow_failed => JwtStatus::Ok,
            JwtStatus::Missed if allow_missing => JwtStatus::Ok,
            outcome => outcome,
        }
    }

    /// All tokens of one provider's places.
    fn one(&mut self, place: usize, audiences: Option<&[Box<str>]>) -> JwtStatus {
        let Some(provider) = self.filter.providers.get(place) else {
            return JwtStatus::UnknownIssuer;
        };
        let found = token::find(provider, self.request);
        if found.is_empty() {
            return self.failed(provider, JwtStatus::Missed);
        }
        for one in found {
            let status = self.examine((place, provider), &one, audiences);
            if status != JwtStatus::Ok {
                return self.failed(provider, status);
            }
        }
        JwtStatus::Ok
    }

    /// Every token, wherever a provider looks for one, each by the first provider that issued it and looks there.
    fn every(&mut self, allow_failed: bool) -> JwtStatus {
        let mut seen: Vec<Found> = Vec::new();
        for provider in &self.filter.providers {
            for one in token::find(provider, self.request) {
                if !seen.contains(&one) {
                    seen.push(one);
                }
            }
        }
        for one in &seen {
            let status = match self.issuer_of(one) {
                Ok(provider) => self.examine(provider, one, None),
                Err(status) => status,
            };
            if status != JwtStatus::Ok && !allow_failed {
                return status;
            }
        }
        JwtStatus::Ok
    }

    fn issuer_of(&self, found: &Found) -> Result<(usize, &'a JwtProvider), JwtStatus> {
        let issuer = Token::parse(&found.text)?.issuer();
        let mut providers = self.filter.providers.iter().enumerate();
        let issued = |provider: &JwtProvider| {
            let own = provider.issuer.as_deref();
            (own.is_none() || own == issuer.as_deref())
                && token::find(provider, self.request).contains(found)
        };
        let provider = providers.find(|(_, provider)| issued(provider));
        provider.ok_or(JwtStatus::UnknownIssuer)
    }

    fn examine(
        &mut self,
        (place, provider): (usize, &'a JwtProvider),
        found: &Found,
        audiences: Option<&[Box<str>]>,
    ) -> JwtStatus {
        let token = match Token::parse(&found.text) {
            Ok(token) => token,
            Err(status) => return status,
        };
        let keys = || (self.keys)(place);
        if let Err(status) = token.check(provider, audiences, self.now, keys) {
            return status;
        }
        self.accept(provider, found, &token);
        JwtStatus::Ok
    }

    fn accept(&mut self, provider: &JwtProvider, found: &Found, token: &Token<'_>) {
        let effects = &mut self.effects;
        if let Some((name, pad)) = &provider.payload_header {
            let value = token.payload_text(*pad);
            effects.headers.push((name.clone(), Some(value)));
        }
        for (name, path) in &provider.claim_headers {
            if let Some(value) = token.claim_text(path) {
                effects.headers.push((name.clone(), Some(value)));
            }
        }
        if let Some(key) = &provider.payload_in_metadata {
            let payload = token.payload_without_spaces(&provider.spaced_claims);
            effects.metadata.insert(key.to_string(), payload.into());
        }
        if let Some(key) = &provider.header_in_metadata {
            let header = token.header.clone();
            effects.metadata.insert(key.to_string(), header.into());
        }
        if !provider.forward {
            match &found.place {
                token::Place::Header(name) => effects.headers.push((name.clone(), None)),
                token::Place::Query(name) => effects.query.push(name.clone()),
                token::Place::Cookie => {}
            }
        }
        effects.clear_route |= provider.clear_route;
    }

    fn failed(&mut self, provider: &JwtProvider, status: JwtStatus) -> JwtStatus {
        if let Some(key) = &provider.failure_in_metadata {
            let mut reason = Map::new();
            reason.insert("code".to_owned(), status.code().into());
            reason.insert("message".to_owned(), status.text().into());
            self.effects.metadata.insert(key.to_string(), reason.into());
        }
        status
    }
}

#[cfg(test)]
mod tests;

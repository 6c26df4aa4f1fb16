//! One token: where it is found, how it is read and checked.

use std::sync::Arc;

use base64::Engine;
use http::HeaderName;
use http::header::COOKIE;
use lateen_proxy_model::{
    BASE64_URL, Jwks, JwtAlgorithm, JwtPlace, JwtProvider, RequestView, SignatureError,
};
use serde_json::{Map, Value};

use super::status::JwtStatus;

/// Longest token that is read, bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Tokens of a request that are read.
const MAX_TOKENS: usize = 16;

/// A token as it stands in the request.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
}

/// Where it stands.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    Header(HeaderName),
    Query(Box<str>),
    Cookie,
}

/// A token, read.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) header: Map<String, Value>,
    payload: Map<String, Value>,
    payload_text: &'t str,
    signed: &'t str,
    signature: Vec<u8>,
    algorithm: JwtAlgorithm,
    times: Times,
}

#[derive(Debug, Default)]
struct Times {
    expires: u64,
    not_before: u64,
}

/// The tokens of a provider's places. Each value of a header counts (S4).
pub(super) fn find(provider: &JwtProvider, request: &RequestView<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for place in &provider.places {
        match place {
            JwtPlace::Header { name, prefix } => {
                for value in request.headers.get_all(name) {
                    let value = value.to_str().unwrap_or_default();
                    if let Some(text) = after(value, prefix) {
                        found.push(Found {
                            text: text.to_owned(),
                            place: Place::Header(name.clone()),
                        });
                    }
                }
            }
            JwtPlace::Query(name) => found.extend(query(request.path, name).map(|text| Found {
                text: text.to_owned(),
                place: Place::Query(name.clone()),
            })),
            JwtPlace::Cookie(name) => found.extend(cookie(request, name).map(|text| Found {
                text: text.to_owned(),
                place: Place::Cookie,
            })),
        }
    }
    found.truncate(MAX_TOKENS);
    found
}

fn after<'v>(value: &'v str, prefix: &str) -> Option<&'v str> {
    if prefix.is_empty() {
        return Some(value);
    }
    let (_, rest) = value.split_once(prefix)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let start = rest.find(legal).unwrap_or_default();
    rest.get(start..)
}

fn query<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let (_, query) = path.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Some(pairs.find(|(key, _)| *key == name)?.1)
}

fn cookie<'r>(request: &RequestView<'r>, name: &str) -> Option<&'r str> {
    let lines = request.headers.get_all(COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(value.trim_matches('"'))
}

impl<'t> Token<'t> {
    /// Reads a token.
    pub(super) fn parse(text: &'t str) -> Result<Self, JwtStatus> {
        let mut parts = text.split('.');
        let (Some(head), Some(payload_text), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtStatus::BadFormat);
        };
        let empty = head.is_empty() || payload_text.is_empty() || signature.is_empty();
        if empty || text.len() > MAX_TOKEN {
            return Err(JwtStatus::BadFormat);
        }
        let header = BASE64_URL.decode(head);
        let header = header.map_err(|_| JwtStatus::HeaderBase64)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| JwtStatus::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(JwtStatus::HeaderAlg)?;
        let algorithm = JwtAlgorithm::parse(algorithm).ok_or(JwtStatus::HeaderUnknownAlg)?;
        string(&header, "kid", JwtStatus::HeaderKid)?;
        let payload = BASE64_URL.decode(payload_text);
        let payload = payload.map_err(|_| JwtStatus::PayloadBase64)?;
        let payload: Map<String, Value> =
            serde_json::from_slice(&payload).map_err(|_| JwtStatus::PayloadJson)?;
        let times = times(&payload)?;
        let signature = BASE64_URL.decode(signature);
        let signed = head
            .len()
            .saturating_add(payload_text.len())
            .saturating_add(1);
        Ok(Self {
            header,
            payload,
            payload_text,
            signed: text.get(..signed).unwrap_or_default(),
            signature: signature.map_err(|_| JwtStatus::SignatureBase64)?,
            algorithm,
            times,
        })
    }

    /// `iss`.
    pub(super) fn issuer(&self) -> Option<String> {
        Some(self.payload.get("iss")?.as_str()?.to_owned())
    }

    /// Whether a provider accepts the token. `now` is in seconds since 1970.
    pub(super) fn check(
        &self,
        provider: &JwtProvider,
        audiences: Option<&[Box<str>]>,
        now: u64,
        keys: impl FnOnce() -> Option<Arc<Jwks>>,
    ) -> Result<(), JwtStatus> {
        let claim = |name: &str| self.payload.get(name).and_then(Value::as_str);
        if let Some(issuer) = &provider.issuer
            && claim("iss").unwrap_or_default() != &**issuer
        {
            return Err(JwtStatus::UnknownIssuer);
        }
        self.in_time(provider, now)?;
        if let Some(subjects) = &provider.subjects
            && !subjects.matches(claim("sub").unwrap_or_default())
        {
            return Err(JwtStatus::Verification);
        }
        if !self.is_for(audiences.unwrap_or(&provider.audiences)) {
            return Err(JwtStatus::Audience);
        }
        let keys = keys().ok_or(JwtStatus::Fetch)?;
        let name = self.header.get("alg").and_then(Value::as_str);
        let algorithm = (name.unwrap_or_default(), self.algorithm);
        let kid = self.header.get("kid").and_then(Value::as_str);
        let kid = kid.filter(|kid| !kid.is_empty());
        keys.verify(algorithm, kid, self.signed.as_bytes(), &self.signature)
            .map_err(|error| match error {
                SignatureError::NoSuchKey => JwtStatus::NoSuchKey,
                SignatureError::Wrong => JwtStatus::Verification,
            })
    }

    fn in_time(&self, provider: &JwtProvider, now: u64) -> Result<(), JwtStatus> {
        let Times {
            expires,
            not_before,
        } = self.times;
        if provider.require_expiration && expires == 0 {
            return Err(JwtStatus::Verification);
        }
        if let Some(longest) = provider.max_lifetime
            && (expires == 0 || expires > now.saturating_add(longest.as_secs()))
        {
            return Err(JwtStatus::Verification);
        }
        if now.saturating_add(provider.clock_skew) < not_before {
            return Err(JwtStatus::NotYetValid);
        }
        if expires != 0 && now > expires.saturating_add(provider.clock_skew) {
            return Err(JwtStatus::Expired);
        }
        Ok(())
    }

    /// Audiences are compared without scheme and last slash, as Envoy does.
    fn is_for(&self, wanted: &[Box<str>]) -> bool {
        if wanted.is_empty() {
            return true;
        }
        let is_wanted = |own: &str| wanted.iter().any(|one| plain(one) == plain(own));
        match self.payload.get("aud") {
            Some(Value::String(own)) => is_wanted(own),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(is_wanted),
            _ => false,
        }
    }

    /// The payload in base64url.
    pub(super) fn payload_text(&self, pad: bool) -> String {
        let mut text = self.payload_text.to_owned();
        while pad && !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    }

    /// The payload, in which some claims become lists of their words.
    pub(super) fn payload_without_spaces(&self, claims: &[Box<str>]) -> Map<String, Value> {
        let mut payload = self.payload.clone();
        for claim in claims {
            if let Some(value) = payload.get_mut(&**claim)
                && let Value::String(text) = value
            {
                *value = text.split(' ').map(Value::from).collect();
            }
        }
        payload
    }

    /// A claim as a header's text.
    pub(super) fn claim_text(&self, path: &[Box<str>]) -> Option<String> {
        let mut path = path.iter();
        let mut value = self.payload.get(&**path.next()?)?;
        for key in path {
            value = value.get(&**key)?;
        }
        match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                Some(base64::engine::general_purpose::STANDARD.encode(value.to_string()))
            }
        }
    }
}

fn plain(audience: &str) -> &str {
    let rest = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"))
        .unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

fn string(fields: &Map<String, Value>, name: &str, wrong: JwtStatus) -> Result<(), JwtStatus> {
    match fields.get(name) {
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => Err(wrong),
    }
}

fn times(payload: &Map<String, Value>) -> Result<Times, JwtStatus> {
    string(payload, "iss", JwtStatus::PayloadIss)?;
    string(payload, "sub", JwtStatus::PayloadSub)?;
    let range = (JwtStatus::PayloadIat, JwtStatus::PayloadIatRange);
    time(payload, "iat", range)?;
    let range = (JwtStatus::PayloadNbf, JwtStatus::PayloadNbfRange);
    let not_before = time(payload, "nbf", range)?;
    let range = (JwtStatus::PayloadExp, JwtStatus::PayloadExpRange);
    let expires = time(payload, "exp", range)?;
    string(payload, "jti", JwtStatus::PayloadJti)?;
    let texts = |list: &Vec<Value>| list.iter().all(Value::is_string);
    match payload.get("aud") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(list)) if texts(list) => {}
        Some(_) => return Err(JwtStatus::PayloadAud),
    }
    Ok(Times {
        expires,
        not_before,
    })
}

/// A time in seconds; 0 is none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in range"
)]
fn time(
    payload: &Map<String, Value>,
    name: &str,
    (wrong, range): (JwtStatus, JwtStatus),
) -> Result<u64, JwtStatus> {
    let Some(value) = payload.get(name) else {
        return Ok(0);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(seconds);
    }
    match value.as_f64() {
        None => Err(wrong),
        Some(seconds) if (0.0..9.2e18).contains(&seconds) => Ok(seconds as u64),
        Some(_) => Err(range),
    }
}

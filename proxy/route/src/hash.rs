//! Hash of a request for consistent balancing.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use lateen_proxy_model::{HashPolicy, RequestView};

/// Result of [`hash`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashResult {
    /// Hash; `None` when no policy found anything to hash.
    pub hash: Option<u64>,
    /// `set-cookie` header for the answer, for a cookie that was made here.
    pub cookie: Option<HeaderValue>,
}

/// Joins what each policy finds, in order. `random` names a cookie that is made.
///
/// The hash is the same in every process, so that all proxies pick the same endpoint.
pub fn hash(
    policies: &[HashPolicy],
    request: &RequestView<'_>,
    client: IpAddr,
    random: u64,
) -> HashResult {
    let mut result = HashResult::default();
    for policy in policies {
        let part = match policy {
            HashPolicy::Header(name) => header_hash(request.headers, name),
            HashPolicy::SourceIp => Some(match client {
                IpAddr::V4(ip) => hash_bytes(&ip.octets()),
                IpAddr::V6(ip) => hash_bytes(&ip.octets()),
            }),
            HashPolicy::Query(name) => {
                query_value(request.path, name).map(|value| hash_bytes(value.as_bytes()))
            }
            HashPolicy::Cookie { name, path, ttl } => match cookie(request.headers, name) {
                Some(value) => Some(hash_bytes(value)),
                None => ttl.map(|ttl| {
                    let value = format!("{random:016x}");
                    result.cookie = set_cookie(name, path, ttl, &value);
                    hash_bytes(value.as_bytes())
                }),
            },
        };
        if let Some(part) = part {
            result.hash = Some(result.hash.unwrap_or(0).rotate_left(1) ^ part);
        }
    }
    result
}

fn header_hash(headers: &HeaderMap, name: &http::HeaderName) -> Option<u64> {
    headers
        .get_all(name)
        .iter()
        .map(|value| hash_bytes(value.as_bytes()))
        .reduce(|joined, part| joined.rotate_left(1) ^ part)
}

fn query_value<'r>(path: &'r str, name: &str) -> Option<&'r str> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            pair.trim_ascii()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
        .map(|value| {
            value
                .strip_prefix(b"\"")
                .and_then(|value| value.strip_suffix(b"\""))
                .unwrap_or(value)
        })
}

fn set_cookie(name: &str, path: &str, ttl: Duration, value: &str) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        text.push_str("; Path=");
        text.push_str(path);
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}

/// FNV-1a with a final mix, so that near values land far apart.
fn hash_bytes(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(policies: &[HashPolicy], headers: &HeaderMap, path: &str) -> HashResult {
        let view = RequestView {
            method: "GET",
            scheme: "http",
            authority: "a",
            path,
            headers,
        };
        hash(policies, &view, IpAddr::from([10, 0, 0, 1]), 7)
    }

    #[test]
    fn a_cookie_is_made_once_and_hashes_the_same() {
        let policy = [HashPolicy::Cookie {
            name: "user".into(),
            path: "/p".into(),
            ttl: Some(Duration::from_secs(60)),
        }];
        let first = ask(&policy, &HeaderMap::new(), "/");
        let text = first.cookie.expect("made");
        assert_eq!(
            text,
            "user=\"0000000000000007\"; Max-Age=60; Path=/p; HttpOnly"
        );
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            HeaderValue::from_static("a=b; user=\"0000000000000007\""),
        );
        let second = ask(&policy, &headers, "/");
        assert_eq!(second.hash, first.hash);
        assert_eq!(second.cookie, None);
    }

    #[test]
    fn policies_are_joined_and_absent_parts_do_not_count() {
        let header = HashPolicy::Header(http::HeaderName::from_static("x-user"));
        let query = HashPolicy::Query("q".into());
        assert_eq!(ask(&[header], &HeaderMap::new(), "/").hash, None);
        let one = ask(std::slice::from_ref(&query), &HeaderMap::new(), "/?q=1");
        let two = ask(&[query, HashPolicy::SourceIp], &HeaderMap::new(), "/?q=1");
        assert!(one.hash.is_some() && one.hash != two.hash);
    }
}

//! Hash of a request for consistent balancing: the same numbers as Envoy's, so that proxies of both kinds agree.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{HashPolicy, HashSubject, RequestView, Rewrite};
use twox_hash::XxHash64;

/// Longest text of an IP address.
const ADDRESS: usize = 64;

/// Result of [`hash`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashResult {
    /// Hash; `None` when no policy found anything to hash.
    pub hash: Option<u64>,
    /// `set-cookie` headers for the answer, for cookies that were made here.
    pub cookies: Vec<HeaderValue>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct HashAddresses {
    /// The client, as trusted headers or the connection say.
    pub remote: SocketAddr,
    /// Both ends of the connection, which name a cookie that is made: requests of one connection get the same.
    pub connection: (SocketAddr, SocketAddr),
}

/// Joins what each policy finds, in order, until one that is terminal found something.
pub fn hash(
    policies: &[HashPolicy],
    request: &RequestView<'_>,
    addresses: &HashAddresses,
) -> HashResult {
    let mut result = HashResult::default();
    for policy in policies {
        if let Some(part) = part(&policy.subject, request, addresses, &mut result.cookies) {
            result.hash = Some(result.hash.unwrap_or(0).rotate_left(1) ^ part);
        }
        if policy.terminal && result.hash.is_some() {
            break;
        }
    }
    result
}

fn part(
    subject: &HashSubject,
    request: &RequestView<'_>,
    addresses: &HashAddresses,
    cookies: &mut Vec<HeaderValue>,
) -> Option<u64> {
    match subject {
        HashSubject::Header { name, rewrite } => {
            header_hash(request.headers, name, rewrite.as_ref())
        }
        HashSubject::SourceIp => Some(source_hash(addresses.remote.ip())),
        HashSubject::Query(name) => {
            query_value(request.path, name).map(|value| bytes(value.as_bytes()))
        }
        HashSubject::Cookie {
            name,
            path,
            ttl,
            attributes,
        } => match cookie(request.headers, name) {
            Some(value) => Some(bytes(value)),
            None => ttl.map(|ttl| {
                let (client, local) = addresses.connection;
                let ends = format!("{client}{local}");
                let value = format!("{:016x}", bytes(ends.as_bytes()));
                cookies.extend(set_cookie(name, (path, attributes), ttl, &value));
                bytes(value.as_bytes())
            }),
        },
    }
}

/// Several values count whatever their order.
fn header_hash(headers: &HeaderMap, name: &HeaderName, rewrite: Option<&Rewrite>) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(bytes(&rewritten(first, rewrite)));
    };
    let mut all = vec![rewritten(first, rewrite), rewritten(second, rewrite)];
    all.extend(values.map(|value| rewritten(value, rewrite)));
    all.sort_unstable();
    let seed = all
        .iter()
        .fold(0, |seed, value| XxHash64::oneshot(seed, value));
    Some(seed)
}

fn rewritten<'v>(value: &'v HeaderValue, rewrite: Option<&Rewrite>) -> Cow<'v, [u8]> {
    match rewrite.zip(value.to_str().ok()) {
        Some((rewrite, text)) => match rewrite.pattern.replace_all(text, &*rewrite.replacement) {
            Cow::Borrowed(text) => text.as_bytes().into(),
            Cow::Owned(text) => text.into_bytes().into(),
        },
        None => value.as_bytes().into(),
    }
}

/// Hash of a client's address, for connections that are no HTTP.
pub fn source_hash(ip: IpAddr) -> u64 {
    let mut text = [0; ADDRESS];
    let mut rest = &mut text[..];
    // Every address fits.
    let _ = write!(rest, "{}", ip.to_canonical());
    let left = rest.len();
    bytes(text.get(..ADDRESS - left).unwrap_or_default())
}

fn query_value<'r>(path: &'r str, name: &str) -> Option<&'r str> {
    let (_, query) = path.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The cookie's value; an empty one is none.
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
        .filter(|value| !value.is_empty())
}

fn set_cookie(
    name: &str,
    (path, attributes): (&str, &str),
    ttl: Duration,
    value: &str,
) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if ttl.as_secs() > 0 {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        text.push_str("; Path=");
        text.push_str(path);
    }
    text.push_str(attributes);
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}

fn bytes(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(subject: HashSubject) -> HashPolicy {
        HashPolicy {
            subject,
            terminal: false,
        }
    }

    fn ask(policies: &[HashPolicy], headers: &HeaderMap, path: &str) -> HashResult {
        let view = RequestView::of_head("GET", "a", path, headers);
        let client = SocketAddr::from(([127, 0, 0, 1], 43350));
        let addresses = HashAddresses {
            remote: client,
            connection: (client, SocketAddr::from(([127, 0, 0, 1], 41055))),
        };
        hash(policies, &view, &addresses)
    }

    fn header() -> HashSubject {
        HashSubject::Header {
            name: HeaderName::from_static("x-user"),
            rewrite: None,
        }
    }

    fn users(values: &[&'static str]) -> HeaderMap {
        let value = |value: &&'static str| {
            (
                HeaderName::from_static("x-user"),
                HeaderValue::from_static(value),
            )
        };
        values.iter().map(value).collect()
    }

    #[test]
    fn a_cookie_is_made_once_and_hashes_the_same() {
        let policy = [policy(HashSubject::Cookie {
            name: "user".into(),
            path: "/p".into(),
            ttl: Some(Duration::from_secs(60)),
            attributes: "; SameSite=Strict".into(),
        })];
        let first = ask(&policy, &HeaderMap::new(), "/");
        let text = first.cookies.first().expect("made").to_str().expect("text");
        let (pair, rest) = text.split_once("; ").expect("attributes");
        assert_eq!(rest, "Max-Age=60; Path=/p; SameSite=Strict; HttpOnly");
        assert_eq!(pair.len(), "user=\"0123456789abcdef\"".len());
        let mut headers = HeaderMap::new();
        let given = HeaderValue::try_from(format!("a=b; {pair}")).expect("value");
        headers.insert(COOKIE, given);
        let second = ask(&policy, &headers, "/");
        assert_eq!(second.hash, first.hash);
        assert!(second.cookies.is_empty());
    }

    #[test]
    fn policies_are_joined_and_absent_parts_do_not_count() {
        let header = policy(header());
        let query = policy(HashSubject::Query("q".into()));
        assert_eq!(ask(&[header], &HeaderMap::new(), "/").hash, None);
        let one = ask(std::slice::from_ref(&query), &HeaderMap::new(), "/?q=1");
        let address = policy(HashSubject::SourceIp);
        let two = ask(&[query, address], &HeaderMap::new(), "/?q=1");
        assert!(one.hash.is_some() && one.hash != two.hash);
    }

    #[test]
    fn a_terminal_policy_that_found_something_is_the_last() {
        let mut first = policy(header());
        let query = policy(HashSubject::Query("q".into()));
        let alone = ask(std::slice::from_ref(&first), &users(&["u1"]), "/?q=1");
        first.terminal = true;
        let both = [first, query];
        assert_eq!(ask(&both, &users(&["u1"]), "/?q=1").hash, alone.hash);
        assert!(ask(&both, &HeaderMap::new(), "/?q=1").hash.is_some());
    }

    #[test]
    fn hashes_are_those_of_xxhash64() {
        let one = [policy(header())];
        let plain = ask(&one, &users(&["u1"]), "/").hash;
        assert_eq!(plain, Some(XxHash64::oneshot(0, b"u1")));
        // In ascending order, each the seed of the next.
        let chained = XxHash64::oneshot(XxHash64::oneshot(0, b"u1"), b"u3");
        for order in [["u1", "u3"], ["u3", "u1"]] {
            assert_eq!(ask(&one, &users(&order), "/").hash, Some(chained));
        }
        let address = ask(&[policy(HashSubject::SourceIp)], &HeaderMap::new(), "/");
        assert_eq!(address.hash, Some(XxHash64::oneshot(0, b"127.0.0.1")));
        let shorter = policy(HashSubject::Header {
            name: HeaderName::from_static("x-user"),
            rewrite: Some(Rewrite {
                pattern: regex::Regex::new("^u(.)").expect("pattern"),
                replacement: "${1}".into(),
            }),
        });
        let rewritten = ask(&[shorter], &users(&["u15"]), "/").hash;
        assert_eq!(rewritten, Some(XxHash64::oneshot(0, b"15")));
    }
}

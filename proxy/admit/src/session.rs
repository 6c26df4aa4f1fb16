//! Sessions that stay with one endpoint: its address in a cookie or a header.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use lateen_proxy_model::{SessionHost, SessionState, StatefulSession};
use prost::Message;

/// What a session's cookie holds.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    address: String,
    /// Seconds since 1970; 0 is never.
    #[prost(int64, tag = "2")]
    expires: i64,
}

/// Whether requests to `path` have the session.
pub fn has_session(session: &StatefulSession, path: &str) -> bool {
    match &session.state {
        None => false,
        Some(SessionState::Header(_)) => true,
        Some(SessionState::Cookie { path: own, .. }) => {
            let own = &**own;
            let Some(rest) = path.strip_prefix(own) else {
                return false;
            };
            own.ends_with('/')
                || own.is_empty()
                || matches!(rest.as_bytes().first(), None | Some(b'/' | b'?' | b'#'))
        }
    }
}

/// The endpoint that a request names.
pub fn session_host(
    session: &StatefulSession,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<SessionHost> {
    let address = match session.state.as_ref()? {
        SessionState::Header(name) => text(headers.get(name)?.as_bytes())?,
        SessionState::Cookie { name, .. } => {
            let bytes = STANDARD.decode(cookie(headers, name)?).ok()?;
            let named = Named::decode(&*bytes).ok()?;
            if named.expires != 0 && named.expires < seconds(now) {
                return None;
            }
            named.address
        }
    };
    Some(SessionHost {
        address: address.parse().ok()?,
        strict: session.strict,
        status: session.status,
    })
}

/// Tells the client which endpoint its session has, when that is not the one it named.
pub fn tell_session(
    session: &StatefulSession,
    named: Option<SocketAddr>,
    used: SocketAddr,
    headers: &mut HeaderMap,
    now: SystemTime,
) {
    if named == Some(used) {
        return;
    }
    match &session.state {
        None => {}
        Some(SessionState::Header(name)) => {
            if let Ok(value) = HeaderValue::try_from(STANDARD.encode(used.to_string())) {
                headers.insert(name, value);
            }
        }
        Some(SessionState::Cookie {
            name,
            path,
            ttl,
            attributes,
        }) => {
            let expires = ttl.map_or(0, |ttl| seconds(now.checked_add(ttl).unwrap_or(now)));
            let named = Named {
                address: used.to_string(),
                expires,
            };
            let mut text = format!("{name}=\"{}\"", STANDARD.encode(named.encode_to_vec()));
            if let Some(ttl) = ttl {
                text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
            }
            if !path.is_empty() {
                text.push_str("; Path=");
                text.push_str(path);
            }
            text.push_str(attributes);
            text.push_str("; HttpOnly");
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.append(SET_COOKIE, value);
            }
        }
    }
}

fn text(base64: &[u8]) -> Option<String> {
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let bare = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    Some(bare.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie_session(path: &str, ttl: Option<u64>) -> StatefulSession {
        StatefulSession {
            state: Some(SessionState::Cookie {
                name: "s".into(),
                path: path.into(),
                ttl: ttl.map(Duration::from_secs),
                attributes: "; SameSite=Strict".into(),
            }),
            strict: true,
            status: None,
        }
    }

    #[test]
    fn cookies_come_back_until_they_end() {
        let session = cookie_session("/", Some(60));
        let used = "10.0.0.1:80".parse().expect("an address");
        let now = SystemTime::now();
        let mut answer = HeaderMap::new();
        tell_session(&session, None, used, &mut answer, now);
        let text = answer[SET_COOKIE].to_str().expect("text");
        let (pair, rest) = text.split_once("; ").expect("attributes");
        assert_eq!(rest, "Max-Age=60; Path=/; SameSite=Strict; HttpOnly");
        let mut headers = HeaderMap::new();
        let line = format!("a=b; {pair}");
        headers.insert(COOKIE, HeaderValue::try_from(line).expect("a header"));
        let found = session_host(&session, &headers, now).expect("named");
        assert!(found.address == used && found.strict);
        let later = now + Duration::from_secs(62);
        assert_eq!(session_host(&session, &headers, later), None);
        let mut same = HeaderMap::new();
        tell_session(&session, Some(used), used, &mut same, now);
        assert!(same.is_empty());
    }

    #[test]
    fn cookies_have_paths() {
        for (own, path, has) in [
            ("", "/x", true),
            ("/", "/x", true),
            ("/a", "/a?b", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/", "/a/b", true),
            ("/a/", "/a", false),
        ] {
            let session = cookie_session(own, None);
            assert_eq!(has_session(&session, path), has, "{own} {path}");
        }
    }

    #[test]
    fn headers_name_endpoints_too() {
        let name = http::HeaderName::from_static("x-session");
        let session = StatefulSession {
            state: Some(SessionState::Header(name.clone())),
            strict: false,
            status: None,
        };
        let used = "[::1]:80".parse().expect("an address");
        let mut headers = HeaderMap::new();
        let now = SystemTime::now();
        tell_session(&session, None, used, &mut headers, now);
        let found = session_host(&session, &headers, now).expect("named");
        assert_eq!(found.address, used);
        headers.insert(name, HeaderValue::from_static("10.0.0.1:80"));
        assert_eq!(session_host(&session, &headers, now), None);
    }
}

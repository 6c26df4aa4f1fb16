//! Who may ask: the pages are for this machine, not for web pages that a browser on it has open.

use http::Uri;
use http::header::{HOST, ORIGIN};
use lateen_proxy_agent::serve::{Call, is_local};

/// Why a request is refused, if it is.
///
/// A foreign web page can make a browser call a loopback address by a name that it owns (DNS rebinding), or post a form
/// to it. The first says a host that is neither an address nor `localhost`, the second an origin that is not the host.
pub(super) fn foreign(call: &Call) -> Option<&'static str> {
    let headers = call.request.headers();
    let host = headers.get(HOST).map(|value| value.to_str().ok());
    let host = match host {
        None => call.request.uri().authority().map(|one| one.as_str()),
        Some(None) => return Some("the Host header is malformed\n"),
        Some(host) => host,
    };
    if let Some(host) = host
        && is_local(call.from)
        && !is_own(host)
    {
        return Some("only an address or localhost may be named as host\n");
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().ok());
    let same = |origin: &str| {
        let uri = origin.parse::<Uri>().ok();
        let named = uri.as_ref().and_then(Uri::authority);
        named.is_some_and(|named| Some(named.as_str()) == host)
    };
    match origin {
        None => None,
        Some(Some(origin)) if same(origin) => None,
        Some(_) => Some("requests of other web pages are refused\n"),
    }
}

fn is_own(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    #[test]
    fn web_pages_are_kept_out() {
        let of = |host: &str, origin: Option<&str>, from: [u8; 4]| {
            let mut request = Request::builder().header(HOST, host);
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let request = request.body(Bytes::new()).expect("request");
            let from = (from, 9).into();
            foreign(&Call { request, from }).is_some()
        };
        let here = [127, 0, 0, 1];
        for host in ["localhost:15000", "127.0.0.1", "[::1]:15000", "10.0.0.7:1"] {
            assert!(!of(host, None, here), "{host}");
        }
        assert!(of("evil.example:15000", None, here));
        assert!(!of("proxy.example:15000", None, [10, 0, 0, 1]));
        assert!(of("localhost:1", Some("http://evil.example"), here));
        assert!(of("localhost:1", Some("null"), here));
        assert!(!of("localhost:1", Some("http://localhost:1"), here));
    }
}

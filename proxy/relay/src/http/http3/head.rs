//! A request's fields as a head, if they are one (RFC 9114, sections 4.2 and 4.3).

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::qpack::Field;

/// The protocol that an extended CONNECT asks for (RFC 9220).
#[derive(Clone, Debug)]
pub(crate) struct ExtendedConnect(pub(crate) HeaderValue);

/// Why fields are no head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Ends the connection, unless it is configured otherwise.
    Message(&'static str),
    /// Ends the stream alone: pseudo-headers twice or late, as in Envoy.
    Order(&'static str),
    /// The same of a path that is none.
    Path,
}

impl Malformed {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Message(why) | Self::Order(why) => why,
            Self::Path => "a path that does not begin with a slash",
        }
    }
}

impl From<&'static str> for Malformed {
    fn from(why: &'static str) -> Self {
        Self::Message(why)
    }
}

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<HeaderValue>,
}

/// The head of a request. `extended` allows to ask for another protocol.
pub(super) fn request(fields: Vec<Field>, extended: bool) -> Result<Request<()>, Malformed> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut regular = false;
    for field in fields {
        if field.is_pseudo() {
            if regular {
                return Err(Malformed::Order("a pseudo-header behind a header"));
            }
            pseudo.take(&field.name, &field.value)?;
        } else {
            regular = true;
            let (name, value) = header(field)?;
            headers.append(name, value);
        }
    }
    check_length(&headers)?;
    pseudo.request(headers, extended)
}

/// The trailers of a request.
pub(super) fn trailers(fields: Vec<Field>) -> Result<HeaderMap, Malformed> {
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let (name, value) = header(field)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}

fn header(field: Field) -> Result<(HeaderName, HeaderValue), Malformed> {
    // No capital letters, and no pseudo-header either.
    let name = HeaderName::from_lowercase(&field.name).map_err(|_| "an invalid header name")?;
    let hop = matches!(
        name,
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection");
    if hop {
        return Err("a header of HTTP/1 connections".into());
    }
    if name == header::TE && *field.value != *b"trailers" {
        return Err("a te header other than trailers".into());
    }
    let value = match field.value {
        Cow::Borrowed(value) => HeaderValue::from_bytes(value),
        Cow::Owned(value) => HeaderValue::from_maybe_shared(bytes::Bytes::from(value)),
    };
    Ok((name, value.map_err(|_| "an invalid header value")?))
}

/// One length, in digits.
fn check_length(headers: &HeaderMap) -> Result<(), Malformed> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let digits = first.as_bytes().iter().all(u8::is_ascii_digit);
    if !digits || length(headers).is_none() || lengths.any(|other| other != first) {
        return Err("an invalid content-length".into());
    }
    Ok(())
}

/// The declared length of a body.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Malformed> {
    if place.is_some() {
        return Err(Malformed::Order("a pseudo-header twice"));
    }
    *place = Some(value.ok_or("an invalid pseudo-header")?);
    Ok(())
}

impl Pseudo {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        match name {
            b":method" => once(&mut self.method, Method::from_bytes(value).ok()),
            b":scheme" => once(&mut self.scheme, Scheme::try_from(value).ok()),
            b":authority" => once(&mut self.authority, Authority::try_from(value).ok()),
            b":path" if !matches!(value, [] | [b'/', ..] | b"*") => Err(Malformed::Path),
            b":path" => once(&mut self.path, PathAndQuery::try_from(value).ok()),
            b":protocol" => once(&mut self.protocol, HeaderValue::from_bytes(value).ok()),
            _ => Err("an unknown pseudo-header".into()),
        }
    }

    fn request(self, headers: HeaderMap, extended: bool) -> Result<Request<()>, Malformed> {
        let method = self.method.ok_or("no method")?;
        let connect = method == Method::CONNECT;
        if self.protocol.is_some() && !(connect && extended) {
            return Err("a protocol that may not be asked for".into());
        }
        let plain_connect = connect && self.protocol.is_none();
        if plain_connect && (self.scheme.is_some() || self.path.is_some()) {
            return Err("a scheme or a path of CONNECT".into());
        }
        if !plain_connect && (self.scheme.is_none() || self.path.is_none()) {
            return Err("no scheme or no path".into());
        }
        let mut parts = http::uri::Parts::default();
        if !plain_connect {
            parts.scheme = self.scheme;
        }
        // A host cannot stand in its place, and says nothing else beside it.
        let authority = self.authority.as_ref().ok_or("no authority")?;
        if authority.as_str().contains('@') {
            return Err("an authority with a user".into());
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        if hosts.any(|host| host.as_bytes() != authority.as_str().as_bytes()) {
            return Err("a host beside another authority".into());
        }
        parts.authority = self.authority;
        parts.path_and_query = self.path;
        // One is enough.
        let mut headers = headers;
        headers.remove(header::HOST);
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| "an invalid target")?;
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_3;
        *request.headers_mut() = headers;
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(ExtendedConnect(protocol));
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Result<Request<()>, Malformed> {
        let field = |(name, value): &(&'static str, &'static str)| Field {
            name: Cow::Borrowed(name.as_bytes()),
            value: Cow::Borrowed(value.as_bytes()),
        };
        request(lines.iter().map(field).collect(), true)
    }

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/p?q"),
    ];

    #[test]
    fn a_head_is_taken_as_it_is() {
        let mut lines = GET.to_vec();
        lines.extend([("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]);
        let request = read(&lines).unwrap();
        assert_eq!(request.uri(), "https://a.test/p?q");
        assert_eq!(request.version(), Version::HTTP_3);
        assert_eq!(request.headers().get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn connect_has_an_authority_alone() {
        let request = read(&[(":method", "CONNECT"), (":authority", "a.test:443")]).unwrap();
        assert_eq!(request.uri().authority().unwrap(), "a.test:443");
        let mut lines = GET.to_vec();
        lines[0] = (":method", "CONNECT");
        assert!(read(&lines).is_err());
        lines.push((":protocol", "websocket"));
        let request = read(&lines).unwrap();
        let asked = request.extensions().get::<ExtendedConnect>().unwrap();
        assert_eq!(asked.0, "websocket");
    }

    #[test]
    fn malformed_heads_are_refused() {
        for extra in [
            (":path", "/"),
            (":status", "200"),
            (":other", "x"),
            ("Upper", "x"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "1"),
            ("te", "gzip"),
            ("content-length", "1x"),
            ("content-length", ""),
            ("bad name", "x"),
            ("bad", "x\ny"),
            (":protocol", "websocket"),
        ] {
            let mut lines = GET.to_vec();
            lines.push(extra);
            assert!(read(&lines).is_err(), "{extra:?}");
        }
        for missing in GET {
            let lines: Vec<_> = GET.into_iter().filter(|line| *line != missing).collect();
            assert!(read(&lines).is_err(), "without {missing:?}");
        }
        let mut lines = vec![("x", "y")];
        lines.extend(GET);
        assert!(read(&lines).is_err(), "a header first");
        let mut lines = GET.to_vec();
        lines.extend([("content-length", "1"), ("content-length", "2")]);
        assert!(read(&lines).is_err(), "two lengths");
    }
}

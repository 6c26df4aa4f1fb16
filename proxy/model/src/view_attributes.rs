//! Attributes of a request that is under way, for expressions in policies.

use http::{HeaderMap, HeaderName};

use crate::cel::{Attribute, Attributes, Object, Value};
use crate::facts::DynamicMetadata;
use crate::matcher::RequestView;

/// A request as an expression sees it.
pub(crate) struct ViewAttributes<'a> {
    view: &'a RequestView<'a>,
    headers: Headers<'a>,
    metadata: Named<'a>,
    route: Named<'a>,
}

struct Headers<'a>(&'a HeaderMap);

/// `metadata.filter_metadata`.
struct Named<'a>(&'a DynamicMetadata);

impl<'a> ViewAttributes<'a> {
    pub(crate) fn of(view: &'a RequestView<'a>) -> Self {
        Self {
            headers: Headers(view.headers),
            metadata: Named(view.facts.metadata()),
            route: Named(view.facts.route_metadata()),
            view,
        }
    }

    fn header(&self, name: &'static str) -> Option<Value<'_>> {
        let value = self.view.headers.get(HeaderName::from_static(name))?;
        Some(Value::lossy(value.as_bytes()))
    }

    fn of_request(&self, which: Attribute) -> Option<Value<'_>> {
        let view = self.view;
        // A connection has no request.
        if view.method.is_empty() {
            return None;
        }
        let split = || view.path.split_once('?').unwrap_or((view.path, ""));
        Some(match which {
            Attribute::RequestPath => Value::text(view.path),
            Attribute::RequestUrlPath => Value::text(split().0),
            Attribute::RequestQuery => Value::text(split().1),
            Attribute::RequestHost => Value::text(view.authority),
            Attribute::RequestScheme => Value::text(view.scheme),
            Attribute::RequestMethod => Value::text(view.method),
            Attribute::RequestHeaders => Value::Object(&self.headers),
            Attribute::RequestReferer => self.header("referer")?,
            Attribute::RequestUserAgent => self.header("user-agent")?,
            Attribute::RequestId => self.header("x-request-id")?,
            Attribute::XdsRouteMetadata => Value::Object(&self.route),
            _ => return None,
        })
    }
}

impl Attributes for ViewAttributes<'_> {
    fn attribute(&self, which: Attribute) -> Option<Value<'_>> {
        let facts = self.view.facts;
        let port = |port: u16| Value::Int(port.into());
        Some(match which {
            Attribute::SourceAddress => Value::address(facts.remote()?),
            Attribute::SourcePort => port(facts.remote()?.port()),
            Attribute::DestinationAddress => Value::address(facts.destination()?),
            Attribute::DestinationPort => port(facts.destination()?.port()),
            Attribute::ConnectionMtls => Value::Bool(facts.peer().is_some()),
            Attribute::ConnectionServerName => Value::text(facts.sni()?),
            Attribute::ConnectionUriSanPeer => Value::text(facts.peer()?.uris.first()?),
            Attribute::ConnectionDnsSanPeer => Value::text(facts.peer()?.dns.first()?),
            Attribute::ConnectionSubjectPeer => Value::text(facts.peer()?.subject),
            Attribute::Metadata => Value::Object(&self.metadata),
            which => return self.of_request(which),
        })
    }
}

impl Object for Headers<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        let name = HeaderName::try_from(name).ok()?;
        let mut values = self.0.get_all(&name).iter();
        let first = values.next()?.as_bytes();
        let mut joined = Vec::new();
        // Several are one text, with commas.
        for more in values {
            if joined.is_empty() {
                joined.extend_from_slice(first);
            }
            joined.push(b',');
            joined.extend_from_slice(more.as_bytes());
        }
        Some(match joined.is_empty() {
            true => Value::lossy(first),
            false => Value::Text(String::from_utf8_lossy(&joined).into_owned().into()),
        })
    }

    fn len(&self) -> usize {
        self.0.keys_len()
    }
}

impl Object for Named<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        (name == "filter_metadata").then_some(Value::Object(self.0))
    }

    fn len(&self) -> usize {
        1
    }
}

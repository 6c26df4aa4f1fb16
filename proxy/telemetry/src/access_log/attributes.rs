//! Attributes of a record, for expressions.

use std::time::{Duration, SystemTime};

use http::HeaderName;
use lateen_proxy_model::DynamicMetadata;
use lateen_proxy_model::cel::{Attribute, Attributes, Object, Value};

use super::operator::Subject;
use crate::{HeaderSource, HttpRecord, Peer, Side};

static NONE: std::sync::LazyLock<DynamicMetadata> =
    std::sync::LazyLock::new(DynamicMetadata::default);

/// A record as an expression sees it.
pub(crate) struct Facts<'a> {
    subject: Subject<'a>,
    request: Headers<'a>,
    response: Headers<'a>,
    trailers: Headers<'a>,
    metadata: Named<'a>,
    state: State<'a>,
}

/// Headers by name; names are compared as HTTP does.
struct Headers<'a>(Option<&'a dyn HeaderSource>);

/// `metadata.filter_metadata`.
struct Named<'a>(&'a DynamicMetadata);

/// `filter_state.upstream_peer` and `filter_state.downstream_peer`.
struct State<'a> {
    name: &'static str,
    peer: Option<PeerObject<'a>>,
}

struct PeerObject<'a>(&'a Peer);

impl<'a> Facts<'a> {
    pub(crate) fn of(subject: &Subject<'a>) -> Self {
        let http = subject.http;
        let exchange = subject.exchange;
        Self {
            request: Headers(http.and_then(|http| http.request_headers)),
            response: Headers(http.and_then(|http| http.response_headers)),
            trailers: Headers(http.and_then(|http| http.response_trailers)),
            metadata: Named(exchange.metadata.unwrap_or(&NONE)),
            state: State {
                name: match exchange.side {
                    Side::Inbound => "downstream_peer",
                    Side::Outbound | Side::Gateway => "upstream_peer",
                },
                peer: exchange.peer.map(|peer| PeerObject(peer)),
            },
            subject: Subject {
                exchange,
                http: subject.http,
            },
        }
    }

    fn http(&self, which: Attribute) -> Option<Value<'_>> {
        let http = self.subject.http?;
        let header = |name: &'static str| {
            let value = http
                .request_headers?
                .header(&HeaderName::from_static(name))?;
            Some(Value::lossy(value.as_bytes()))
        };
        Some(match which {
            Attribute::RequestPath => Value::text(http.path),
            Attribute::RequestUrlPath => Value::text(split(http).0),
            Attribute::RequestQuery => Value::text(split(http).1),
            Attribute::RequestHost => Value::text(http.authority?),
            Attribute::RequestScheme => header("x-forwarded-proto")?,
            Attribute::RequestMethod => Value::text(http.method),
            Attribute::RequestHeaders => Value::Object(&self.request),
            Attribute::RequestReferer => header("referer")?,
            Attribute::RequestUserAgent => header("user-agent")?,
            Attribute::RequestId => header("x-request-id")?,
            Attribute::RequestProtocol => Value::text(http.protocol.as_str()),
            Attribute::ResponseCode if http.status != 0 => Value::Int(http.status.into()),
            Attribute::ResponseGrpcStatus => Value::Int(http.grpc_status?.into()),
            Attribute::ResponseHeaders => Value::Object(&self.response),
            Attribute::ResponseTrailers => Value::Object(&self.trailers),
            Attribute::ResponseBackendLatency => {
                let (sent, got) = (http.request_duration?, http.response_duration?);
                duration(got.saturating_sub(sent))
            }
            Attribute::UpstreamAttempts => Value::Uint(http.attempts.into()),
            _ => return None,
        })
    }

    fn connection(&self, which: Attribute) -> Option<Value<'_>> {
        let exchange = self.subject.exchange;
        let inbound = exchange.side == Side::Inbound;
        let port = |address: std::net::SocketAddr| Value::Int(address.port().into());
        let principal = |wanted: bool| {
            let name = exchange.peer_principal.filter(|_| inbound == wanted)?;
            Some(Value::text(name))
        };
        Some(match which {
            Attribute::RequestTime => timestamp(exchange.start),
            Attribute::RequestDuration => duration(exchange.duration),
            Attribute::RequestSize | Attribute::RequestTotalSize => size(exchange.bytes_received),
            Attribute::ResponseSize | Attribute::ResponseTotalSize => size(exchange.bytes_sent),
            Attribute::ResponseFlags => Value::Int(exchange.flags.bits().into()),
            Attribute::ResponseCodeDetails => Value::text(exchange.details?),
            Attribute::SourceAddress => Value::address(exchange.downstream_remote?),
            Attribute::SourcePort => port(exchange.downstream_remote?),
            Attribute::DestinationAddress => Value::address(exchange.downstream_local?),
            Attribute::DestinationPort => port(exchange.downstream_local?),
            Attribute::ConnectionMtls => Value::Bool(inbound && exchange.mtls),
            Attribute::ConnectionServerName => Value::text(exchange.sni?),
            Attribute::ConnectionUriSanPeer => principal(true)?,
            Attribute::ConnectionTermination => Value::text(exchange.termination_details?),
            Attribute::UpstreamAddress => Value::address(exchange.upstream_host?),
            Attribute::UpstreamPort => port(exchange.upstream_host?),
            Attribute::UpstreamLocalAddress => Value::address(exchange.upstream_local?),
            Attribute::UpstreamUriSanPeer => principal(false)?,
            Attribute::UpstreamTransportFailure => Value::text(exchange.upstream_failure?),
            Attribute::XdsClusterName | Attribute::ClusterName => Value::text(exchange.cluster?),
            Attribute::XdsRouteName | Attribute::RouteName => Value::text(exchange.route?),
            Attribute::XdsListenerDirection | Attribute::ListenerDirection => {
                Value::Int(match exchange.side {
                    Side::Inbound => 1,
                    Side::Outbound => 2,
                    Side::Gateway => 0,
                })
            }
            Attribute::Metadata => Value::Object(&self.metadata),
            Attribute::FilterState => Value::Object(&self.state),
            _ => return None,
        })
    }
}

impl Attributes for Facts<'_> {
    fn attribute(&self, which: Attribute) -> Option<Value<'_>> {
        self.connection(which).or_else(|| self.http(which))
    }
}

fn split<'a>(http: &HttpRecord<'a>) -> (&'a str, &'a str) {
    http.path.split_once('?').unwrap_or((http.path, ""))
}

fn size<'a>(bytes: u64) -> Value<'a> {
    Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn duration<'a>(time: Duration) -> Value<'a> {
    Value::Duration(i128::try_from(time.as_nanos()).unwrap_or(i128::MAX))
}

fn timestamp<'a>(time: SystemTime) -> Value<'a> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    Value::Timestamp(i128::try_from(nanos).unwrap_or_default())
}

impl Object for Headers<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        let name = HeaderName::try_from(name).ok()?;
        let value = self.0?.header(&name)?;
        Some(Value::lossy(value.as_bytes()))
    }

    fn len(&self) -> usize {
        self.0.map_or(0, HeaderSource::count)
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

impl Object for State<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        let peer = self.peer.as_ref().filter(|_| name == self.name)?;
        Some(Value::Object(peer))
    }

    fn len(&self) -> usize {
        usize::from(self.peer.is_some())
    }
}

impl Object for PeerObject<'_> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        let fields = self.0.fields();
        let text = match name {
            "workload" | "name" => &fields.workload,
            "namespace" => &fields.namespace,
            "cluster" => &fields.cluster,
            "service" => &fields.canonical_name,
            "revision" => &fields.canonical_revision,
            "app" => &fields.app,
            "version" => &fields.version,
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn len(&self) -> usize {
        7
    }
}

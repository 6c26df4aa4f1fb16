//! docs/proxy-features.md: every message is built with one field set at a time and given to the readers; what they make
//! of it is written down. `make gen` writes the page, the test says when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap_pb;
use envoy_types::pb::envoy::config::cluster::v3 as cluster_pb;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint_pb;
use envoy_types::pb::envoy::config::listener::v3 as listener_pb;
use envoy_types::pb::envoy::config::route::v3 as route_pb;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls_pb;
use lateen_proxy_model::AccessLogRef;
use lateen_proxy_state::State;
use lateen_xds::json::Codec;
use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use regex::Regex;
use serde_json::{Value as Json, json};

use super::at::{At, Refused};
use super::context::{AccessLogSpec, Context};
use super::{cluster, endpoint, http_filters, listener, route_table, tls};
use crate::bootstrap::Bootstrap;
use crate::source::Sources;

const PAGE: &str = "../../docs/proxy-features.md";
/// Deepest path of fields that is built.
const DEPTH: usize = 7;
/// What readers say of a field that they do not take.
const UNSUPPORTED: &str = "not supported by this proxy";

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It has an effect, or its value is checked.
    Supported,
    /// It is accepted and changes nothing.
    NoEffect,
    /// It refuses the resource by its name.
    Refused,
}

/// Fields of messages by fate.
type Found = BTreeMap<String, BTreeMap<String, Fate>>;

type Reader = dyn Fn(&[u8]) -> Result<String, Refused>;

/// A reader of a message, with the smallest one it takes.
struct Probe {
    message: String,
    base: Json,
    read: Box<Reader>,
}

fn context<R>(read: impl FnOnce(&Context<'_>) -> R) -> R {
    let state = State::new();
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let sources = Sources::new(true, false);
    read(&Context::new(&state, &logs, false).with_sources(&sources))
}

fn decoded<M: Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).expect("its own encoding")
}

fn typed(message: &str, more: Json) -> Json {
    let mut value = more;
    value["@type"] = format!("type.googleapis.com/{message}").into();
    value
}

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

fn listener_of(codec: &Codec, filters: Json) -> listener_pb::Listener {
    codec
        .read_message(&json!({ "name": "l", "address": address(),
            "filter_chains": [{ "filters": filters }] }))
        .expect("a listener")
}

fn address() -> Json {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": 80 } })
}

/// A listener whose last filter, HTTP filter or socket is the message.
fn read_listener(message: listener_pb::Listener) -> Result<String, Refused> {
    context(|context| {
        listener::listener(context, message).map(|built| format!("{:?}", built.listener))
    })
}

fn in_listener(
    message: &str,
    base: Json,
    listener: listener_pb::Listener,
    put: fn(&mut listener_pb::Listener, Vec<u8>),
) -> Probe {
    Probe {
        message: message.to_owned(),
        base,
        read: Box::new(move |bytes| {
            let mut listener = listener.clone();
            put(&mut listener, bytes.to_vec());
            read_listener(listener)
        }),
    }
}

fn cluster_probe(base: Json) -> Probe {
    Probe {
        message: "envoy.config.cluster.v3.Cluster".into(),
        base,
        read: Box::new(|bytes| {
            let message: cluster_pb::Cluster = decoded(bytes);
            context(|context| {
                cluster::cluster(context, message)
                    .map(|one| format!("{:?} {:?} {:?}", one.cluster, one.eds, one.inline))
            })
        }),
    }
}

fn resources() -> Vec<Probe> {
    let router = json!([{ "name": "r", "typed_config": typed(ROUTER, json!({})) }]);
    let manager = typed(
        MANAGER,
        json!({ "stat_prefix": "x", "route_config": { "name": "r" }, "http_filters": router }),
    );
    vec![
        cluster_probe(json!({ "name": "a", "type": "STATIC" })),
        cluster_probe(
            json!({ "name": "a", "type": "EDS", "eds_cluster_config": { "eds_config": { "ads": {} } } }),
        ),
        cluster_probe(
            json!({ "name": "a", "type": "STRICT_DNS", "load_assignment": { "cluster_name": "a",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address() } }] }] } }),
        ),
        Probe {
            message: "envoy.config.endpoint.v3.ClusterLoadAssignment".into(),
            base: json!({ "cluster_name": "a" }),
            read: Box::new(|bytes| {
                let message: endpoint_pb::ClusterLoadAssignment = decoded(bytes);
                let (name, parsed) = endpoint::assignment(&At::ROOT, message)?;
                endpoint::addresses(&At::ROOT, parsed).map(|all| format!("{name} {all:?}"))
            }),
        },
        Probe {
            message: "envoy.config.listener.v3.Listener".into(),
            base: json!({ "name": "l", "address": address(),
                "filter_chains": [{ "filters": [{ "name": "m", "typed_config": manager }] }] }),
            read: Box::new(|bytes| read_listener(decoded(bytes))),
        },
        Probe {
            message: "envoy.config.route.v3.RouteConfiguration".into(),
            base: json!({ "name": "r", "virtual_hosts": [{ "name": "v", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "a" } }] }] }),
            read: Box::new(|bytes| {
                let message: route_pb::RouteConfiguration = decoded(bytes);
                context(|context| {
                    route_table::route_table(context, &At::ROOT, message)
                        .map(|one| format!("{one:?}"))
                })
            }),
        },
        Probe {
            message: "envoy.extensions.transport_sockets.tls.v3.Secret".into(),
            base: json!({ "name": "s" }),
            read: Box::new(|bytes| {
                let message: tls_pb::Secret = decoded(bytes);
                context(|context| tls::secret(context, &At::ROOT, message).map(|()| String::new()))
            }),
        },
        Probe {
            message: "envoy.config.bootstrap.v3.Bootstrap".into(),
            base: json!({}),
            read: Box::new(|bytes| {
                let message: bootstrap_pb::Bootstrap = decoded(bytes);
                match Bootstrap::from_message(message) {
                    Ok(made) => Ok(format!("{made:?}")),
                    Err(crate::StaticError::Field(refused)) => Err(refused),
                    Err(other) => Err(At::ROOT.refuse(other.to_string())),
                }
            }),
        },
    ]
}

/// Messages that stand in an `Any`: filters, sockets, options.
fn extensions(codec: &Codec, pool: &DescriptorPool) -> Vec<Probe> {
    let mut probes = Vec::new();
    let router = json!({ "name": "r", "typed_config": typed(ROUTER, json!({})) });
    let manager = |filters: Json| {
        let inner =
            json!({ "stat_prefix": "x", "route_config": { "name": "r" }, "http_filters": filters });
        json!([{ "name": "m", "typed_config": typed(MANAGER, inner) }])
    };
    probes.push(in_listener(
        MANAGER,
        json!({ "stat_prefix": "x", "route_config": { "name": "r" }, "http_filters": [router] }),
        listener_of(codec, manager(json!([router]))),
        |listener, bytes| put_network(listener, None, bytes),
    ));
    let proxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let terminal = json!([{ "name": "t", "typed_config": typed(proxy, json!({ "stat_prefix": "x", "cluster": "a" })) }]);
    probes.push(in_listener(
        proxy,
        json!({ "stat_prefix": "x", "cluster": "a" }),
        listener_of(codec, terminal),
        |listener, bytes| put_network(listener, None, bytes),
    ));
    for message in pool.all_messages() {
        let name = message.full_name().to_owned();
        let base = base_of(&name);
        if name.starts_with("envoy.extensions.filters.http.")
            && name != ROUTER
            && context(|context| http_filters::knows(context, &name))
        {
            let listener = listener_of(codec, manager(json!([router.clone(), router.clone()])));
            probes.push(http_filter(&name, base, listener));
        }
    }
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    probes.push(in_cluster(
        options,
        json!({ "explicit_http_config": { "http_protocol_options": {} } }),
        |cluster, any| {
            cluster
                .typed_extension_protocol_options
                .insert(options_name(), any);
        },
    ));
    probes.push(in_cluster(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        json!({}),
        |cluster, any| {
            use envoy_types::pb::envoy::config::core::v3 as core;
            cluster.transport_socket = Some(core::TransportSocket {
                name: "tls".into(),
                config_type: Some(core::transport_socket::ConfigType::TypedConfig(any)),
            });
        },
    ));
    probes
}

fn options_name() -> String {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned()
}

fn put_network(listener: &mut listener_pb::Listener, name: Option<&str>, bytes: Vec<u8>) {
    use listener_pb::filter::ConfigType;
    let filter = listener
        .filter_chains
        .first_mut()
        .and_then(|chain| chain.filters.last_mut());
    if let Some(ConfigType::TypedConfig(any)) = filter.and_then(|one| one.config_type.as_mut()) {
        any.value = bytes;
        if let Some(name) = name {
            any.type_url = format!("type.googleapis.com/{name}");
        }
    }
}

fn http_filter(name: &str, base: Json, listener: listener_pb::Listener) -> Probe {
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
    use hcm::http_filter::ConfigType;
    use listener_pb::filter::ConfigType as NetworkType;
    let message = name.to_owned();
    let url = format!("type.googleapis.com/{name}");
    Probe {
        message,
        base,
        read: Box::new(move |bytes| {
            let mut listener = listener.clone();
            let filter = &mut listener.filter_chains[0].filters[0];
            if let Some(NetworkType::TypedConfig(any)) = &mut filter.config_type {
                let mut manager: hcm::HttpConnectionManager = decoded(&any.value);
                if let Some(ConfigType::TypedConfig(own)) = &mut manager.http_filters[0].config_type
                {
                    own.type_url.clone_from(&url);
                    own.value = bytes.to_vec();
                }
                any.value = manager.encode_to_vec();
            }
            read_listener(listener)
        }),
    }
}

fn in_cluster(
    name: &'static str,
    base: Json,
    put: fn(&mut cluster_pb::Cluster, envoy_types::pb::google::protobuf::Any),
) -> Probe {
    Probe {
        message: name.to_owned(),
        base,
        read: Box::new(move |bytes| {
            let mut message = cluster_pb::Cluster {
                name: "a".into(),
                ..Default::default()
            };
            let any = envoy_types::pb::google::protobuf::Any {
                type_url: format!("type.googleapis.com/{name}"),
                value: bytes.to_vec(),
            };
            put(&mut message, any);
            context(|context| {
                cluster::cluster(context, message).map(|one| format!("{:?}", one.cluster))
            })
        }),
    }
}

/// The smallest message that a reader takes, where it is not the empty one.
fn base_of(name: &str) -> Json {
    match name {
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig" => {
            json!({ "dns_cache_config": { "name": "a" } })
        }
        "envoy.extensions.filters.http.health_check.v3.HealthCheck" => {
            json!({ "pass_through_mode": false })
        }
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl" => {
            json!({ "success_criteria": {} })
        }
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor" => {
            json!({ "grpc_service": { "envoy_grpc": { "cluster_name": "a" } } })
        }
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit" => json!({
            "stat_prefix": "x", "token_bucket": { "max_tokens": 1, "fill_interval": "1s" } }),
        _ => json!({}),
    }
}

/// Tries every field that is reached from the base.
fn explore(probe: &Probe, pool: &DescriptorPool, found: &mut Found) {
    let descriptor = pool.get_message_by_name(&probe.message).expect("known");
    let base = DynamicMessage::deserialize(descriptor.clone(), probe.base.clone()).expect("a base");
    let plain = run(probe, &base);
    fields(probe, (&base, &plain), &descriptor, &mut Vec::new(), found);
}

fn run(probe: &Probe, message: &DynamicMessage) -> Result<String, Refused> {
    let bytes = message.encode_to_vec();
    static NUMBERS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(id|since): \d+").expect("an expression"));
    let read = catch_unwind(AssertUnwindSafe(|| (probe.read)(&bytes)));
    let read = read.unwrap_or_else(|_| Err(At::ROOT.refuse("panic")));
    read.map(|text| NUMBERS.replace_all(&text, "").into_owned())
}

fn fields(
    probe: &Probe,
    (base, plain): (&DynamicMessage, &Result<String, Refused>),
    message: &MessageDescriptor,
    path: &mut Vec<FieldDescriptor>,
    found: &mut Found,
) {
    let name = message.full_name().to_owned();
    found.entry(name.clone()).or_default();
    let mut below = Vec::new();
    for field in message.fields() {
        path.push(field.clone());
        let mut changed = base.clone();
        set(&mut changed, path);
        let given = changed == *base;
        let result = run(probe, &changed);
        path.pop();
        let fate = match (&result, plain) {
            _ if given => Fate::Supported,
            // What may stand in a map or an Any is told of where it is listed itself.
            (Err(error), _) if field.is_map() && error.path.ends_with(']') => Fate::Supported,
            (Err(error), _) if error.reason.contains(UNSUPPORTED) && at_end(error, &field) => {
                Fate::Refused
            }
            (Ok(now), Ok(before)) if now == before => Fate::NoEffect,
            _ => Fate::Supported,
        };
        let known = found.entry(name.clone()).or_default();
        let place = known.entry(field.name().to_owned()).or_insert(fate);
        *place = (*place).min(fate);
        if fate != Fate::Refused {
            below.push(field);
        }
    }
    for field in below {
        let Kind::Message(inner) = field.kind() else {
            continue;
        };
        let foreign = !inner.full_name().starts_with("envoy.");
        if foreign || field.is_map() || path.len() >= DEPTH {
            continue;
        }
        if found.contains_key(inner.full_name()) {
            path.push(field.clone());
            let acts = acts(probe, base, &inner, path);
            path.pop();
            let own = found
                .get_mut(&name)
                .and_then(|own| own.get_mut(field.name()));
            if let Some(fate) = own.filter(|fate| acts && **fate == Fate::NoEffect) {
                *fate = Fate::Supported;
            }
            continue;
        }
        path.push(field.clone());
        let mut with = base.clone();
        set(&mut with, path);
        let plain = run(probe, &with);
        fields(probe, (&with, &plain), &inner, path, found);
        path.pop();
        raise(found, &name, &field, &inner);
    }
}

/// Whether some field of a message does something in this place.
fn acts(
    probe: &Probe,
    base: &DynamicMessage,
    message: &MessageDescriptor,
    path: &mut Vec<FieldDescriptor>,
) -> bool {
    let mut empty = base.clone();
    set(&mut empty, path);
    let plain = run(probe, &empty);
    message.fields().any(|field| {
        path.push(field);
        let mut changed = empty.clone();
        set(&mut changed, path);
        path.pop();
        run(probe, &changed) != plain
    })
}

/// A message that does nothing while it is empty does something when one of its fields does.
fn raise(found: &mut Found, message: &str, field: &FieldDescriptor, inner: &MessageDescriptor) {
    let within = found.get(inner.full_name());
    let acts = within.is_some_and(|own| own.values().any(|fate| *fate == Fate::Supported));
    let own = found.get_mut(message);
    let fate = own.and_then(|own| own.get_mut(field.name()));
    if let Some(fate) = fate.filter(|fate| acts && **fate == Fate::NoEffect) {
        *fate = Fate::Supported;
    }
}

fn at_end(error: &Refused, field: &FieldDescriptor) -> bool {
    let end = error.path.rsplit('.').next().unwrap_or_default();
    let plain = end.split('[').next().unwrap_or_default();
    let oneof = field.containing_oneof();
    let oneof = oneof.as_ref().map(|one| one.name());
    plain == field.name() || oneof == Some(plain) || plain.trim_start_matches("r#") == field.name()
}

/// Sets the field at the end of the path to some value; messages on the way come into being.
fn set(message: &mut DynamicMessage, path: &[FieldDescriptor]) {
    let Some((field, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        if !message.has_field(field) {
            message.set_field(field, some(field));
        }
        return;
    }
    let mut value = if message.has_field(field) {
        message.get_field(field).into_owned()
    } else {
        some(field)
    };
    match &mut value {
        Value::Message(inner) => set(inner, rest),
        Value::List(items) => {
            if let Some(Value::Message(inner)) = items.first_mut() {
                set(inner, rest);
            }
        }
        _ => {}
    }
    message.set_field(field, value);
}

fn some(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return Value::Map(Default::default());
        };
        let value = single(&entry.map_entry_value_field());
        let key = prost_reflect::MapKey::String("key".into());
        return Value::Map([(key, value)].into());
    }
    match field.cardinality() {
        Cardinality::Repeated => Value::List(vec![single(field)]),
        _ => single(field),
    }
}

fn single(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(1.0),
        Kind::Float => Value::F32(1.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
        Kind::String => Value::String("x".into()),
        Kind::Bytes => Value::Bytes(b"x".to_vec().into()),
        Kind::Enum(values) => {
            let other = values.values().find(|value| value.number() != 0);
            Value::EnumNumber(other.map_or(0, |value| value.number()))
        }
        Kind::Message(inner) => Value::Message(filled(inner)),
    }
}

/// Values of well-known types are never their zero, which readers may take for absence.
fn filled(message: MessageDescriptor) -> DynamicMessage {
    let known = message.full_name().starts_with("google.protobuf.");
    let value = message.get_field_by_name("value");
    let seconds = message.get_field_by_name("seconds");
    let mut made = DynamicMessage::new(message);
    if let Some(field) = value.or(seconds).filter(|field| known && !field.is_map()) {
        made.set_field(&field, single(&field));
    }
    made
}

fn page(found: &Found) -> String {
    let mut out = String::from(
        "# What of Envoy's API the proxy supports\n\n\
         Made by `make gen` from the readers themselves: each field was set and read. What is under \"supported\" has an\n\
         effect or its value is checked; \"no effect\" is accepted and changes nothing, by itself at least (the reasons are\n\
         in `proxy/sync/src/wire/ignored.rs`); \"refused\" is refused by its name, as is every message and every field\n\
         that is not listed here.\n",
    );
    for (message, fields) in found {
        if fields.values().all(|fate| *fate == Fate::Refused) && !fields.is_empty() {
            continue;
        }
        let _ = write!(out, "\n## {message}\n");
        if fields.is_empty() {
            out.push_str("\nIt has no fields.\n");
        }
        for (fate, title) in [
            (Fate::Supported, "supported"),
            (Fate::NoEffect, "no effect"),
            (Fate::Refused, "refused"),
        ] {
            let names: BTreeSet<String> = fields
                .iter()
                .filter(|(_, own)| **own == fate)
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            if !names.is_empty() {
                let names: Vec<String> = names.into_iter().collect();
                let _ = write!(out, "\n- {title}: {}", names.join(", "));
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_page_of_features_is_what_the_readers_do() {
    let codec = Codec::new().expect("descriptors");
    let pool = codec.pool().clone();
    let mut found = Found::new();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for probe in resources().iter().chain(&extensions(&codec, &pool)) {
        explore(probe, &pool, &mut found);
    }
    std::panic::set_hook(quiet);
    let made = page(&found);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("LATEEN_GEN").is_some() {
        std::fs::write(&file, &made).expect("written");
        return;
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = made
        .lines()
        .zip(known.lines())
        .find(|(one, other)| one != other);
    assert!(
        made == known,
        "docs/proxy-features.md is not what the readers do ({differs:?}): run `make gen`"
    );
}

//! Label sets of the standard metrics, written once for each series.

use std::fmt::Write;
use std::sync::Arc;

use indexmap::Equivalent;
use lateen_proxy_model::MetricOverrides;

use crate::peer::{Peer, Service};
use crate::{Flags, Side};

const UNKNOWN: &str = "unknown";

/// What tells two series of one worker apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeriesKey {
    pub(crate) side: Side,
    pub(crate) mtls: bool,
    pub(crate) protocol: RequestProtocol,
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) flags: Flags,
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) service: Option<Arc<Service>>,
    /// Which changes are made to the labels, and their values.
    pub(crate) custom: Option<(usize, Box<str>)>,
}

/// A [`SeriesKey`] by reference, which finds a series without touching reference counts that workers may share. Its fields
/// hash as those of the key do: same fields, same order.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct SeriesRef<'a> {
    pub(crate) side: Side,
    pub(crate) mtls: bool,
    pub(crate) protocol: RequestProtocol,
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) flags: Flags,
    pub(crate) peer: Option<&'a Arc<Peer>>,
    pub(crate) principal: Option<&'a Arc<str>>,
    pub(crate) service: Option<&'a Arc<Service>>,
    pub(crate) custom: Option<(usize, &'a str)>,
}

impl Equivalent<SeriesKey> for SeriesRef<'_> {
    fn equivalent(&self, key: &SeriesKey) -> bool {
        self.side == key.side
            && self.mtls == key.mtls
            && self.protocol == key.protocol
            && self.status == key.status
            && self.grpc_status == key.grpc_status
            && self.flags == key.flags
            && self.peer == key.peer.as_ref()
            && self.principal == key.principal.as_ref()
            && self.service == key.service.as_ref()
            && self.custom == key.custom.as_ref().map(|(id, values)| (*id, &**values))
    }
}

impl From<SeriesRef<'_>> for SeriesKey {
    fn from(key: SeriesRef<'_>) -> Self {
        Self {
            side: key.side,
            mtls: key.mtls,
            protocol: key.protocol,
            status: key.status,
            grpc_status: key.grpc_status,
            flags: key.flags,
            peer: key.peer.map(Arc::clone),
            principal: key.principal.map(Arc::clone),
            service: key.service.map(Arc::clone),
            custom: key.custom.map(|(id, values)| (id, values.into())),
        }
    }
}

/// Value of `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestProtocol {
    Http,
    Grpc,
    Tcp,
}

/// This proxy's own side of every series.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) peer: Arc<Peer>,
    pub(crate) principal: Option<Arc<str>>,
}

/// One side of a series: workload and proven identity.
struct Party<'a> {
    peer: Option<&'a Peer>,
    principal: Option<&'a str>,
}

/// How much of the label set a metric family carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LabelSet {
    /// Everything: `istio_requests_total` and the histograms.
    Http,
    /// Without code, gRPC status and flags: the gRPC message counters.
    Messages,
    /// Without code and gRPC status: TCP.
    Tcp,
}

/// What separates values in a key.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// The label blocks of a series, one for each of `metrics` (names without `istio_`); `None` is not counted.
pub(crate) fn blocks<const N: usize>(
    key: &SeriesKey,
    local: &Local,
    set: LabelSet,
    overrides: Option<&MetricOverrides>,
    metrics: [&str; N],
) -> [Option<Arc<str>>; N] {
    let labels = labels(key, local, set);
    let Some((overrides, (_, values))) = overrides.zip(key.custom.as_ref()) else {
        let block: Arc<str> = block(&labels).into();
        return metrics.map(|_| Some(Arc::clone(&block)));
    };
    let values: Vec<String> = values.split(SEPARATOR).map(str::to_owned).collect();
    metrics.map(|metric| {
        let mut own = labels.clone();
        let counted = overrides.apply(metric, &values, &mut own);
        counted.then(|| block(&own).into())
    })
}

/// The block without braces.
fn block(labels: &[(Box<str>, String)]) -> String {
    let mut out = String::with_capacity(768);
    for (name, value) in labels {
        if !out.is_empty() {
            out.push(',');
        }
        let _ = write!(out, "{name}=\"");
        escape_into(value, &mut out);
        out.push('"');
    }
    out
}

/// The labels in the order of contract/telemetry.md §1.
fn labels(key: &SeriesKey, local: &Local, set: LabelSet) -> Vec<(Box<str>, String)> {
    let own = Party {
        peer: Some(&local.peer),
        principal: if key.mtls {
            local.principal.as_deref()
        } else {
            None
        },
    };
    let other = Party {
        peer: key.peer.as_deref(),
        principal: key.principal.as_deref(),
    };
    let (source, destination) = if key.side == Side::Inbound {
        (other, own)
    } else {
        (own, other)
    };
    let mut out = Labels(Vec::with_capacity(32));
    out.push("reporter", key.side.reporter());
    source_labels(&mut out, &source);
    destination_labels(&mut out, &destination, key.service.as_deref());
    out.push("request_protocol", key.protocol.as_str());
    if set == LabelSet::Http {
        out.push("response_code", &key.status.to_string());
        out.push(
            "grpc_response_status",
            &key.grpc_status
                .map_or_else(String::new, |status| status.to_string()),
        );
    }
    if set != LabelSet::Messages {
        out.push("response_flags", &key.flags.to_string());
    }
    out.push("connection_security_policy", security_policy(key));
    out.0
}

impl RequestProtocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// Escapes a label value: backslash, quote and line feed (Prometheus text format 0.0.4); other controls become `_`.
pub(crate) fn escape_into(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push('_'),
            other => out.push(other),
        }
    }
}

struct Labels(Vec<(Box<str>, String)>);

impl Labels {
    fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.into(), value.to_owned()));
    }
}

impl Party<'_> {
    fn field<'p>(&'p self, pick: impl Fn(&'p crate::PeerFields) -> &'p String) -> &'p str {
        self.peer
            .map_or(UNKNOWN, |peer| pick(peer.fields()).as_str())
    }

    fn principal(&self) -> &str {
        self.principal.unwrap_or(UNKNOWN)
    }
}

fn source_labels(out: &mut Labels, source: &Party<'_>) {
    out.push("source_workload", source.field(|f| &f.workload));
    out.push(
        "source_canonical_service",
        source.field(|f| &f.canonical_name),
    );
    out.push(
        "source_canonical_revision",
        source.field(|f| &f.canonical_revision),
    );
    out.push("source_workload_namespace", source.field(|f| &f.namespace));
    out.push("source_principal", source.principal());
    out.push("source_app", source.field(|f| &f.app));
    out.push("source_version", source.field(|f| &f.version));
    out.push("source_cluster", source.field(|f| &f.cluster));
}

fn destination_labels(out: &mut Labels, destination: &Party<'_>, service: Option<&Service>) {
    let host = non_empty(service.map(|service| &*service.host)).unwrap_or(UNKNOWN);
    let name = non_empty(service.map(|service| &*service.name)).unwrap_or(host);
    let namespace = destination.field(|f| &f.namespace);
    let service_namespace =
        non_empty(service.map(|service| &*service.namespace)).unwrap_or(namespace);
    out.push("destination_workload", destination.field(|f| &f.workload));
    out.push("destination_workload_namespace", namespace);
    out.push("destination_principal", destination.principal());
    out.push("destination_app", destination.field(|f| &f.app));
    out.push("destination_version", destination.field(|f| &f.version));
    out.push("destination_service", host);
    out.push(
        "destination_canonical_service",
        destination.field(|f| &f.canonical_name),
    );
    out.push(
        "destination_canonical_revision",
        destination.field(|f| &f.canonical_revision),
    );
    out.push("destination_service_name", name);
    out.push("destination_service_namespace", service_namespace);
    out.push("destination_cluster", destination.field(|f| &f.cluster));
}

fn security_policy(key: &SeriesKey) -> &'static str {
    match (key.side, key.mtls) {
        (Side::Inbound, true) => "mutual_tls",
        (Side::Inbound, false) => "none",
        _ => UNKNOWN,
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

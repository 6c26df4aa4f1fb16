//! What is said of each kind besides its schema: names, versions, columns.

use super::rule::Row;
use super::rules;
use crate::extensions::{TrafficExtension, WasmPlugin};
use crate::networking::{
    DestinationRule, EnvoyFilter, Gateway, ProxyConfig, ServiceEntry, Sidecar, VirtualService,
    WorkloadEntry, WorkloadGroup,
};
use crate::object::Kind;
use crate::proto::{Schema, Value};
use crate::security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::telemetry::Telemetry;

/// One kind. Its versions are those in which it is read, see [`Kind::versions`].
pub(super) struct Definition {
    pub(super) kind: Kind,
    /// The kind's name in paths.
    pub(super) plural: &'static str,
    /// The kind's short name for command lines.
    pub(super) short: Option<&'static str>,
    /// The version in which objects are stored.
    pub(super) storage: &'static str,
    /// What is listed besides the name and, last, the age.
    pub(super) columns: &'static [Column],
    /// Whether an object needs a `spec`.
    pub(super) spec_required: bool,
    /// What the types say.
    pub(super) schema: fn() -> Schema,
    /// What the types do not say.
    pub(super) rules: &'static [Row],
}

/// A column of a list of objects.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
}

impl Column {
    const fn text(name: &'static str, description: &'static str, path: &'static str) -> Self {
        Self {
            name,
            description,
            path,
            kind: "string",
        }
    }

    pub(super) const fn date(
        name: &'static str,
        description: &'static str,
        path: &'static str,
    ) -> Self {
        Self {
            name,
            description,
            path,
            kind: "date",
        }
    }
}

/// All of Istio's kinds, in the order of [`Kind`].
pub(super) const DEFINITIONS: [Definition; 15] = [
    Definition {
        kind: Kind::VirtualService,
        plural: "virtualservices",
        short: Some("vs"),
        storage: "v1",
        columns: &[
            Column::text(
                "Gateways",
                "The gateways that apply the routes.",
                ".spec.gateways",
            ),
            Column::text("Hosts", "The hosts that the routes are for.", ".spec.hosts"),
        ],
        spec_required: false,
        schema: VirtualService::schema,
        rules: rules::VIRTUAL_SERVICE,
    },
    Definition {
        kind: Kind::DestinationRule,
        plural: "destinationrules",
        short: Some("dr"),
        storage: "v1",
        columns: &[Column::text(
            "Host",
            "The host that the policy is for.",
            ".spec.host",
        )],
        spec_required: true,
        schema: DestinationRule::schema,
        rules: rules::DESTINATION_RULE,
    },
    Definition {
        kind: Kind::Gateway,
        plural: "gateways",
        short: Some("gw"),
        storage: "v1",
        columns: &[],
        spec_required: false,
        schema: Gateway::schema,
        rules: rules::GATEWAY,
    },
    Definition {
        kind: Kind::ServiceEntry,
        plural: "serviceentries",
        short: Some("se"),
        storage: "v1",
        columns: &[
            Column::text("Hosts", "The service's names.", ".spec.hosts"),
            Column::text(
                "Location",
                "Whether the service is part of the mesh.",
                ".spec.location",
            ),
            Column::text(
                "Resolution",
                "How the service's endpoints are found.",
                ".spec.resolution",
            ),
        ],
        spec_required: true,
        schema: ServiceEntry::schema,
        rules: rules::SERVICE_ENTRY,
    },
    Definition {
        kind: Kind::WorkloadEntry,
        plural: "workloadentries",
        short: Some("we"),
        storage: "v1",
        columns: &[Column::text(
            "Address",
            "The endpoint's address.",
            ".spec.address",
        )],
        spec_required: true,
        schema: WorkloadEntry::schema,
        rules: rules::WORKLOAD_ENTRY,
    },
    Definition {
        kind: Kind::Sidecar,
        plural: "sidecars",
        short: None,
        storage: "v1",
        columns: &[],
        spec_required: false,
        schema: Sidecar::schema,
        rules: rules::SIDECAR,
    },
    Definition {
        kind: Kind::WorkloadGroup,
        plural: "workloadgroups",
        short: Some("wg"),
        storage: "v1",
        columns: &[],
        spec_required: true,
        schema: WorkloadGroup::schema,
        rules: rules::WORKLOAD_GROUP,
    },
    Definition {
        kind: Kind::EnvoyFilter,
        plural: "envoyfilters",
        short: None,
        storage: "v1alpha3",
        columns: &[],
        spec_required: false,
        schema: EnvoyFilter::schema,
        rules: rules::ENVOY_FILTER,
    },
    Definition {
        kind: Kind::ProxyConfig,
        plural: "proxyconfigs",
        short: None,
        storage: "v1beta1",
        columns: &[],
        spec_required: false,
        schema: ProxyConfig::schema,
        rules: rules::PROXY_CONFIG,
    },
    Definition {
        kind: Kind::PeerAuthentication,
        plural: "peerauthentications",
        short: Some("pa"),
        storage: "v1",
        columns: &[Column::text(
            "Mode",
            "The rule on mutual TLS for all ports.",
            ".spec.mtls.mode",
        )],
        spec_required: false,
        schema: PeerAuthentication::schema,
        rules: rules::PEER_AUTHENTICATION,
    },
    Definition {
        kind: Kind::AuthorizationPolicy,
        plural: "authorizationpolicies",
        short: Some("ap"),
        storage: "v1",
        columns: &[Column::text(
            "Action",
            "What happens to a request that matches.",
            ".spec.action",
        )],
        spec_required: false,
        schema: AuthorizationPolicy::schema,
        rules: rules::AUTHORIZATION_POLICY,
    },
    Definition {
        kind: Kind::RequestAuthentication,
        plural: "requestauthentications",
        short: Some("ra"),
        storage: "v1",
        columns: &[],
        spec_required: false,
        schema: RequestAuthentication::schema,
        rules: rules::REQUEST_AUTHENTICATION,
    },
    Definition {
        kind: Kind::Telemetry,
        plural: "telemetries",
        short: Some("telemetry"),
        storage: "v1alpha1",
        columns: &[],
        spec_required: false,
        schema: Telemetry::schema,
        rules: rules::TELEMETRY,
    },
    Definition {
        kind: Kind::WasmPlugin,
        plural: "wasmplugins",
        short: None,
        storage: "v1alpha1",
        columns: &[],
        spec_required: true,
        schema: WasmPlugin::schema,
        rules: rules::WASM_PLUGIN,
    },
    Definition {
        kind: Kind::TrafficExtension,
        plural: "trafficextensions",
        short: None,
        storage: "v1alpha1",
        columns: &[],
        spec_required: true,
        schema: TrafficExtension::schema,
        rules: rules::TRAFFIC_EXTENSION,
    },
];

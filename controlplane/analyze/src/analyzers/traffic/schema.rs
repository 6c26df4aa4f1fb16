//! What the admission webhook would say of each object, an analyzer for each kind.

use lateen_api::object::{Kind, Spec};
use lateen_api::validate::{
    Fault, Verdict, validate, validate_mesh_config, validate_mesh_networks,
};
use lateen_xds::envoy_filter::PatchValues;

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{
    Code, SCHEMA_VALIDATION_ERROR, SCHEMA_WARNING, VIRTUAL_SERVICE_INEFFECTIVE_MATCH,
    VIRTUAL_SERVICE_UNREACHABLE_RULE,
};
use crate::message::{Messages, Origin};

macro_rules! analyzer {
    ($name:ident, $input:expr, $run:expr) => {
        Analyzer {
            name: concat!("schema.ValidationAnalyzer.", stringify!($name)),
            description: concat!(
                "Validates ",
                stringify!($name),
                " objects as the admission webhook does"
            ),
            inputs: &[$input],
            run: $run,
        }
    };
}

macro_rules! kind {
    ($kind:ident) => {
        analyzer!($kind, Input::Kind(Kind::$kind), |cluster, _, messages| {
            check_kind(cluster, Kind::$kind, messages);
        })
    };
}

pub(super) const ANALYZERS: [Analyzer; 17] = [
    kind!(AuthorizationPolicy),
    kind!(DestinationRule),
    kind!(EnvoyFilter),
    kind!(Gateway),
    kind!(PeerAuthentication),
    kind!(ProxyConfig),
    kind!(RequestAuthentication),
    kind!(ServiceEntry),
    kind!(Sidecar),
    kind!(Telemetry),
    kind!(TrafficExtension),
    kind!(VirtualService),
    kind!(WasmPlugin),
    kind!(WorkloadEntry),
    kind!(WorkloadGroup),
    analyzer!(MeshNetworks, Input::MeshNetworks, |cluster, _, messages| {
        check_networks(cluster, messages);
    }),
    analyzer!(MeshConfig, Input::MeshConfig, |cluster, _, messages| {
        check_mesh(cluster, messages);
    }),
];

fn check_kind(cluster: &Cluster, kind: Kind, messages: &mut Messages) {
    let values = PatchValues::default();
    for object in cluster.of(kind) {
        let mut faults = validate(object);
        if let Spec::EnvoyFilter(filter) = &object.spec {
            faults.extend(values.validate(filter));
        }
        for fault in faults {
            messages.field(code(&fault), object, &fault.field, text(&fault));
        }
    }
}

fn check_networks(cluster: &Cluster, messages: &mut Messages) {
    let Some((networks, origin)) = &cluster.networks else {
        return;
    };
    for fault in validate_mesh_networks(networks) {
        messages.other(code(&fault), Some(origin.clone()), text(&fault));
    }
}

fn check_mesh(cluster: &Cluster, messages: &mut Messages) {
    let origin = Origin {
        kind: "MeshConfig",
        namespace: cluster.istio_namespace.clone(),
        name: "meshconfig".to_owned(),
        suppressed: String::new(),
        place: None,
    };
    for fault in validate_mesh_config(&cluster.mesh) {
        messages.other(code(&fault), Some(origin.clone()), text(&fault));
    }
}

const fn code(fault: &Fault) -> Code {
    match fault.verdict {
        Verdict::Refused => SCHEMA_VALIDATION_ERROR,
        Verdict::Warned => SCHEMA_WARNING,
        Verdict::UnreachableRule { .. } => VIRTUAL_SERVICE_UNREACHABLE_RULE,
        Verdict::IneffectiveMatch { .. } => VIRTUAL_SERVICE_INEFFECTIVE_MATCH,
    }
}

fn text(fault: &Fault) -> String {
    match &fault.verdict {
        Verdict::UnreachableRule { rule, reason } => {
            format!("rule {rule} can never be reached ({reason}); remove it or move it up")
        }
        Verdict::IneffectiveMatch {
            rule,
            matched,
            duplicate,
        } => format!(
            "match {matched} of rule {rule} has no effect, since match {duplicate} comes before it; remove one of them or change their order"
        ),
        Verdict::Refused | Verdict::Warned if fault.field.is_empty() => fault.message.clone(),
        Verdict::Refused | Verdict::Warned => format!("{}: {}", fault.field, fault.message),
    }
}

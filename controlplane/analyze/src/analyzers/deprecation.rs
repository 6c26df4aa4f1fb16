//! Fields and kinds that are on their way out.

use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "deprecation.DeprecationAnalyzer",
    description: "Fields and kinds that are deprecated or gone",
    inputs: &[
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::Sidecar),
        Input::Kind(Kind::CustomResourceDefinition),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Kinds of this group were replaced by AuthorizationPolicy.
const GONE: (&str, [&str; 4]) = (
    "rbac.istio.io",
    [
        "ClusterRbacConfig",
        "RbacConfig",
        "ServiceRole",
        "ServiceRoleBinding",
    ],
);

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster.given(Kind::VirtualService) {
        check_virtual_service(object, messages);
    }
    for object in cluster.given(Kind::Sidecar) {
        let policy = object
            .spec
            .as_sidecar()
            .and_then(|spec| spec.outbound_traffic_policy.as_ref());
        if policy.is_some_and(|policy| policy.egress_proxy.is_some()) {
            messages.field(
                code::DEPRECATED,
                object,
                "spec.outboundTrafficPolicy.egressProxy",
                "take this field out: OutboundTrafficPolicy.EgressProxy ignored",
            );
        }
    }
    for object in cluster.given(Kind::CustomResourceDefinition) {
        let Some(spec) = object
            .spec
            .as_custom_resource_definition()
            .map(|crd| &crd.spec)
        else {
            continue;
        };
        let (group, kinds) = GONE;
        let kind = spec.names.kind.as_str();
        if spec.group == group && kinds.contains(&kind) {
            messages.object(
                code::DEPRECATED,
                object,
                format!("delete this definition and use AuthorizationPolicy: Custom resource type {group} {kind} is removed"),
            );
        }
    }
}

fn check_virtual_service(object: &Object, messages: &mut Messages) {
    let routes = object
        .spec
        .as_virtual_service()
        .map(|spec| spec.http.as_slice());
    for (number, route) in routes.unwrap_or_default().iter().enumerate() {
        let delay = route.fault.as_ref().and_then(|fault| fault.delay.as_ref());
        if delay.is_some_and(|delay| delay.percent > 0) {
            messages.field(
                code::DEPRECATED,
                object,
                &format!("spec.http[{number}].fault.delay.percent"),
                "HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage",
            );
        }
    }
}

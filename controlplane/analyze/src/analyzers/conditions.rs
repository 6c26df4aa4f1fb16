//! What controllers say in the status of objects: conditions that should hold and do not.

use lateen_api::object::{Kind, Object, Spec};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "conditions.ConditionAnalyzer",
    description: "Objects whose status says that something about them does not work",
    inputs: &[
        Input::Kind(Kind::Service),
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::WorkloadEntry),
        Input::Kind(Kind::AuthorizationPolicy),
        Input::Kind(Kind::KubernetesGateway),
        Input::Kind(Kind::HttpRoute),
        Input::Kind(Kind::GrpcRoute),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The kinds whose conditions are read, each with the conditions that should hold.
const KINDS: [(Kind, &[&str]); 7] = [
    (Kind::Service, WAYPOINT),
    (Kind::ServiceEntry, WAYPOINT),
    (Kind::WorkloadEntry, WAYPOINT),
    (Kind::AuthorizationPolicy, POLICY),
    (Kind::KubernetesGateway, GATEWAY),
    (Kind::HttpRoute, GATEWAY),
    (Kind::GrpcRoute, GATEWAY),
];
const WAYPOINT: &[&str] = &["istio.io/WaypointBound"];
const POLICY: &[&str] = &["ZtunnelAccepted", PARTIAL.0];
const GATEWAY: &[&str] = &["Accepted", "Programmed", "ResolvedRefs"];

/// A condition that does not quite hold with this reason, whatever its status is.
const PARTIAL: (&str, &str) = ("WaypointAccepted", "PartiallyInvalid");

/// A condition of a status.
struct Condition<'a> {
    name: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

fn run(cluster: &Cluster, messages: &mut Messages) {
    for (kind, wanted) in KINDS {
        for object in cluster.given(kind) {
            for_each_condition(object, |condition| {
                let is_partial = (condition.name, condition.reason) == PARTIAL;
                if wanted.contains(&condition.name) && (condition.status == "False" || is_partial) {
                    report(object, &condition, messages);
                }
            });
        }
    }
}

fn report(object: &Object, condition: &Condition<'_>, messages: &mut Messages) {
    let Condition {
        name,
        reason,
        message,
        ..
    } = condition;
    messages.field(
        code::NEGATIVE_CONDITION_STATUS,
        object,
        "status",
        format!("the status says that `{name}` does not hold, with the reason `{reason}` ({message}): see to the cause that it names"),
    );
}

fn for_each_condition(object: &Object, mut visit: impl FnMut(Condition<'_>)) {
    let typed = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        visit(Condition {
            name: &condition.type_,
            status: &condition.status,
            reason: &condition.reason,
            message: &condition.message,
        });
    };
    match &object.spec {
        Spec::Service(service) => {
            let status = service.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().for_each(typed);
        }
        Spec::KubernetesGateway(gateway) => {
            let status = gateway.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().for_each(typed);
        }
        Spec::HttpRoute(route) => {
            let parents = route.status.iter().flat_map(|status| &status.parents);
            parents
                .flat_map(|parent| &parent.conditions)
                .for_each(typed);
        }
        Spec::GrpcRoute(route) => {
            let parents = route.status.iter().flat_map(|status| &status.parents);
            parents
                .flat_map(|parent| &parent.conditions)
                .for_each(typed);
        }
        _ => for_each_untyped(object, visit),
    }
}

fn for_each_untyped(object: &Object, mut visit: impl FnMut(Condition<'_>)) {
    let conditions = object
        .status
        .as_ref()
        .and_then(|status| status.get("conditions")?.as_array());
    for condition in conditions.into_iter().flatten() {
        let text = |key: &str| {
            condition
                .get(key)
                .and_then(|value| value.as_str())
                .unwrap_or_default()
        };
        visit(Condition {
            name: text("type"),
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
        });
    }
}

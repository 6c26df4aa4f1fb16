//! What a local mesh cannot run, said by name before anything starts.

use k8s_openapi::api::core::v1::{Container, PodSpec, Probe};
use lateen_api::object::{Kind, Object, Problem, Severity};

/// Kinds that are read but have no meaning here.
pub(super) fn kinds(object: &Object) -> Option<Problem> {
    let message = match object.key.kind {
        Kind::CronJob => "a local mesh has no clock for jobs; use a Job",
        Kind::EndpointSlice => {
            "a local mesh makes endpoints from its pods; use a ServiceEntry for others"
        }
        Kind::Node => "a local mesh is one node",
        _ => return None,
    };
    Some(object.problem(
        Severity::Error,
        "",
        format!(
            "kind {} cannot run in a local mesh: {message}",
            object.key.kind
        ),
    ))
}

/// Fields of a pod that ask for what a local mesh does not have.
pub(super) fn pod_fields(object: &Object, prefix: &str, spec: &PodSpec) -> Vec<Problem> {
    let policy = spec.dns_policy.as_deref();
    let asked = [
        ("hostNetwork", spec.host_network == Some(true)),
        ("hostPID", spec.host_pid == Some(true)),
        ("hostIPC", spec.host_ipc == Some(true)),
        ("dnsConfig", spec.dns_config.is_some()),
        (
            "dnsPolicy",
            policy.is_some_and(|p| !matches!(p, "ClusterFirst" | "ClusterFirstWithHostNet")),
        ),
        (
            "ephemeralContainers",
            spec.ephemeral_containers
                .as_ref()
                .is_some_and(|e| !e.is_empty()),
        ),
        ("runtimeClassName", spec.runtime_class_name.is_some()),
        (
            "activeDeadlineSeconds",
            spec.active_deadline_seconds.is_some(),
        ),
        (
            "readinessGates",
            spec.readiness_gates.as_ref().is_some_and(|g| !g.is_empty()),
        ),
        (
            "resourceClaims",
            spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()),
        ),
    ];
    let mut problems: Vec<Problem> = asked
        .iter()
        .filter(|(_, there)| *there)
        .map(|(field, _)| unsupported(object, &format!("{prefix}.{field}")))
        .collect();
    let lists = [
        ("containers", Some(&spec.containers)),
        ("initContainers", spec.init_containers.as_ref()),
    ];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            container_fields(
                object,
                &format!("{prefix}.{list}[{index}]"),
                container,
                &mut problems,
            );
        }
    }
    problems
}

fn container_fields(
    object: &Object,
    prefix: &str,
    container: &Container,
    problems: &mut Vec<Problem>,
) {
    let asked = [
        (
            "volumeDevices",
            container
                .volume_devices
                .as_ref()
                .is_some_and(|d| !d.is_empty()),
        ),
        ("tty", container.tty == Some(true)),
        ("stdin", container.stdin == Some(true)),
        (
            "lifecycle.stopSignal",
            container
                .lifecycle
                .as_ref()
                .is_some_and(|l| l.stop_signal.is_some()),
        ),
        (
            "restartPolicyRules",
            container
                .restart_policy_rules
                .as_ref()
                .is_some_and(|r| !r.is_empty()),
        ),
    ];
    problems.extend(
        asked
            .iter()
            .filter(|(_, there)| *there)
            .map(|(field, _)| unsupported(object, &format!("{prefix}.{field}"))),
    );
}

/// Probes that only a mesh's own agent can run for the pod: over TLS or gRPC. Asked after injection, which turns them over to it.
pub(super) fn probes(object: &Object, prefix: &str, spec: &PodSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let probes = [
            ("startupProbe", &container.startup_probe),
            ("readinessProbe", &container.readiness_probe),
            ("livenessProbe", &container.liveness_probe),
        ];
        for (field, probe) in probes {
            if let Some(what) = probe.as_ref().and_then(needs_agent) {
                let message = format!(
                    "{what} probes need a sidecar in a local mesh; let the pod be injected or use another probe"
                );
                problems.push(object.problem(
                    Severity::Error,
                    &format!("{prefix}.containers[{index}].{field}"),
                    message,
                ));
            }
        }
    }
    problems
}

fn needs_agent(probe: &Probe) -> Option<&'static str> {
    if probe.grpc.is_some() {
        return Some("gRPC");
    }
    probe
        .http_get
        .as_ref()
        .and_then(|g| g.scheme.as_deref())
        .filter(|s| s.eq_ignore_ascii_case("HTTPS"))
        .map(|_| "HTTPS")
}

fn unsupported(object: &Object, field: &str) -> Problem {
    object.problem(
        Severity::Error,
        field,
        "not supported in a local mesh; take it out",
    )
}

//! Pod templates of the kinds that run pods.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lateen_api::object::{Object, Problem, Severity, Spec};

use crate::workload::{JOB_RETRIES, Strategy};

/// A workload before injection.
#[derive(Debug)]
pub(super) struct Template {
    /// The pod; only a Pod has a name.
    pub(super) pod: Pod,
    /// Path of the pod's spec in the object.
    pub(super) prefix: &'static str,
    pub(super) replicas: usize,
    pub(super) strategy: Strategy,
    pub(super) min_ready_seconds: u64,
}

/// Template of an object that runs pods; nothing for other objects.
pub(super) fn of(object: &Object) -> Result<Option<Template>, Problem> {
    let template = match &object.spec {
        Spec::Deployment(d) => deployment(object, d)?,
        Spec::StatefulSet(s) => stateful_set(object, s)?,
        Spec::ReplicaSet(r) => {
            let spec = r.spec.clone().unwrap_or_default();
            let template = spec.template.unwrap_or_default();
            templated(template, count(spec.replicas), Strategy::Keep)
        }
        Spec::ReplicationController(r) => {
            let spec = r.spec.clone().unwrap_or_default();
            let template = spec.template.unwrap_or_default();
            templated(template, count(spec.replicas), Strategy::Keep)
        }
        Spec::DaemonSet(d) => {
            let one_down = Strategy::Rolling {
                surge: 0,
                unavailable: 1,
            };
            templated(d.spec.clone().unwrap_or_default().template, 1, one_down)
        }
        Spec::Job(j) => job(j),
        Spec::Pod(pod) => Template {
            pod: Pod {
                status: None,
                ..Pod::clone(pod)
            },
            prefix: "spec",
            replicas: 1,
            strategy: Strategy::Recreate,
            min_ready_seconds: 0,
        },
        _ => return Ok(None),
    };
    Ok(Some(template))
}

fn deployment(object: &Object, deployment: &Deployment) -> Result<Template, Problem> {
    let spec = deployment.spec.clone().unwrap_or_default();
    let replicas = count(spec.replicas);
    let strategy = deployment_strategy(object, spec.strategy.as_ref(), replicas)?;
    let min_ready_seconds = seconds(spec.min_ready_seconds);
    Ok(Template {
        min_ready_seconds,
        ..templated(spec.template, replicas, strategy)
    })
}

fn stateful_set(object: &Object, set: &StatefulSet) -> Result<Template, Problem> {
    let spec = set.spec.clone().unwrap_or_default();
    if spec
        .volume_claim_templates
        .is_some_and(|claims| !claims.is_empty())
    {
        let message = "volume claims are not supported in a local mesh; use an emptyDir volume";
        return Err(object.problem(Severity::Error, "spec.volumeClaimTemplates", message));
    }
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    let strategy = Strategy::Ordinal { parallel };
    let mut made = templated(spec.template, count(spec.replicas), strategy);
    if let Some(pod) = made.pod.spec.as_mut() {
        pod.subdomain = spec.service_name;
    }
    Ok(made)
}

fn job(job: &Job) -> Template {
    let spec = job.spec.clone().unwrap_or_default();
    let retries = spec
        .backoff_limit
        .map_or(JOB_RETRIES, |n| usize::try_from(n).unwrap_or(0));
    let strategy = Strategy::Completions {
        wanted: count(spec.completions),
        retries,
    };
    templated(spec.template, count(spec.parallelism), strategy)
}

fn templated(template: PodTemplateSpec, replicas: usize, strategy: Strategy) -> Template {
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = None;
    let pod = Pod {
        metadata,
        spec: template.spec,
        status: None,
    };
    Template {
        pod,
        prefix: "spec.template.spec",
        replicas,
        strategy,
        min_ready_seconds: 0,
    }
}

fn deployment_strategy(
    object: &Object,
    given: Option<&k8s_openapi::api::apps::v1::DeploymentStrategy>,
    replicas: usize,
) -> Result<Strategy, Problem> {
    if given.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
        return Ok(Strategy::Recreate);
    }
    let rolling = given.and_then(|s| s.rolling_update.as_ref());
    let bound = |value: Option<&IntOrString>, field: &str, up: bool| {
        let path = format!("spec.strategy.rollingUpdate.{field}");
        part(value, replicas, up).ok_or_else(|| {
            object.problem(
                Severity::Error,
                &path,
                "expected a number or a percentage such as 25%",
            )
        })
    };
    let surge = bound(rolling.and_then(|r| r.max_surge.as_ref()), "maxSurge", true)?;
    let unavailable = bound(
        rolling.and_then(|r| r.max_unavailable.as_ref()),
        "maxUnavailable",
        false,
    )?;
    // Both zero could never make a step.
    Ok(Strategy::Rolling {
        surge,
        unavailable: if surge == 0 {
            unavailable.max(1)
        } else {
            unavailable
        },
    })
}

/// A number, or a share of the replicas (25% unless given), rounded up or down.
fn part(value: Option<&IntOrString>, replicas: usize, up: bool) -> Option<usize> {
    let percent = match value {
        None => 25,
        Some(IntOrString::Int(number)) => return usize::try_from(*number).ok(),
        Some(IntOrString::String(text)) => text.strip_suffix('%')?.parse::<usize>().ok()?,
    };
    let share = replicas.saturating_mul(percent);
    Some(if up { share.div_ceil(100) } else { share / 100 })
}

fn count(given: Option<i32>) -> usize {
    given.map_or(1, |n| usize::try_from(n).unwrap_or(0))
}

fn seconds(given: Option<i32>) -> u64 {
    given.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_kubernetes_does() {
        let percent = IntOrString::String("50%".to_owned());
        assert_eq!(part(None, 1, true), Some(1));
        assert_eq!(part(None, 1, false), Some(0));
        assert_eq!(part(Some(&percent), 3, true), Some(2));
        assert_eq!(part(Some(&percent), 3, false), Some(1));
        assert_eq!(part(Some(&IntOrString::Int(2)), 3, false), Some(2));
        assert_eq!(
            part(Some(&IntOrString::String("x".to_owned())), 3, false),
            None
        );
    }
}

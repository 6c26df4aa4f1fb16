//! From a workload of the user to pods with sidecars and their programs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use lateen_api::object::{Kind, Object, Problem, Severity, Spec};
use lateen_controlplane_inject::{Outcome, Owner, inject_pod, inject_template};

use super::template::{self, Template};
use super::{PlanOptions, refuse, settings};
use crate::facts::Settings;
use crate::images::Program;
use crate::pod::WorkloadKey;
use crate::workload::WorkloadPlan;

/// Annotation that `local restart` sets on the template, as kubectl does.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Label of a namespace that decides about injection.
const INJECTION: &str = "istio-injection";

/// The pods of an object; nothing for objects that run none.
pub(super) fn plan(
    object: &Object,
    all: &[Object],
    options: &PlanOptions,
    known: &Settings,
) -> Result<Option<WorkloadPlan>, Vec<Problem>> {
    if refuse::kinds(object).is_some() {
        return Ok(None);
    }
    let Some(mut template) = template::of(object).map_err(|p| vec![p])? else {
        return Ok(None);
    };
    let prefix = template.prefix;
    let Some(spec) = &template.pod.spec else {
        return Err(vec![object.problem(
            Severity::Error,
            prefix,
            "a pod needs a spec",
        )]);
    };
    let mut problems = refuse::pod_fields(object, prefix, spec);
    problems.extend(settings::missing(object, prefix, spec, known));
    template.pod.metadata.namespace = None;
    let key = WorkloadKey {
        kind: object.key.kind.as_str().to_owned(),
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
    };
    if let Some(at) = options.restarts.get(&key) {
        template
            .pod
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(RESTARTED.to_owned(), at.clone());
    }
    let injected = inject(object, all, &template, options).map_err(|p| vec![p])?;
    if let Some(spec) = &injected.spec {
        problems.extend(refuse::probes(object, prefix, spec));
    }
    let programs = programs(object, prefix, &injected, options).unwrap_or_else(|found| {
        problems.extend(found);
        BTreeMap::new()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Some(finish(key, template, injected, programs)))
}

fn finish(
    key: WorkloadKey,
    template: Template,
    mut pod: Pod,
    programs: BTreeMap<String, Program>,
) -> WorkloadPlan {
    pod.metadata.namespace = Some(key.namespace.clone());
    WorkloadPlan {
        revision: fingerprint(&pod, &programs),
        key,
        replicas: template.replicas,
        strategy: template.strategy,
        min_ready_seconds: template.min_ready_seconds,
        template: pod,
        programs,
    }
}

/// Runs the injector as `kube-inject` does, unless the pod or its namespace says no.
fn inject(
    object: &Object,
    all: &[Object],
    template: &Template,
    options: &PlanOptions,
) -> Result<Pod, Problem> {
    let pod = &template.pod;
    if is_closed(&object.key.namespace, all) {
        return Ok(pod.clone());
    }
    let settings = lateen_controlplane_inject::Settings {
        mesh: options.mesh.clone(),
        ..Default::default()
    };
    let fail = |e: &dyn std::fmt::Display| {
        object.problem(Severity::Error, template.prefix, format!("injection: {e}"))
    };
    let owner = Owner {
        api_version: object.key.kind.api_version(),
        kind: object.key.kind.as_str().to_owned(),
        name: object.key.name.clone(),
        namespace: object.key.namespace.clone(),
    };
    if object.key.kind == Kind::Pod {
        return match inject_pod(pod, Some(&owner), &settings).map_err(|e| fail(&e))? {
            Outcome::Injected(pod) => Ok(pod),
            Outcome::Skipped(_) => Ok(pod.clone()),
        };
    }
    let given = PodTemplateSpec {
        metadata: Some(pod.metadata.clone()),
        spec: pod.spec.clone(),
    };
    match inject_template(&given, &owner, &settings).map_err(|e| fail(&e))? {
        Outcome::Injected(made) => Ok(Pod {
            metadata: made.metadata.unwrap_or_default(),
            spec: made.spec,
            status: None,
        }),
        Outcome::Skipped(_) => Ok(pod.clone()),
    }
}

/// The namespace's label says that its pods are not injected.
fn is_closed(namespace: &str, all: &[Object]) -> bool {
    all.iter().any(|object| match &object.spec {
        Spec::Namespace(_) if object.key.name == namespace => object
            .meta
            .labels
            .get(INJECTION)
            .is_some_and(|value| value != "enabled"),
        _ => false,
    })
}

fn programs(
    object: &Object,
    prefix: &str,
    pod: &Pod,
    options: &PlanOptions,
) -> Result<BTreeMap<String, Program>, Vec<Problem>> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let mut programs = BTreeMap::new();
    let mut problems = Vec::new();
    let spec = pod.spec.clone().unwrap_or_default();
    for (list, containers) in [
        ("initContainers", spec.init_containers.unwrap_or_default()),
        ("containers", spec.containers),
    ] {
        for container in containers {
            let image = container.image.clone().unwrap_or_default();
            match options
                .images
                .resolve(&image, &container.name, &annotations)
            {
                Ok(program) => {
                    programs.insert(container.name, program);
                }
                Err(error) => {
                    let field = user_field(object, prefix, list, &container.name);
                    problems.push(object.problem(Severity::Error, &field, error.to_string()));
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(programs)
    } else {
        Err(problems)
    }
}

/// Path of a container's image as the user wrote it; injection may have moved the container.
fn user_field(object: &Object, prefix: &str, list: &str, name: &str) -> String {
    let given = template::of(object)
        .ok()
        .flatten()
        .and_then(|t| t.pod.spec)
        .unwrap_or_default();
    let own = if list == "containers" {
        Some(given.containers)
    } else {
        given.init_containers
    };
    let index = own.and_then(|containers| containers.iter().position(|c| c.name == name));
    index.map_or_else(
        || prefix.to_owned(),
        |index| format!("{prefix}.{list}[{index}].image"),
    )
}

/// Changes with anything that makes a running pod out of date. Ten characters, as in a ReplicaSet's name.
fn fingerprint(pod: &Pod, programs: &BTreeMap<String, Program>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(pod)
        .unwrap_or_default()
        .hash(&mut hasher);
    for (name, program) in programs {
        (name, &program.file, &program.args, &program.env).hash(&mut hasher);
    }
    let mut rest = hasher.finish();
    let mut text = String::new();
    for _ in 0..10 {
        let index = usize::try_from(rest % LETTERS.len() as u64).unwrap_or(0);
        text.push(LETTERS.get(index).copied().unwrap_or(b'b').into());
        rest /= LETTERS.len() as u64;
    }
    text
}

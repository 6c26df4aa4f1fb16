//! From the user's objects to what the mesh runs. Everything that can be wrong is found here, before anything starts.

mod addresses;
mod built_in;
mod refuse;
mod settings;
mod template;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};

use lateen_api::check::{CheckOptions, check_object, check_references};
use lateen_api::mesh::MeshConfig;
use lateen_api::object::{Kind, Object, Problem, Severity};

pub(crate) use addresses::ServiceAddresses;
pub(crate) use built_in::{BuiltIn, INGRESS, ISTIOD, SYSTEM};
pub(crate) use settings::ROOT_CERTIFICATE;

use crate::facts::Settings;
use crate::images::ImageMap;
use crate::pod::WorkloadKey;
use crate::publish::{Declared, object};
use crate::source::Documents;
use crate::workload::WorkloadPlan;

/// What does not come from the user's objects.
#[derive(Debug, Clone)]
pub(crate) struct PlanOptions {
    /// Programs of images.
    pub images: ImageMap,
    /// Settings of the mesh.
    pub mesh: MeshConfig,
    /// Workloads that were asked to start anew, and when: a new template for each.
    pub restarts: BTreeMap<WorkloadKey, String>,
}

/// What the mesh runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MeshPlan {
    /// Pods to run.
    pub workloads: Vec<WorkloadPlan>,
    /// Objects that lateend and the other parts see.
    pub declared: Declared,
    /// ConfigMaps and Secrets.
    pub settings: Settings,
    /// What is not wrong but worth a look.
    pub warnings: Vec<Problem>,
    /// References that lead nowhere since their target was deleted.
    pub dangling: Vec<Problem>,
}

/// How references that lead nowhere are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum References<'a> {
    /// They are errors, except for those that led nowhere before.
    Strict(&'a [Problem]),
    /// They stay: what they lead to is being deleted.
    Loose,
}

/// Plans a mesh. `own` are the objects that belong to every mesh.
///
/// # Errors
/// Every problem, with file, line and field.
pub(crate) fn plan(
    user: &Documents,
    own: &Documents,
    options: &PlanOptions,
    addresses: &mut ServiceAddresses,
    references: References<'_>,
) -> Result<MeshPlan, Vec<Problem>> {
    let objects: Vec<Object> = own
        .values()
        .chain(user.values())
        .map(|d| d.object.clone())
        .collect();
    let mut made = MeshPlan {
        settings: settings::collect(&objects),
        ..MeshPlan::default()
    };
    let mut problems = both(user, own);
    problems.extend(objects.iter().filter_map(refuse::kinds));
    check(&objects, references, &mut problems, &mut made);
    for object in &objects {
        match workloads::plan(object, &objects, options, &made.settings) {
            Ok(workload) => made.workloads.extend(workload),
            Err(found) => problems.extend(found),
        }
    }
    match addresses.assign(&objects) {
        Ok(services) => made.declared.services = services,
        Err(found) => problems.extend(found),
    }
    made.declared.objects = declared(&objects);
    if problems.is_empty() {
        Ok(made)
    } else {
        Err(problems)
    }
}

/// What is wrong with the objects themselves and with what they refer to.
fn check(
    objects: &[Object],
    references: References<'_>,
    problems: &mut Vec<Problem>,
    made: &mut MeshPlan,
) {
    let all: Vec<&Object> = objects.iter().collect();
    let (errors, warnings): (Vec<_>, Vec<_>) = objects
        .iter()
        .flat_map(check_object)
        .partition(Problem::is_error);
    problems.extend(errors);
    made.warnings = warnings;
    let same = |a: &Problem, b: &Problem| {
        (&a.object, &a.field, &a.message) == (&b.object, &b.field, &b.message)
    };
    for problem in check_references(
        &all,
        CheckOptions {
            complete: true,
            ..CheckOptions::default()
        },
    ) {
        let tolerated = match references {
            References::Loose => true,
            References::Strict(before) => before.iter().any(|b| same(b, &problem)),
        };
        match (problem.is_error(), tolerated) {
            (true, true) => made.dangling.push(problem),
            (true, false) => problems.push(problem),
            (false, _) => made.warnings.push(problem),
        }
    }
}

/// Objects of the user that every mesh has already.
fn both(user: &Documents, own: &Documents) -> Vec<Problem> {
    let taken = user
        .values()
        .filter(|d| own.contains_key(&d.object.key) && d.object.key.kind != Kind::Namespace);
    let problem = |d: &crate::source::Document| {
        d.object.problem(
            Severity::Error,
            "",
            "every local mesh has this object already; take it out or give it another name",
        )
    };
    taken.map(problem).collect()
}

/// Objects that lateend reads and that pass through as they are, and namespaces that are used without being declared. Services
/// and pods come with what is known of them at run time.
fn declared(objects: &[Object]) -> Vec<serde_json::Value> {
    use lateen_api::object::Spec;
    let one = |o: &Object| match &o.spec {
        Spec::Namespace(n) => Some(object("v1", "Namespace", n)),
        Spec::Secret(s) => Some(object("v1", "Secret", s)),
        Spec::ServiceAccount(a) => Some(object("v1", "ServiceAccount", a)),
        Spec::ConfigMap(m) => Some(object("v1", "ConfigMap", m)),
        _ => None,
    };
    let given = |name: &str| {
        objects
            .iter()
            .any(|o| o.key.kind == Kind::Namespace && o.key.name == name)
    };
    let used: BTreeSet<&str> = objects.iter().map(|o| o.key.namespace.as_str()).collect();
    let implied = used
        .into_iter()
        .filter(|name| !name.is_empty() && !given(name))
        .map(|name| {
            serde_json::json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            })
        });
    objects.iter().filter_map(one).chain(implied).collect()
}

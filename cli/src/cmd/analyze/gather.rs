//! From files and clusters to what is analyzed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lateen_api::labels::annotation;
use lateen_api::mesh::{MeshConfig, MeshNetworks, parse_mesh_config, parse_mesh_networks};
use lateen_api::object::{
    Kind, Object, Parsed, Problem, ReadOptions, Severity, UnknownObject, read_part,
};
use lateen_api::yaml::Part;
use lateen_controlplane_analyze::{ClusterInput, Origin, Place};

use super::args::AnalyzeArgs;
use crate::args::Scope;
use crate::failure::Failure;
use crate::input::{self, Text};
use crate::kube::{Access, Cluster};
use crate::output;

/// Namespaces that are the cluster's own business.
const IGNORED: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];
/// The label of Secrets with the kubeconfig of a further cluster.
const MULTI_CLUSTER: &str = "istio/multiCluster";

/// What files hold.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The objects.
    pub(super) objects: Vec<Object>,
    /// What cannot be read.
    pub(super) problems: Vec<Problem>,
    /// Objects of kinds that nobody looks at.
    pub(super) unknown: Vec<UnknownObject>,
    /// The mesh's networks, if a document holds them.
    networks: Option<(MeshNetworks, Origin)>,
}

/// What a part of a file holds.
struct Piece {
    parsed: Parsed,
    networks: Option<Result<(MeshNetworks, Origin), Problem>>,
}

/// Reads the objects of texts; those that name no namespace get `namespace`.
pub(super) fn from_files(texts: &[Text], namespace: &str, scope: &Scope) -> Files {
    let options = ReadOptions {
        namespace,
        strict: false,
    };
    let pieces = input::each_part(texts, |text, part| {
        let mut parsed = read_part(&text.name, &text.text, part, options);
        let networks = parsed
            .unknown
            .iter()
            .position(|unknown| unknown.keys == ["networks"])
            .map(|number| {
                let unknown = parsed.unknown.remove(number);
                networks(text, part, unknown.line, &scope.istio_namespace)
            });
        Piece { parsed, networks }
    });
    let mut files = Files::default();
    for Piece { parsed, networks } in pieces.into_iter().flatten() {
        let Parsed {
            objects,
            problems,
            unknown,
        } = parsed;
        files.objects.extend(objects);
        files.problems.extend(problems);
        files.unknown.extend(unknown);
        match networks {
            Some(Ok(networks)) => files.networks = Some(networks),
            Some(Err(problem)) => files.problems.push(problem),
            None => {}
        }
    }
    files.objects.retain(|object| !is_ignored(object));
    files
}

/// Reads a part that is the mesh's networks.
fn networks(
    text: &Text,
    part: &Part,
    line: u32,
    istio_namespace: &str,
) -> Result<(MeshNetworks, Origin), Problem> {
    let body = text.text.get(part.span.clone()).unwrap_or_default();
    let (networks, _) = parse_mesh_networks(&text.name, body).map_err(|mut problem| {
        problem.line = problem.line.saturating_add(part.first_line - 1);
        problem
    })?;
    let place = Place {
        file: Arc::clone(&text.name),
        document_line: line,
        line,
        column: 1,
    };
    Ok((networks, networks_origin(istio_namespace, Some(place))))
}

fn networks_origin(istio_namespace: &str, place: Option<Place>) -> Origin {
    Origin {
        kind: "MeshNetworks",
        namespace: istio_namespace.to_owned(),
        name: "meshnetworks".to_owned(),
        suppressed: String::new(),
        place,
    }
}

fn is_ignored(object: &Object) -> bool {
    let namespace = match object.key.kind {
        Kind::Namespace => &object.key.name,
        _ => &object.key.namespace,
    };
    IGNORED.contains(&namespace.as_str())
}

/// Whether an object is of a revision: Istio's objects may name one, all else belongs to all.
fn is_of_revision(object: &Object, revision: &str) -> bool {
    let named = object.meta.labels.get(annotation::REVISION);
    !object.key.kind.is_istio() || named.is_none_or(|named| named == revision)
}

impl Files {
    /// Leaves out Istio's objects of other revisions.
    pub(super) fn keep_revision(&mut self, revision: &str) {
        self.objects
            .retain(|object| is_of_revision(object, revision));
    }

    /// The files as all there is.
    pub(super) fn alone(self, scope: &Scope) -> ClusterInput {
        ClusterInput {
            objects: self.objects,
            networks: self.networks,
            istio_namespace: scope.istio_namespace.clone(),
            files_only: true,
            now: jiff::Timestamp::now(),
            ..ClusterInput::default()
        }
    }

    /// Lays the files over a cluster's objects: the later of two with one key counts.
    pub(super) fn over(self, cluster: &mut ClusterInput) {
        if let Some(readable) = &mut cluster.readable {
            readable.extend(self.objects.iter().map(|object| object.key.kind));
        }
        cluster.objects.extend(self.objects);
        if self.networks.is_some() {
            cluster.networks = self.networks;
        }
    }
}

/// Reads clusters.
pub(super) struct Reader<'a> {
    /// The kinds that are wanted.
    pub(super) kinds: Vec<Kind>,
    /// The namespace of the mesh's own objects.
    pub(super) istio_namespace: &'a str,
    /// The revision whose objects count.
    pub(super) revision: &'a str,
    /// How long it may take.
    pub(super) limit: Duration,
}

impl Reader<'_> {
    /// Reads a cluster, and says on standard error what may not be read of it.
    ///
    /// # Errors
    /// When it cannot be reached or nothing of it may be read.
    pub(super) async fn read(&self, cluster: &Cluster) -> Result<ClusterInput, Failure> {
        let listed = cluster
            .list(&self.kinds, self.istio_namespace, self.limit)
            .await?;
        for (kind, reason) in &listed.forbidden {
            output::note(&format!(
                "Warning: {kind} objects of {} are not looked at: {reason}",
                cluster.name
            ));
        }
        for reason in &listed.unreadable {
            output::note(&format!(
                "Warning: an object of {} is left out: {reason}",
                cluster.name
            ));
        }
        let mut objects = listed.objects;
        objects.retain(|object| !is_ignored(object) && is_of_revision(object, self.revision));
        Ok(ClusterInput {
            id: cluster.name.clone(),
            objects,
            istio_namespace: self.istio_namespace.to_owned(),
            readable: Some(listed.readable),
            now: jiff::Timestamp::now(),
            ..ClusterInput::default()
        })
    }
}

/// The further clusters of the mesh, each with whether it was named and so must be there.
///
/// # Errors
/// When a context that was named cannot be used.
pub(super) async fn remote_clusters(
    args: &AnalyzeArgs,
    scope: &Scope,
    access: &Access,
    first: &ClusterInput,
) -> Result<Vec<(Cluster, bool)>, Failure> {
    let mut remote = Vec::new();
    for context in &args.remote_contexts {
        remote.push((Cluster::connect(access, Some(context)).await?, true));
    }
    if !remote.is_empty() {
        return Ok(remote);
    }
    for object in &first.objects {
        let labelled = object.meta.labels.get(MULTI_CLUSTER).map(String::as_str) == Some("true");
        let Some(secret) = object.spec.as_secret().filter(|_| labelled) else {
            continue;
        };
        if object.key.namespace != scope.istio_namespace {
            continue;
        }
        for (name, kubeconfig) in secret.data.iter().flatten() {
            let text = String::from_utf8_lossy(&kubeconfig.0);
            match Cluster::remote(name, &text, access).await {
                Ok(cluster) => remote.push((cluster, false)),
                Err(reason) => output::note(&format!(
                    "Warning: the remote cluster {name} is left out, since the kubeconfig of {} cannot be used: {reason}",
                    object.key
                )),
            }
        }
    }
    Ok(remote)
}

/// Whether a namespace is there, in the cluster or in files; one that nobody may ask for counts as there.
///
/// # Errors
/// When the cluster cannot be reached.
pub(super) async fn has_namespace(
    cluster: &Cluster,
    input: &ClusterInput,
    name: &str,
) -> Result<bool, Failure> {
    let is_listed = |object: &Object| object.key.kind == Kind::Namespace && object.key.name == name;
    if IGNORED.contains(&name) || input.objects.iter().any(is_listed) {
        return Ok(true);
    }
    let asked = cluster.has_namespace(name).await?;
    Ok(asked.unwrap_or(true))
}

/// Gives each cluster the mesh's settings: those of files that were named, else those of its ConfigMap, else the defaults.
///
/// # Errors
/// When a file that was named cannot be used.
pub(super) fn settle_mesh(
    inputs: &mut [ClusterInput],
    args: &AnalyzeArgs,
) -> Result<Vec<Problem>, Failure> {
    let mut problems = Vec::new();
    let mesh = match &args.mesh_config_file {
        Some(path) => Some(setting(path, parse_mesh_config)?),
        None => None,
    };
    let networks = match &args.mesh_networks_file {
        Some(path) => Some((setting(path, parse_mesh_networks)?, path)),
        None => None,
    };
    let name = config_map(args.revision.as_deref().unwrap_or_default());
    for input in inputs {
        let (of_mesh, of_networks) = settings(input, &name, &mut problems);
        input.mesh = mesh.clone().or(of_mesh).unwrap_or_default();
        let namespace = input.istio_namespace.clone();
        if let Some((networks, path)) = &networks {
            let place = Place {
                file: path.display().to_string().into(),
                document_line: 1,
                line: 1,
                column: 1,
            };
            input.networks = Some((networks.clone(), networks_origin(&namespace, Some(place))));
        } else if input.networks.is_none() {
            input.networks =
                of_networks.map(|networks| (networks, networks_origin(&namespace, None)));
        }
    }
    Ok(problems)
}

/// The name of the ConfigMap with a revision's settings.
fn config_map(revision: &str) -> String {
    match revision {
        "" | "default" => "istio".to_owned(),
        revision => format!("istio-{revision}"),
    }
}

/// Settings of a file, with notes about fields that are not known.
fn setting<T>(
    path: &Path,
    parse: impl Fn(&str, &str) -> Result<(T, Vec<Problem>), Problem>,
) -> Result<T, Failure> {
    let text = input::read(path).map_err(|problem| Failure::other(problem.to_string()))?;
    let (settings, warnings) =
        parse(&text.name, &text.text).map_err(|problem| Failure::data(problem.to_string()))?;
    for warning in warnings {
        output::note(&format!("Warning: {warning}"));
    }
    Ok(settings)
}

/// The settings of the ConfigMap of a name; networks only beside mesh settings.
fn settings(
    input: &ClusterInput,
    name: &str,
    problems: &mut Vec<Problem>,
) -> (Option<MeshConfig>, Option<MeshNetworks>) {
    let found = input.objects.iter().rev().find(|object| {
        object.key.kind == Kind::ConfigMap
            && object.key.namespace == input.istio_namespace
            && object.key.name == name
    });
    let Some((object, map)) = found.and_then(|object| Some((object, object.spec.as_config_map()?)))
    else {
        return (None, None);
    };
    let data = map.data.clone().unwrap_or_default();
    let Some(mesh) = data.get("mesh") else {
        return (None, None);
    };
    let mut wrong = |key: &str, problem: &Problem| {
        let message = format!("{problem}; the defaults are used instead");
        problems.push(object.problem(Severity::Error, &format!("data.{key}"), message));
    };
    let mesh = match parse_mesh_config("", mesh) {
        Ok((mesh, _)) => Some(mesh),
        Err(problem) => {
            wrong("mesh", &problem);
            None
        }
    };
    let networks = data
        .get("meshNetworks")
        .and_then(|text| match parse_mesh_networks("", text) {
            Ok((networks, _)) => Some(networks),
            Err(problem) => {
                wrong("meshNetworks", &problem);
                None
            }
        });
    (mesh, networks)
}

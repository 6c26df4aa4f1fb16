//! `lateenctl analyze`: what a configuration means as a whole (contract/analyze.md).

mod args;
mod excerpt;
mod explain;
mod gather;
mod repair;
mod report;

use std::process::ExitCode;

use lateen_api::object::{Kind, Problem};
use lateen_controlplane_analyze::{ClusterInput, Level, Options, Suppression, analyze, analyzers};

use crate::args::Scope;
use crate::failure::Failure;
use crate::input::{self, EXTENSIONS, Found, Text};
use crate::kube::{Access, Cluster};
use crate::output;

pub(crate) use args::AnalyzeArgs;
use gather::Files;
use report::Report;

/// Analyzes files, a cluster, or both.
///
/// # Errors
/// What was found, files that cannot be read, or why there is nothing to look at; each with istioctl's exit code.
pub(crate) async fn run(
    args: &AnalyzeArgs,
    scope: &Scope,
    access: &Access,
) -> Result<ExitCode, Failure> {
    if let Some(code) = &args.explain {
        return explain::run(code).map(|()| ExitCode::SUCCESS);
    }
    if args.list_analyzers {
        return list_analyzers().map(|()| ExitCode::SUCCESS);
    }
    if args.recursive {
        output::note("-R has no effect: folders are always read with all that is in them.");
    }
    let suppressions = suppressions(&args.suppress)?;
    warn_of_analyzers(&args.analyzer);
    let found = input::find(&args.files, false)?;
    announce(&found, args);
    if found.files.is_empty() && found.problems.is_empty() && !args.use_kube {
        return Err(Failure::other(
            "at least one file and/or Kubernetes source must be provided",
        ));
    }
    let cluster = match args.use_kube {
        true => Some(Cluster::connect(access, None).await?),
        false => None,
    };
    let selected = selected_namespace(args, scope, cluster.as_ref());
    let (texts, mut problems) = read(&found);
    let mut files = gather::from_files(&texts, selected.as_deref().unwrap_or_default(), scope);
    problems.append(&mut files.problems);
    if let Some(revision) = &args.revision {
        files.keep_revision(revision);
    }
    let unknown = std::mem::take(&mut files.unknown);
    let inputs = inputs(args, scope, access, (cluster.as_ref(), files)).await?;
    if let (Some(cluster), Some(name), Some(first)) = (&cluster, &selected, inputs.first())
        && !gather::has_namespace(cluster, first, name).await?
    {
        output::note(&format!("namespace \"{name}\" not found"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut inputs = inputs;
    problems.extend(gather::settle_mesh(&mut inputs, args)?);
    let options = Options {
        analyzers: args.analyzer.clone(),
        istio_compatible: args.istio_compatible,
        namespace: selected.clone(),
        suppressions,
    };
    let analysis = analyze(inputs, &options);
    let report = Report {
        args,
        texts: &texts,
        target: report::target(args, selected.as_deref()),
        problems,
        unknown,
        analysis,
    };
    report.finish()
}

/// The analyzers by name, with what they look for.
fn list_analyzers() -> Result<(), Failure> {
    let mut all = analyzers::istio();
    all.extend(analyzers::own());
    all.sort_by_key(|analyzer| analyzer.name);
    let lines: String = all
        .iter()
        .map(|analyzer| format!("* {}:\n    {}\n", analyzer.name, analyzer.description))
        .collect();
    output::print(&lines)
}

/// Names of analyzers that do not exist are left out; if none is left, all run.
fn warn_of_analyzers(names: &[String]) {
    let all = [
        analyzers::istio(),
        analyzers::own(),
        analyzers::on_request(),
    ];
    for name in names {
        if !all.iter().flatten().any(|analyzer| analyzer.name == name) {
            output::note(&format!(
                "Warning: there is no analyzer {name} (-L lists them)"
            ));
        }
    }
}

fn suppressions(given: &[String]) -> Result<Vec<Suppression>, Failure> {
    let mut suppressions = Vec::new();
    for text in given {
        let suppression: Suppression =
            text.parse()
                .map_err(|error: lateen_controlplane_analyze::SuppressionError| {
                    Failure::other(format!("--suppress: {error}"))
                })?;
        if !suppression.is_known() {
            output::note(&format!(
                "Warning: --suppress names the code {}, which no message has",
                suppression.code
            ));
        }
        suppressions.push(suppression);
    }
    Ok(suppressions)
}

fn announce(found: &Found, args: &AnalyzeArgs) {
    for path in &found.skipped {
        output::note(&format!(
            "Skipping file {}, recognized file extensions are: [{}]",
            path.display(),
            EXTENSIONS.join(" ")
        ));
    }
    use std::io::IsTerminal as _;
    let reads_terminal =
        found.files.iter().any(|file| file.as_os_str() == "-") && std::io::stdin().is_terminal();
    if reads_terminal && args.is_log() {
        output::note("Reading from stdin:");
    }
}

/// The namespace whose messages are wanted; `None` for all.
fn selected_namespace(
    args: &AnalyzeArgs,
    scope: &Scope,
    cluster: Option<&Cluster>,
) -> Option<String> {
    if args.all_namespaces {
        return None;
    }
    let given = Some(&scope.namespace).filter(|namespace| !namespace.is_empty());
    let of_context = cluster.map(|cluster| &cluster.namespace);
    let chosen = given.or(of_context.filter(|namespace| !namespace.is_empty()));
    Some(chosen.map_or_else(|| "default".to_owned(), Clone::clone))
}

fn read(found: &Found) -> (Vec<Text>, Vec<Problem>) {
    let mut problems = found.problems.clone();
    let mut texts = Vec::new();
    for file in &found.files {
        match input::read(file) {
            Ok(text) => texts.push(text),
            Err(problem) => problems.push(problem),
        }
    }
    (texts, problems)
}

/// All clusters, the one that was asked for first; files stand before its objects.
async fn inputs(
    args: &AnalyzeArgs,
    scope: &Scope,
    access: &Access,
    (cluster, files): (Option<&Cluster>, Files),
) -> Result<Vec<ClusterInput>, Failure> {
    let Some(cluster) = cluster else {
        return Ok(vec![files.alone(scope)]);
    };
    let reader = gather::Reader {
        kinds: kinds(),
        istio_namespace: &scope.istio_namespace,
        revision: args.revision.as_deref().unwrap_or("default"),
        limit: args.timeout.to_std(),
    };
    let mut first = reader.read(cluster).await?;
    let remote = gather::remote_clusters(args, scope, access, &first).await?;
    files.over(&mut first);
    let mut inputs = vec![first];
    for (cluster, is_needed) in remote {
        match reader.read(&cluster).await {
            Ok(input) => inputs.push(input),
            Err(failure) if is_needed => return Err(failure),
            Err(failure) => output::note(&format!(
                "Warning: the remote cluster {} is left out: {failure}",
                cluster.name
            )),
        }
    }
    Ok(inputs)
}

/// The kinds that some analyzer reads.
fn kinds() -> Vec<Kind> {
    use lateen_controlplane_analyze::{Input, pods};
    let all = [
        analyzers::istio(),
        analyzers::own(),
        analyzers::on_request(),
    ];
    let mut kinds: Vec<Kind> = all
        .iter()
        .flatten()
        .flat_map(|analyzer| analyzer.inputs)
        .filter_map(|input| match input {
            Input::Kind(kind) => Some(*kind),
            Input::MeshConfig | Input::MeshNetworks => None,
        })
        // ReplicaSets hold the templates of earlier times, too.
        .chain(
            pods::WORKLOADS
                .into_iter()
                .filter(|kind| *kind != Kind::ReplicaSet),
        )
        .chain([Kind::Namespace, Kind::ConfigMap, Kind::Secret])
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Whether a level is at least as bad as a threshold.
fn reaches(level: Level, threshold: Level) -> bool {
    level <= threshold
}

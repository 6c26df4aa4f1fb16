//! `lateenctl local up`: everything is checked first, then the mesh starts, and its pods are shown when all are ready.

use std::io::{IsTerminal as _, Write as _};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use indicatif::ProgressBar;
use lateen_api::object::Problem;
use lateen_api::yaml;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

use super::{path, say, sources, table};
use crate::hidden::DETACHED;
use crate::host::{self, Launch};
use crate::images::{ImageMap, maps_near};
use crate::mesh_config;
use crate::plan::{BuiltIn, PlanOptions, References, ServiceAddresses, plan};
use crate::preflight;
use crate::protocol::{Event, MeshSpec, MeshStatus};
use crate::source::{SourceFile, parse, read};
use crate::state::{MeshName, StateDir, StateError};

/// Arguments of `lateenctl local up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lateenctl local up -f samples/bookinfo/platform/kube/bookinfo.yaml -f samples/bookinfo/networking/bookinfo-gateway.yaml
  lateenctl local up -f manifests/ --set my-app=target/debug/my-app --detach

The files are watched: what you save is live in the mesh. Images stand for programs of this machine; a file local/images.yaml near
the manifests, --images, --set, or the annotation lateen.dev/binary on a pod says which.")]
pub struct UpArgs {
    /// File or folder with manifests, - for standard input (repeatable)
    #[arg(short, long = "filename")]
    filename: Vec<String>,
    /// Name of the mesh
    #[arg(long, default_value = "default")]
    name: String,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Go on in the background once the mesh is up
    #[arg(short, long)]
    detach: bool,
    /// The program an image stands for, as IMAGE=BINARY (repeatable)
    #[arg(long = "set", value_name = "IMAGE=BINARY")]
    set: Vec<String>,
    /// File that maps images to programs (repeatable)
    #[arg(long, value_name = "FILE")]
    images: Vec<String>,
    /// Mesh config, laid over the local mesh's own
    #[arg(long, value_name = "FILE")]
    mesh_config: Option<String>,
    /// Port of 127.0.0.1 that leads to the ingress gateway; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    ingress_port: u16,
    /// Seconds the mesh gets to become ready
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

/// Starts a mesh.
pub(super) async fn run(arguments: UpArgs) -> anyhow::Result<ExitCode> {
    let state = StateDir::of(MeshName::new(&arguments.name)?);
    preflight::check()?;
    let spec = spec(&arguments).await?;
    check(&spec)?;
    if state.is_claimed() {
        return Err(StateError::Running(arguments.name.clone()).into());
    }
    let launch = Launch {
        state: state.root().to_owned(),
        spec,
        port: arguments.ingress_port,
        detached: arguments.detach,
    };
    let limit = Duration::from_secs(arguments.timeout);
    if arguments.detach {
        background(launch, limit).await
    } else {
        foreground(launch, limit).await
    }
}

/// Problems as one error, a line each.
pub(super) fn refused(problems: &[Problem]) -> anyhow::Error {
    anyhow!(
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    )
}

async fn spec(arguments: &UpArgs) -> anyhow::Result<MeshSpec> {
    let (sources, once) = sources(&arguments.filename).await?;
    let mut images = ImageMap::default();
    for argument in &arguments.set {
        images.set(argument)?;
    }
    let near = sources.iter().flat_map(|s| maps_near(&s.path));
    let named = arguments.images.iter().map(|name| path(name));
    let mut maps: Vec<_> = named.chain(near).collect();
    let mut seen = Vec::new();
    maps.retain(|map| {
        !seen.contains(map) && {
            seen.push(map.clone());
            true
        }
    });
    for map in maps {
        let text = std::fs::read_to_string(&map).with_context(|| map.display().to_string())?;
        let documents = yaml::parse(&text).map_err(|e| {
            anyhow!(
                "{}:{}:{}: {}",
                map.display(),
                e.at.line,
                e.at.column,
                e.kind
            )
        })?;
        for document in documents.iter().filter(|d| !d.is_empty()) {
            let value = yaml::read(&document.root)
                .map_err(|e| anyhow!("{}:{}: {}", map.display(), e.at.line, e.message))?;
            images.read(&map, value)?;
        }
    }
    let mesh_config = match &arguments.mesh_config {
        Some(name) => Some(SourceFile {
            name: name.clone(),
            text: std::fs::read_to_string(name).with_context(|| name.clone())?,
        }),
        None => None,
    };
    Ok(MeshSpec {
        sources,
        once,
        namespace: arguments.namespace.clone(),
        images,
        mesh_config,
        ingress: String::new(),
    })
}

/// Plans the whole mesh, so that nothing starts when something is wrong.
fn check(spec: &MeshSpec) -> anyhow::Result<()> {
    let mut files = read(&spec.sources).map_err(|p| refused(&p))?;
    files.extend(spec.once.iter().cloned());
    let user = parse(&files, &spec.namespace).map_err(|p| refused(&p))?;
    let given = spec
        .mesh_config
        .as_ref()
        .map(|f| (f.name.as_str(), f.text.as_str()));
    let mesh = mesh_config::read(given).map_err(|p| refused(&[p]))?;
    let root = std::path::Path::new("/");
    let own = BuiltIn {
        config: root,
        authority: root,
        operator: root,
        jwt_rule: "{}",
    }
    .documents()
    .map_err(|p| refused(&p))?;
    let options = PlanOptions {
        images: spec.images.clone(),
        mesh: mesh.config,
        restarts: std::collections::BTreeMap::new(),
    };
    plan(
        &user,
        &own,
        &options,
        &mut ServiceAddresses::default(),
        References::Strict(&[]),
    )
    .map(drop)
    .map_err(|p| refused(&p))
}

async fn foreground(launch: Launch, limit: Duration) -> anyhow::Result<ExitCode> {
    let (events, mut told) = mpsc::channel(64);
    let (stop, stopped) = oneshot::channel::<()>();
    // Whoever is first: a person, or this function when the mesh does not become ready.
    let until = async {
        tokio::select! {
            () = host::interrupted() => {}
            _ = stopped => {}
        }
    };
    let mesh = host::run(launch, events, until);
    let show = async {
        let result = until_ready(&mut told, limit).await;
        match result {
            Ok(status) => {
                present(&status)?;
                say(&["Press Ctrl-C to take the mesh down.".to_owned()])?;
                while let Some(event) = told.recv().await {
                    note(&event);
                }
                drop(stop);
                Ok(())
            }
            Err(error) => {
                let _ = stop.send(());
                while told.recv().await.is_some() {}
                Err(error)
            }
        }
    };
    let (mesh, shown) = tokio::join!(mesh, show);
    match (mesh, shown) {
        // What the machine's side says is nearer to the cause than that no event came.
        (Err(error), Err(Unready::Silent)) => Err(error.into()),
        // Stopped by a person before it was ready.
        (Ok(()), Err(Unready::Silent)) => Ok(ExitCode::from(130)),
        (_, Err(unready)) => Err(unready.into()),
        (Err(error), Ok(())) => Err(error.into()),
        (Ok(()), Ok(())) => Ok(ExitCode::SUCCESS),
    }
}

async fn background(launch: Launch, limit: Duration) -> anyhow::Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(DETACHED)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&serde_json::to_vec(&launch)?).await?;
    }
    let (events, mut told) = mpsc::channel(64);
    let stdout = child.stdout.take().context("no output")?;
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(event) = serde_json::from_str(&line)
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    });
    match until_ready(&mut told, limit).await {
        Ok(status) => {
            present(&status)?;
            say(&[format!(
                "The mesh runs in the background; take it down with: lateenctl local down --name {}",
                status.name
            )])?;
            Ok(ExitCode::SUCCESS)
        }
        Err(unready) => {
            if let Some(process) = child.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(process),
                    nix::sys::signal::Signal::SIGTERM,
                );
            }
            let _ = child.wait().await;
            reader.abort();
            match unready {
                Unready::Silent => bail!("the mesh did not start"),
                other => Err(other.into()),
            }
        }
    }
}

/// Why no mesh is up.
#[derive(Debug, thiserror::Error)]
enum Unready {
    /// Nothing more was said.
    #[error("the mesh did not start")]
    Silent,
    /// The supervisor says why.
    #[error("{0}")]
    Failed(String),
    /// Some pods did not become ready.
    #[error("{0}")]
    Timeout(String),
    /// Standard output is closed.
    #[error(transparent)]
    Output(#[from] anyhow::Error),
}

async fn until_ready(
    told: &mut mpsc::Receiver<Event>,
    limit: Duration,
) -> Result<MeshStatus, Unready> {
    let spinner = spinner();
    let end = tokio::time::Instant::now() + limit;
    let mut last = MeshStatus::default();
    let result = loop {
        match tokio::time::timeout_at(end, told.recv()).await {
            Ok(None) => break Err(Unready::Silent),
            Ok(Some(Event::Ready(status))) => break Ok(status),
            Ok(Some(Event::Failed(message))) => break Err(Unready::Failed(message)),
            Ok(Some(Event::Progress(status))) => {
                if let Some(spinner) = &spinner {
                    spinner.set_message(progress(&status));
                }
                last = status;
            }
            Ok(Some(event @ Event::Note(_))) => note(&event),
            Err(_) => break Err(Unready::Timeout(unready(&last, limit))),
        }
    };
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    result
}

fn spinner() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let spinner = ProgressBar::new_spinner().with_message("starting the mesh");
    spinner.enable_steady_tick(Duration::from_millis(100));
    Some(spinner)
}

fn progress(status: &MeshStatus) -> String {
    let ready = status.pods.iter().filter(|p| p.is_ready()).count();
    let waiting: Vec<&str> = status
        .pods
        .iter()
        .filter(|p| !p.is_ready())
        .map(|p| p.name.as_str())
        .take(3)
        .collect();
    format!(
        "{ready} of {} pods are ready; waiting for {}",
        status.pods.len(),
        waiting.join(", ")
    )
}

fn unready(status: &MeshStatus, limit: Duration) -> String {
    let waiting = status.pods.iter().filter(|p| !p.is_ready());
    let rows = waiting.map(|p| {
        let message = if p.message.is_empty() {
            String::new()
        } else {
            format!(": {}", p.message)
        };
        format!(
            "\n  {}/{}: {} of {} containers ready, {}{message}",
            p.namespace, p.name, p.ready.0, p.ready.1, p.status
        )
    });
    format!(
        "the mesh was not ready after {} s (longer with --timeout):{}",
        limit.as_secs(),
        rows.collect::<String>()
    )
}

fn present(status: &MeshStatus) -> anyhow::Result<()> {
    say(&[table::pods(&status.pods), table::ingress(status)])
}

/// What happens later is said beside the output.
fn note(event: &Event) {
    if let Event::Note(text) | Event::Failed(text) = event {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

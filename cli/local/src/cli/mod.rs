//! `lateenctl local …`: the commands people type.

mod table;
mod up;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

pub use up::UpArgs;

use crate::client::Mesh;
use crate::source::{Source, SourceFile, read};

/// Runs a mesh on this machine, without a cluster.
#[derive(Debug, Args)]
pub struct LocalArgs {
    #[command(subcommand)]
    command: LocalCommand,
}

#[derive(Debug, Subcommand)]
enum LocalCommand {
    /// Start a mesh from manifests and keep it up until Ctrl-C
    Up(UpArgs),
    /// Take a mesh down
    Down(NameArgs),
    /// Show a mesh's pods
    Status(StatusArgs),
    /// Run a command in a pod's container
    Exec(ExecArgs),
    /// Print the output of a container
    Logs(LogsArgs),
    /// Add or change objects of a running mesh
    Apply(FileArgs),
    /// Take objects away from a running mesh, or end a pod
    Delete(DeleteArgs),
    /// Replace the pods of a workload one by one
    Restart(RestartArgs),
    /// Send a signal to a container, as in a test of what a crash does
    Kill(KillArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// Name of the mesh
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// Output format: json, or a table when absent
    #[arg(short, long, value_parser = ["json", "table"], default_value = "table")]
    output: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lateenctl local exec productpage-v1 -- env
  lateenctl local exec deployment/reviews-v1 -c istio-proxy -- pilot-agent request GET stats
  lateenctl local exec --node -- tcpdump -ni lateen0")]
struct ExecArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// The pod, or a workload such as deployment/reviews-v1
    #[arg(required_unless_present = "node")]
    pod: Option<String>,
    /// Container, the first app container when absent
    #[arg(short, long)]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Run it in the mesh's own network namespace, which holds the bridge, and not in a pod
    #[arg(long, conflicts_with_all = ["pod", "container"])]
    node: bool,
    /// Command and arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct LogsArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// The pod, or a workload such as deployment/reviews-v1
    pod: String,
    /// Container, the first app container when absent
    #[arg(short, long)]
    container: Option<String>,
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
    /// Only this many of the last lines
    #[arg(long)]
    tail: Option<usize>,
}

#[derive(Debug, Args)]
struct FileArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// File or folder with manifests, - for standard input (repeatable)
    #[arg(short, long = "filename", required = true)]
    filename: Vec<String>,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// File or folder with manifests, - for standard input (repeatable)
    #[arg(
        short,
        long = "filename",
        required_unless_present = "pod",
        conflicts_with = "pod"
    )]
    filename: Vec<String>,
    /// A pod, as pod/NAME
    pod: Option<String>,
}

#[derive(Debug, Args)]
struct RestartArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// The workload, such as deployment/reviews-v1
    workload: String,
}

#[derive(Debug, Args)]
struct KillArgs {
    #[command(flatten)]
    mesh: NameArgs,
    /// The pod, or a workload such as deployment/reviews-v1
    pod: String,
    /// Container, the first app container when absent
    #[arg(short, long)]
    container: Option<String>,
    /// The signal
    #[arg(short, long, default_value = "KILL")]
    signal: String,
}

/// Runs a command of `lateenctl local`.
///
/// # Errors
/// What went wrong, for people.
pub async fn run(arguments: LocalArgs) -> anyhow::Result<ExitCode> {
    match arguments.command {
        LocalCommand::Up(up) => return up::run(up).await,
        LocalCommand::Exec(exec) => return self::exec(exec).await,
        LocalCommand::Logs(logs) => self::logs(logs).await?,
        LocalCommand::Status(status) => self::status(status).await?,
        LocalCommand::Down(mesh) => {
            Mesh::find(&mesh.name)?.down().await?;
            say(&[format!("mesh \"{}\" is down", mesh.name)])?;
        }
        LocalCommand::Apply(apply) => say(&Mesh::find(&apply.mesh.name)?
            .apply(files(&apply.filename).await?)
            .await?)?,
        LocalCommand::Delete(delete) => {
            let mesh = Mesh::find(&delete.mesh.name)?;
            let said = match &delete.pod {
                Some(pod) if pod.starts_with("pod/") || pod.starts_with("pods/") => {
                    mesh.delete_pod(pod).await?
                }
                Some(other) => bail!(
                    "{other}: only pods are deleted by name (pod/NAME); give other objects by -f"
                ),
                None => mesh.delete(files(&delete.filename).await?).await?,
            };
            say(&said)?;
        }
        LocalCommand::Restart(restart) => say(&Mesh::find(&restart.mesh.name)?
            .restart(&restart.workload)
            .await?)?,
        LocalCommand::Kill(kill) => {
            Mesh::find(&kill.mesh.name)?
                .signal(&kill.pod, kill.container.as_deref(), &kill.signal)
                .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(arguments: StatusArgs) -> anyhow::Result<()> {
    let mesh = Mesh::find(&arguments.mesh.name)?;
    let status = mesh.status().await?;
    if arguments.output == "json" {
        let mut value = serde_json::to_value(&status)?;
        if let Some(map) = value.as_object_mut() {
            map.insert(
                "supervisorPid".to_owned(),
                mesh.supervisor_process().await?.into(),
            );
        }
        return say(&[serde_json::to_string_pretty(&value)?]);
    }
    say(&[table::pods(&status.pods), table::ingress(&status)])?;
    say(&table::problems(&status))
}

async fn exec(arguments: ExecArgs) -> anyhow::Result<ExitCode> {
    let mesh = Mesh::find(&arguments.mesh.name)?;
    let stdin = arguments.stdin.then(tokio::io::stdin);
    let target = (arguments.pod.as_deref(), arguments.container.as_deref());
    let code = mesh
        .exec(
            target,
            arguments.command,
            stdin,
            tokio::io::stdout(),
            tokio::io::stderr(),
        )
        .await?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn logs(arguments: LogsArgs) -> anyhow::Result<()> {
    let mesh = Mesh::find(&arguments.mesh.name)?;
    let stream = mesh
        .logs(
            &arguments.pod,
            arguments.container.as_deref(),
            arguments.follow,
            arguments.tail,
        )
        .await?;
    let mut lines = stream.lines();
    while let Some(line) = lines.next_line().await? {
        if writeln!(std::io::stdout(), "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

/// Texts of files and folders that were named; `-` is standard input.
async fn files(names: &[String]) -> anyhow::Result<Vec<SourceFile>> {
    let (sources, mut once) = sources(names).await?;
    let read = read(&sources).map_err(|problems| up::refused(&problems))?;
    once.extend(read);
    Ok(once)
}

/// Files and folders that were named, and what came on standard input.
async fn sources(names: &[String]) -> anyhow::Result<(Vec<Source>, Vec<SourceFile>)> {
    let mut sources = Vec::new();
    let mut once = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            tokio::io::stdin()
                .read_to_string(&mut text)
                .await
                .context("standard input")?;
            once.push(SourceFile {
                name: "-".to_owned(),
                text,
            });
        } else {
            match Source::new(name) {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if problems.is_empty() {
        Ok((sources, once))
    } else {
        Err(up::refused(&problems))
    }
}

fn say(lines: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut lines = lines.iter().filter(|line| !line.is_empty());
    match lines.try_for_each(|line| writeln!(out, "{line}")) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// A path for messages and maps.
fn path(name: &str) -> PathBuf {
    std::fs::canonicalize(name).unwrap_or_else(|_| PathBuf::from(name))
}

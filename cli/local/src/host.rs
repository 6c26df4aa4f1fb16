//! The machine's side of a mesh: claims its name, starts the supervisor in new namespaces, and carries connections from
//! 127.0.0.1 to the ingress gateway.

use std::future::Future;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::Mesh;
use crate::hidden::{INIT, log_to_stderr};
use crate::plan::{INGRESS, SYSTEM};
use crate::preflight::{self, Missing};
use crate::protocol::{Event, MeshSpec};
use crate::state::{StateDir, StateError};

/// Port of the ingress gateway's Service that the machine's port leads to.
const INGRESS_PORT: u16 = 80;
/// Longest time the supervisor gets to take everything down.
const DOWN_LIMIT: Duration = Duration::from_secs(60);

/// A mesh to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// Folder of the mesh.
    pub state: PathBuf,
    /// What it is made from.
    pub spec: MeshSpec,
    /// Port of 127.0.0.1 for the ingress gateway; 0 takes a free one.
    pub port: u16,
    /// The supervisor's log goes to a file and not to standard error.
    pub detached: bool,
}

/// Why a mesh did not start or ended on its own.
#[derive(Debug, Error)]
pub(crate) enum HostError {
    /// The machine lacks something.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port for the ingress gateway is not free.
    #[error("port {0} of 127.0.0.1 for the ingress gateway: {1}; choose another --ingress-port")]
    Port(u16, std::io::Error),
    /// The namespaces or the supervisor could not be made.
    #[error("{0}: {1}")]
    Start(&'static str, std::io::Error),
    /// The supervisor ended without being asked.
    #[error("the mesh ended on its own{0}")]
    Ended(String),
}

/// Runs a mesh until `stop` or until the mesh ends itself; events go to `events`. Everything is gone afterwards.
///
/// # Errors
/// [`HostError`] when it cannot start or when it ended with a failure.
pub(crate) async fn run(
    launch: Launch,
    events: mpsc::Sender<Event>,
    stop: impl Future<Output = ()>,
) -> Result<(), HostError> {
    let privilege = preflight::check()?;
    let state = StateDir::open(&launch.state)?;
    let lock = state.claim()?;
    let result = claimed(&launch, &state, privilege.unshare(), events, stop).await;
    state.remove();
    drop(lock);
    result
}

async fn claimed(
    launch: &Launch,
    state: &StateDir,
    unshare: &[&str],
    events: mpsc::Sender<Event>,
    stop: impl Future<Output = ()>,
) -> Result<(), HostError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, launch.port)).await;
    let listener = listener.map_err(|e| HostError::Port(launch.port, e))?;
    let port = listener
        .local_addr()
        .map_err(|e| HostError::Port(launch.port, e))?
        .port();
    let spec = MeshSpec {
        ingress: format!("127.0.0.1:{port}"),
        ..launch.spec.clone()
    };
    let text =
        serde_json::to_vec(&spec).map_err(|e| HostError::Start("state of the mesh", e.into()))?;
    crate::state::write_atomic(&state.spec(), &text, 0o600)
        .map_err(|e| HostError::Start("state of the mesh", e))?;
    let mut child = start(state, unshare)
        .map_err(|e| HostError::Start("the namespaces of the mesh could not be made", e))?;
    // Kept open for as long as the mesh is to run; its end tells the supervisor to take everything down.
    let lifeline = child.stdin.take();
    let forward = tokio::spawn(forward(listener, state.clone()));
    let file = launch.detached.then(|| state.log());
    let reader = tokio::spawn(read_events(child.stdout.take(), events, file.clone()));
    let log = tokio::spawn(read_log(child.stderr.take(), file));
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop => {
            drop(lifeline);
            match tokio::time::timeout(DOWN_LIMIT, child.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    let _ = child.start_kill();
                    child.wait().await
                }
            }
        }
    };
    forward.abort();
    let _ = reader.await;
    let said = log.await.unwrap_or_default();
    let status = status.map_err(|e| HostError::Start("the supervisor", e))?;
    if status.success() {
        Ok(())
    } else {
        Err(HostError::Ended(if said.is_empty() {
            format!(" ({status})")
        } else {
            format!(":\n{said}")
        }))
    }
}

fn start(state: &StateDir, unshare: &[&str]) -> std::io::Result<Child> {
    Command::new("unshare")
        .args(unshare)
        .arg("--")
        .arg(std::env::current_exe()?)
        .arg(INIT)
        .arg(state.root())
        .env("PATH", preflight::search_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for this process alone; it takes the mesh down in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Passes events on; in the background, what people should know goes to the log too.
async fn read_events(
    stdout: Option<tokio::process::ChildStdout>,
    events: mpsc::Sender<Event>,
    log: Option<PathBuf>,
) {
    let Some(stdout) = stdout else { return };
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(event) = serde_json::from_str(&line) else {
            continue;
        };
        if let (Some(path), Event::Note(text)) = (&log, &event)
            && let Some(mut file) = append(path).await
        {
            let _ = file.write_all(format!("{text}\n").as_bytes()).await;
            let _ = file.flush().await;
        }
        let _ = events.send(event).await;
    }
}

/// Passes the supervisor's log on; gives its last lines.
async fn read_log(stderr: Option<tokio::process::ChildStderr>, log: Option<PathBuf>) -> String {
    let Some(stderr) = stderr else {
        return String::new();
    };
    let mut out: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = match log {
        None => Box::new(tokio::io::stderr()),
        Some(path) => match append(&path).await {
            Some(file) => Box::new(file),
            None => Box::new(tokio::io::sink()),
        },
    };
    let mut last = std::collections::VecDeque::new();
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = out.write_all(format!("{line}\n").as_bytes()).await;
        let _ = out.flush().await;
        last.push_back(line);
        if last.len() > 5 {
            last.pop_front();
        }
    }
    last.into_iter().collect::<Vec<_>>().join("\n")
}

async fn append(path: &Path) -> Option<tokio::fs::File> {
    tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .await
        .ok()
}

/// Carries connections of this machine to the ingress gateway.
async fn forward(listener: TcpListener, state: StateDir) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let mesh = Mesh::at(state.clone());
                tokio::spawn(async move {
                    if let Err(error) = carry(stream, &mesh).await {
                        tracing::debug!(%error, "connection to the ingress gateway");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "port of the ingress gateway");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn carry(mut client: TcpStream, mesh: &Mesh) -> anyhow::Result<()> {
    let _ = client.set_nodelay(true);
    let mut server = mesh.dial_service(INGRESS, SYSTEM, INGRESS_PORT).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A mesh in the background: reads its [`Launch`] from standard input, leaves the terminal, and tells events on standard output
/// as long as someone listens.
pub(crate) fn detached_main() -> ExitCode {
    log_to_stderr();
    let _ = nix::unistd::setsid();
    let mut text = String::new();
    let launch = std::io::stdin()
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| serde_json::from_str::<Launch>(&text).ok());
    let (Some(launch), Ok(runtime)) = (
        launch,
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    ) else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let (events, mut told) = mpsc::channel(64);
        let printer = tokio::spawn(async move {
            while let Some(event) = told.recv().await {
                say(&event).await;
            }
        });
        let result = run(launch, events, interrupted()).await;
        let _ = printer.await;
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&Event::Failed(error.to_string())).await;
                ExitCode::FAILURE
            }
        }
    })
}

async fn say(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut out = tokio::io::stdout();
        // The starter stops listening once the mesh is up.
        let _ = out.write_all(&line).await;
        let _ = out.flush().await;
    }
}

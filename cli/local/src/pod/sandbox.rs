//! A pod's namespaces: held by a process of their own, connected to the bridge.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::entry::PodEntry;
use super::life::PodContext;
use super::spec::hostname;
use crate::container::PauseSpec;
use crate::hidden::PAUSE;
use crate::network::{self, NetworkError};
use crate::state::{StateDir, write_atomic};

/// Settings of every pod's network, below what the pod asks for. All ports are open to all users, as container runtimes have it.
const SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "1"),
];

/// Why a pod's sandbox could not be made.
#[derive(Debug, Error)]
pub(super) enum SandboxError {
    /// A file or process operation failed.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    /// The process that holds the namespaces ended.
    #[error("{0}")]
    Pause(String),
    /// The network could not be connected.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A pod's namespaces; they end with it.
#[derive(Debug)]
pub(super) struct Sandbox {
    _pause: Child,
    /// Process that holds them.
    pub(super) process: u32,
}

impl Sandbox {
    /// Makes the namespaces of a pod.
    pub(super) async fn create(
        context: &PodContext,
        entry: &PodEntry,
    ) -> Result<Self, SandboxError> {
        let folder = folder(&context.state, entry);
        std::fs::create_dir_all(&folder).map_err(|e| SandboxError::Io("folder of the pod", e))?;
        let dial = folder.join("dial.sock");
        // A socket of an earlier try.
        let _ = std::fs::remove_file(&dial);
        let spec = PauseSpec {
            hostname: hostname(&entry.plan.pod),
            sysctls: sysctls(entry),
            dial,
        };
        let path = folder.join("sandbox.json");
        let text = serde_json::to_vec(&spec).map_err(|e| SandboxError::Io("sandbox", e.into()))?;
        write_atomic(&path, &text, 0o600).map_err(|e| SandboxError::Io("sandbox", e))?;
        let mut pause = Command::new(&context.executable)
            .arg(PAUSE)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| SandboxError::Io("sandbox process", e))?;
        await_ready(&mut pause).await?;
        let process = pause
            .id()
            .ok_or_else(|| SandboxError::Pause("the sandbox process ended".to_owned()))?;
        network::attach(process, entry.ip).await?;
        Ok(Self {
            _pause: pause,
            process,
        })
    }
}

/// Folder of a pod's own files.
pub(super) fn folder(state: &StateDir, entry: &PodEntry) -> PathBuf {
    state
        .pods()
        .join(entry.plan.pod.metadata.uid.clone().unwrap_or_default())
}

impl PodContext {
    /// Opens a connection to a port of the pod's loopback.
    ///
    /// # Errors
    /// When the pod has no sandbox (yet), or nothing listens on the port.
    pub(crate) async fn dial(&self, entry: &PodEntry, port: u16) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(folder(&self.state, entry).join("dial.sock")).await?;
        stream.write_all(format!("{port}\n").as_bytes()).await?;
        let mut line = Vec::new();
        while line.len() < 256 {
            let byte = stream.read_u8().await?;
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
        match String::from_utf8_lossy(&line).strip_prefix("error ") {
            Some(message) => Err(io::Error::other(format!(
                "port {port} of pod {}: {message}",
                entry.key()
            ))),
            None => Ok(stream),
        }
    }
}

async fn await_ready(pause: &mut Child) -> Result<(), SandboxError> {
    let Some(stdout) = pause.stdout.take() else {
        return Ok(());
    };
    let mut line = String::new();
    let read = BufReader::new(stdout).read_line(&mut line).await;
    if read.is_ok() && line == "ready\n" {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = pause.stderr.take() {
        let _ = stderr.read_to_string(&mut said).await;
    }
    Err(SandboxError::Pause(said.trim().to_owned()))
}

fn sysctls(entry: &PodEntry) -> BTreeMap<String, String> {
    let own = SYSCTLS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let security = entry.plan.spec().and_then(|s| s.security_context.as_ref());
    let asked = security
        .and_then(|s| s.sysctls.as_ref())
        .into_iter()
        .flatten();
    own.chain(asked.map(|s| (s.name.clone(), s.value.clone())))
        .collect()
}

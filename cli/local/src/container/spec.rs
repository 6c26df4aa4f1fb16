//! What the supervisor tells the processes that become a pod's sandbox and containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A process to start inside a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    /// Process that holds the pod's network, host name and IPC namespaces.
    pub sandbox: u32,
    /// The file system the process sees.
    pub place: Place,
    /// What is run.
    pub program: Program,
}

/// The file system of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Place {
    /// A new one, made for a container.
    New(Box<NewRoot>),
    /// The one of a running container, named by its process: for `exec`, exec probes and hooks.
    Join(u32),
}

/// A container's own file system: the machine's, under a layer in memory that takes all writes, with the pod's volumes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewRoot {
    /// Existing empty folder where the layer is mounted; each container of a pod has its own.
    pub scratch: PathBuf,
    /// Volumes and their places.
    pub binds: Vec<Bind>,
    /// Programs that the container finds in its PATH: name → file of the machine.
    pub programs: BTreeMap<String, PathBuf>,
    /// More names for these programs: link → program.
    pub links: BTreeMap<String, String>,
    /// Files written before the start, such as `/etc/resolv.conf`: path → content.
    pub files: BTreeMap<PathBuf, String>,
    /// Folders of the machine that the container must not see.
    pub hidden: Vec<PathBuf>,
    /// The root is read-only; volumes, `/tmp` and `/run` are not.
    pub read_only: bool,
}

/// One volume mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// File or folder of the machine.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: PathBuf,
    /// No writes.
    pub read_only: bool,
}

/// A command with its environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Command and arguments; the command is looked up in the PATH of `env` unless it holds a `/`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, `/` when absent.
    pub directory: Option<PathBuf>,
    /// Whom it runs as.
    pub user: User,
}

/// Identity of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The process and its children can never gain privileges (`allowPrivilegeEscalation: false`).
    pub no_new_privileges: bool,
}

/// The process that holds a pod's namespaces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PauseSpec {
    /// Host name of the pod.
    pub hostname: String,
    /// Kernel settings of the pod's network: dotted name → value.
    pub sysctls: BTreeMap<String, String>,
    /// Unix socket through which the pod's loopback is reached.
    pub dial: PathBuf,
}

impl ContainerSpec {
    /// Writes the spec to a file that only the owner can read; the started process removes it.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        crate::state::write_atomic(path, &serde_json::to_vec(self)?, 0o600)
    }
}

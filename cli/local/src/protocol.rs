//! What goes over a mesh's control socket: a request as one line of JSON, an answer as one line, and for some requests a stream.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::images::ImageMap;
use crate::source::{Source, SourceFile};

/// Longest request line, in bytes: `apply` carries whole files.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// What a mesh is made from; written by `local up` for the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MeshSpec {
    /// Files and folders that are watched.
    pub sources: Vec<Source>,
    /// Files that are not watched (standard input).
    pub once: Vec<SourceFile>,
    /// Namespace of objects that name none.
    pub namespace: String,
    /// Programs of images.
    pub images: ImageMap,
    /// The user's mesh config.
    pub mesh_config: Option<SourceFile>,
    /// Address on which the machine reaches the ingress gateway.
    pub ingress: String,
}

/// A request to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "request")]
pub(crate) enum Request {
    /// State of the mesh. Answer: [`MeshStatus`].
    Status,
    /// A command in a container, or in the mesh's own network namespace. After the answer: [`Frame`] lines both ways.
    Exec {
        /// The pod; nothing for the mesh's namespace.
        pod: Option<String>,
        /// The pod's container, its first app container when absent.
        container: Option<String>,
        /// Command and arguments.
        command: Vec<String>,
    },
    /// Output of a container. After the answer: lines of text.
    Logs {
        /// The pod.
        pod: String,
        /// Its container, the first app container when absent.
        container: Option<String>,
        /// Go on with new lines.
        follow: bool,
        /// Only this many of the last lines.
        tail: Option<usize>,
    },
    /// Adds or changes objects.
    Apply {
        /// Files with the objects.
        files: Vec<SourceFile>,
    },
    /// Takes objects away.
    Delete {
        /// Files with the objects.
        files: Vec<SourceFile>,
    },
    /// Ends a pod; its workload starts another one.
    DeletePod {
        /// The pod.
        pod: String,
    },
    /// Replaces the pods of a workload one by one.
    Restart {
        /// The workload, such as `deployment/reviews-v1`.
        workload: String,
    },
    /// Sends a signal to a container's process.
    Signal {
        /// The pod.
        pod: String,
        /// Its container, the first app container when absent.
        container: Option<String>,
        /// Name of the signal, such as `KILL`.
        signal: String,
    },
    /// A connection to the loopback of a pod. After the answer: bytes both ways.
    Dial {
        /// The pod.
        pod: String,
        /// The port.
        port: u16,
    },
    /// A connection to a Service. After the answer: bytes both ways.
    DialService {
        /// The Service's name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Its port.
        port: u16,
    },
    /// A token of a service account. Answer: the token.
    Token {
        /// Namespace of the account.
        namespace: String,
        /// The account.
        service_account: String,
        /// Audience of the token.
        audience: String,
    },
    /// Ends the mesh. The answer comes when everything is down.
    Down,
}

/// An answer of the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// Done; what was asked for.
    Ok(Value),
    /// Not done, and why, for people; a line a problem.
    Error(String),
}

/// A part of a command's streams; data is base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Frame {
    /// Input.
    Stdin(String),
    /// No more input.
    StdinEnd,
    /// Output.
    Stdout(String),
    /// Error output.
    Stderr(String),
    /// The command has ended.
    Exit(i32),
}

/// State of a mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    /// Its name.
    pub name: String,
    /// Everything the plan asks for runs and is ready.
    pub ready: bool,
    /// Where the machine reaches the ingress gateway.
    pub ingress: String,
    /// Name of the bridge in the mesh's network namespace.
    pub bridge: String,
    /// Its pods.
    pub pods: Vec<PodSummary>,
    /// What is wrong with the watched files; the mesh goes on with their last valid state.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A row about a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSummary {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Kind and name of what it is made from.
    pub workload: String,
    /// Containers that are ready, and all.
    pub ready: (usize, usize),
    /// Phase or the reason it does not run, in one word.
    pub status: String,
    /// More about the status, for people.
    pub message: String,
    /// Starts of containers after their first.
    pub restarts: u32,
    /// Address.
    pub ip: String,
    /// Version of the app, from the label `version` or `app.kubernetes.io/version`.
    pub version: String,
    /// Its identity; empty for a pod that is not in the mesh.
    pub spiffe: String,
    /// Names of its containers.
    pub containers: Vec<String>,
    /// Seconds since it was made.
    pub age: u64,
}

/// What the supervisor tells the process that started it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Event {
    /// How far the start is.
    Progress(MeshStatus),
    /// The mesh is up.
    Ready(MeshStatus),
    /// Something to know, such as a saved file that is not valid.
    Note(String),
    /// The mesh cannot start or go on.
    Failed(String),
}

impl PodSummary {
    /// All containers are ready.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.ready.0 == self.ready.1
    }
}

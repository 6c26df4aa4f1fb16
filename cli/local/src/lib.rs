//! A mesh on one machine, without a cluster: pods as network namespaces on a bridge, their containers as processes, lateend as
//! one of the pods, configuration as files.
//!
//! [`cli`] is what people call (`lateenctl local …`); [`Mesh`] is how other commands reach a running mesh. A mesh is a tree of
//! processes in namespaces of their own: `local up` ([`cli`], then `host`) starts the first process of new process, mount and
//! network namespaces ([`hidden`]), which starts the supervisor (`supervisor`); when it ends, the kernel ends everything that is left.
//!
//! The supervisor plans (`source` → `plan`), brings the pods to the plan (`workload`, `pod`), and tells what runs to lateend, to
//! the name server and to the translation of addresses (`publish` → `endpoints`, `dns`, `translation`).
//!
//! Resource limits and scheduling (`resources`, `nodeSelector`, `affinity`, `tolerations`) have no meaning on one machine without
//! a container runtime: they are read and not enforced. What cannot run at all is refused by name (`plan`).

pub mod cli;
mod client;
mod container;
mod dns;
mod endpoints;
mod env;
mod facts;
pub mod hidden;
mod host;
mod http;
mod images;
mod logs;
mod mesh_config;
mod mirror;
mod network;
mod plan;
mod pod;
mod preflight;
mod protocol;
mod publish;
mod source;
mod state;
mod supervisor;
mod tokens;
mod translation;
mod volumes;
mod workload;

pub use client::{ClientError, Mesh, Stream};
pub use protocol::{MeshStatus, PodSummary};
pub use source::SourceFile;
pub use state::{MeshName, StateDir, StateError};

/// Takes a lock; a panic elsewhere while it was held does not matter to what these locks guard.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

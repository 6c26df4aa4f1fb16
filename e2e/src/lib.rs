//! A local mesh as the demo and the end-to-end tests use it: through `lateenctl`, as a person would. And a Kubernetes
//! cluster, as `make cluster` starts it.

mod checks;
mod cluster;
pub mod differential;
pub mod hostile;
mod mesh;
mod report;

pub use checks::{Check, run_checks};
pub use cluster::Cluster;
pub use mesh::{Mesh, MeshOptions, Output};
pub use report::{Load, eventually};

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// The file `path` of the samples, such as `bookinfo/platform/kube/bookinfo.yaml`.
pub fn sample(path: &str) -> String {
    workspace().join("samples").join(path).display().to_string()
}

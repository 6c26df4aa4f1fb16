//! Where a proxy's pages come from: a saved file, or a running pod.

use std::path::Path;

use serde_json::Value;

use super::endpoint;
use crate::args::Scope;
use crate::dump::ConfigDump;
use crate::failure::Failure;
use crate::mesh::{Mesh, PodPages};
use crate::output;

/// One proxy.
pub(super) enum Source {
    /// A page that was saved, and the file's name.
    File { text: String, name: String },
    /// The admin pages of a pod of the local mesh.
    Pod(PodPages),
}

impl Source {
    /// The file, else the pod.
    ///
    /// # Errors
    /// When the file cannot be read, or the mesh or the pod is not there.
    pub(super) async fn open(
        pod: Option<&str>,
        file: Option<&Path>,
        admin_port: u16,
        scope: &Scope,
    ) -> Result<Self, Failure> {
        match (file, pod) {
            (Some(file), _) => {
                let name = if file == Path::new("-") {
                    "standard input".to_owned()
                } else {
                    file.display().to_string()
                };
                Ok(Self::File {
                    text: output::read_file(file)?,
                    name,
                })
            }
            (None, Some(pod)) => Ok(Self::Pod(
                Mesh::find(scope)?.pages(pod, admin_port, scope).await?,
            )),
            (None, None) => Err(Failure::usage("name a pod, or a file with -f")),
        }
    }

    /// What the proxy is called.
    pub(super) fn label(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Pod(pages) => pages.label(),
        }
    }

    /// Everything the proxy was told, with endpoints.
    pub(super) async fn config_dump(&self) -> Result<ConfigDump, Failure> {
        match self {
            Self::File { text, name } => ConfigDump::read(text.as_bytes(), name),
            Self::Pod(pages) => {
                ConfigDump::read(&pages.get("config_dump?include_eds").await?, pages.label())
            }
        }
    }

    /// The clusters with the endpoints that are in use.
    pub(super) async fn clusters(&self) -> Result<Value, Failure> {
        match self {
            Self::File { text, name } => endpoint::read(text.as_bytes(), name),
            Self::Pod(pages) => {
                endpoint::read(&pages.get("clusters?format=json").await?, pages.label())
            }
        }
    }

    /// Sends a change to the proxy.
    pub(super) async fn post(&self, path: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::File { name, .. } => {
                Err(Failure::usage(format!("{name}: a file cannot be changed")))
            }
            Self::Pod(pages) => pages.post(path).await,
        }
    }
}

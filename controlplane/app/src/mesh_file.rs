//! The file with the mesh configuration: read at the start, and again when it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use lateen_api::mesh::{MeshConfig, parse_mesh_config};
use lateen_controlplane_model::snapshot::Mesh;
use tokio::sync::mpsc;

/// How often the file is looked at. A mounted ConfigMap changes by swapped links, which notifications miss.
const INTERVAL: Duration = Duration::from_millis(500);
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Where the settings come from, and what overrides them.
#[derive(Debug, Clone)]
pub(crate) struct MeshSource {
    /// The file.
    pub(crate) path: PathBuf,
    /// DNS domain of the services.
    pub(crate) domain: String,
    /// Trust domain, if it is set elsewhere.
    pub(crate) trust_domain: Option<String>,
}

/// Settings and the text they were read from.
pub(crate) struct Read {
    pub(crate) mesh: Mesh,
    text: String,
}

impl MeshSource {
    /// Reads the settings; those of a file that does not exist are the defaults.
    ///
    /// # Errors
    /// With file, line and field when the text does not read.
    pub(crate) fn read(&self) -> anyhow::Result<Read> {
        let text =
            text(&self.path).with_context(|| format!("--meshConfig {}", self.path.display()))?;
        let mesh = self.parse(&text)?;
        Ok(Read { mesh, text })
    }

    fn parse(&self, text: &str) -> anyhow::Result<Mesh> {
        let mut config = MeshConfig::default();
        if !text.trim().is_empty() {
            let (read, warnings) = parse_mesh_config(&self.path.display().to_string(), text)
                .map_err(|problem| anyhow!("{problem}"))?;
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            config = read;
        }
        if let Some(trust_domain) = &self.trust_domain {
            config.trust_domain.clone_from(trust_domain);
        }
        Ok(Mesh {
            config,
            domain: Arc::from(self.domain.as_str()),
        })
    }

    /// Sends the settings each time the file's text changes, until the receiver is gone. What does not read is logged, and the
    /// settings before it stay.
    pub(crate) async fn watch(self, read: Read, changes: mpsc::Sender<Mesh>) {
        let trust_domain = read.mesh.trust_domain();
        let mut last = read.text;
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            match text(&self.path) {
                Ok(new) if new == last => {}
                Ok(new) => {
                    match self.parse(&new) {
                        Ok(mesh) => {
                            tracing::info!(file = %self.path.display(), "mesh configuration read again");
                            if mesh.trust_domain() != trust_domain {
                                tracing::warn!(
                                    "certificates keep the trust domain {trust_domain} until a restart"
                                );
                            }
                            if changes.send(mesh).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => tracing::error!("mesh configuration unchanged: {error:#}"),
                    }
                    last = new;
                }
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "cannot read the mesh configuration")
                }
            }
        }
    }
}

fn text(path: &Path) -> io::Result<String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => Err(io::Error::other(format!(
            "is larger than {MAX_BYTES} bytes"
        ))),
        Ok(_) => std::fs::read_to_string(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

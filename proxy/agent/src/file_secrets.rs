//! Secrets that are files: `file-cert:<certificate>~<key>`, `file-root:<path>` and `file-root:system`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_model::{Identity, TrustBundle};
use lateen_proxy_state::{SecretStore, State};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::agent_metrics::AgentMetrics;
use crate::certificate::{CertificateError, certificates};

/// Places where distributions keep the system's roots.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How often files are read again: mounted secrets are replaced without notice.
const REREAD: Duration = Duration::from_secs(60);

/// The task that fills file secrets somebody asks for and follows their files.
#[derive(Debug)]
pub struct FileSecrets {
    state: Arc<State>,
    metrics: Arc<AgentMetrics>,
    every: Duration,
}

impl FileSecrets {
    /// Fills the secrets of this state.
    #[must_use]
    pub fn new(state: Arc<State>, metrics: Arc<AgentMetrics>) -> Self {
        Self {
            state,
            metrics,
            every: REREAD,
        }
    }

    /// Reads the files again at this interval.
    #[must_use]
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Runs until the task is dropped. Without a file secret it sleeps.
    pub async fn run(self) {
        let mut wanted = self.state.secrets().watch_wanted();
        loop {
            wanted.borrow_and_update();
            let known = self.fill();
            let again = async {
                match known {
                    0 => std::future::pending().await,
                    _ => tokio::time::sleep(self.every).await,
                }
            };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Reads all file secrets, new and known; gives how many there are.
    fn fill(&self) -> usize {
        let secrets = self.state.secrets();
        let (mut identities, mut trusts) = secrets.wanted();
        identities.extend(secrets.identities().into_iter().map(|(name, _)| name));
        trusts.extend(secrets.trusts().into_iter().map(|(name, _)| name));
        let mut files = 0;
        for name in identities {
            if let Some(paths) = name.strip_prefix("file-cert:") {
                files += 1;
                self.note(&name, read_identity(secrets, &name, paths));
            }
        }
        for name in trusts {
            if let Some(path) = name.strip_prefix("file-root:") {
                files += 1;
                self.note(&name, read_roots(secrets, &name, path));
            }
        }
        files
    }

    fn note(&self, name: &str, outcome: Result<(), CertificateError>) {
        if let Err(error) = outcome {
            self.metrics.file_secret_failures.inc();
            tracing::warn!(secret = name, %error, "secret file cannot be used");
        }
    }
}

fn read_identity(secrets: &SecretStore, name: &str, paths: &str) -> Result<(), CertificateError> {
    let (certificate, key) = paths
        .split_once('~')
        .ok_or_else(|| CertificateError::Malformed {
            what: "secret name",
            reason: format!("`{name}` is not file-cert:<certificate>~<key>"),
        })?;
    let chain = certificates("certificate chain", &read(certificate)?)?;
    let malformed = |error| CertificateError::Malformed {
        what: "key",
        reason: format!("{key}: {error}"),
    };
    let key = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes()).map_err(malformed)?;
    if secrets
        .identity(name)
        .load()
        .as_ref()
        .is_none_or(|known| known.chain != chain)
    {
        secrets.set_identity(
            name,
            Identity {
                chain,
                key,
                ocsp: None,
            },
        );
    }
    Ok(())
}

fn read_roots(secrets: &SecretStore, name: &str, path: &str) -> Result<(), CertificateError> {
    let system = SYSTEM_ROOTS
        .into_iter()
        .find(|path| Path::new(path).exists());
    let path = if path == "system" {
        system.unwrap_or(SYSTEM_ROOTS[0])
    } else {
        path
    };
    let roots = certificates("root certificates", &read(path)?)?;
    if secrets
        .trust(name)
        .load()
        .as_ref()
        .is_none_or(|known| known.roots != roots)
    {
        secrets.set_trust(name, TrustBundle { roots });
    }
    Ok(())
}

fn read(path: &str) -> Result<String, CertificateError> {
    std::fs::read_to_string(path).map_err(|source| CertificateError::File {
        path: path.into(),
        source,
    })
}

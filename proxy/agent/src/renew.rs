//! Keeps the workload's certificate fresh: asks the mesh's authority, or follows mounted files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lateen_proxy_state::State;
use lateen_xds::pb::istio::v1::auth::IstioCertificateRequest;
use lateen_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use serde_json::json;
use thiserror::Error;

use crate::agent_metrics::AgentMetrics;
use crate::certificate::{CertificateError, IDENTITY, PemIdentity, Validity};
use crate::control_plane::{ControlPlane, ControlPlaneError};
use crate::{CertificateSettings, Settings};

/// Folder of mounted certificates that take the place of the mesh's authority.
const MOUNTED: &str = "/var/run/secrets/workload-spiffe-credentials";
/// Name of the file that keeps the certificate over a restart.
const KEPT: &str = "lateen-identity.json";
/// Waits are cut into pieces of this length, so that a moved clock is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(15);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The task that keeps `default` and `ROOTCA` filled.
#[derive(Debug)]
pub struct Renewal {
    state: Arc<State>,
    metrics: Arc<AgentMetrics>,
    settings: CertificateSettings,
    source: CertificateSource,
}

#[derive(Debug)]
enum CertificateSource {
    Authority(Authority),
    Files(PathBuf),
}

#[derive(Debug)]
struct Authority {
    way: ControlPlane,
    spiffe_id: String,
    cluster_id: String,
    kept: PathBuf,
}

/// Why no certificate was had.
#[derive(Debug, Error)]
pub enum RenewError {
    /// The authority cannot be reached.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// It refused.
    #[error("certificate authority {address} answered {code:?}: {message}")]
    Refused {
        /// Where it is.
        address: String,
        /// gRPC status.
        code: tonic::Code,
        /// Its words.
        message: String,
    },
    /// What it sent, or what is mounted, cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No key or request could be made.
    #[error("certificate request: {0}")]
    Request(#[from] rcgen::Error),
}

impl Renewal {
    /// Chooses the source: mounted files if they are there, else the mesh's authority.
    #[must_use]
    pub fn new(settings: &Settings, state: Arc<State>, metrics: Arc<AgentMetrics>) -> Self {
        let mounted = Path::new(MOUNTED);
        let source = if mounted.join("cert-chain.pem").exists() {
            CertificateSource::Files(mounted.to_owned())
        } else {
            CertificateSource::Authority(Authority {
                way: ControlPlane::authority(settings, state.secrets().identity(IDENTITY)),
                spiffe_id: settings.spiffe_id(),
                cluster_id: settings.cluster_id.clone(),
                kept: settings.state_dir.join(KEPT),
            })
        };
        Self {
            state,
            metrics,
            settings: settings.certificate,
            source,
        }
    }

    /// Runs until the task is dropped. What was kept from before a restart is used first, so that the proxy serves
    /// although the control plane may be away.
    pub async fn run(self) {
        let mut current = self.restore();
        let mut retry = FIRST_RETRY;
        loop {
            if let Some(validity) = current {
                self.metrics.expires("default", validity.not_after);
                self.sleep_till_due(validity).await;
            }
            match self.renew().await {
                Ok(validity) => {
                    tracing::info!(valid_for = ?remaining(validity), "workload certificate is ready");
                    (current, retry) = (Some(validity), FIRST_RETRY);
                }
                Err(error) => {
                    self.metrics.csr_failures.inc();
                    tracing::warn!(%error, retry_in = ?retry, "no workload certificate");
                    tokio::time::sleep(retry.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
                    self.metrics.csr_retries.inc();
                    retry = retry.saturating_mul(2).min(LAST_RETRY);
                    // A certificate that still holds does not make the loop wait for its next half life.
                    current = None;
                }
            }
        }
    }

    fn restore(&self) -> Option<Validity> {
        let CertificateSource::Authority(authority) = &self.source else {
            return None;
        };
        let kept = PemIdentity::load(&authority.kept).ok()?;
        match kept.install(self.state.secrets()) {
            Ok(validity) => {
                tracing::info!(valid_for = ?remaining(validity), "kept workload certificate is used");
                Some(validity)
            }
            Err(error) => {
                tracing::warn!(%error, "kept workload certificate is not used");
                None
            }
        }
    }

    async fn sleep_till_due(&self, validity: Validity) {
        let due = match &self.source {
            CertificateSource::Authority(_) => {
                validity.renew_at(self.settings.grace_ratio, fastrand::f64() * 2.0 - 1.0)
            }
            // Mounted files are replaced by others: look again soon.
            CertificateSource::Files(_) => SystemTime::now() + CLOCK_CHECK,
        };
        while let Ok(left) = due.duration_since(SystemTime::now()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(CLOCK_CHECK)).await;
        }
    }

    async fn renew(&self) -> Result<Validity, RenewError> {
        match &self.source {
            CertificateSource::Authority(authority) => {
                self.metrics.csr_requests.inc();
                let issued = authority.issue(self.settings.ttl).await?;
                let validity = issued.install(self.state.secrets())?;
                if let Err(error) = issued.save(&authority.kept) {
                    tracing::warn!(%error, "the certificate is not kept over a restart");
                }
                Ok(validity)
            }
            CertificateSource::Files(folder) => {
                let mounted =
                    mounted(folder).inspect_err(|_| self.metrics.file_secret_failures.inc())?;
                Ok(mounted.install(self.state.secrets())?)
            }
        }
    }
}

impl Authority {
    async fn issue(&self, ttl: Duration) -> Result<PemIdentity, RenewError> {
        let (key, csr) = request_for(&self.spiffe_id)?;
        let metadata =
            lateen_xds::structs::from_json(&json!({ "ClusterID": self.cluster_id })).ok();
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr,
            validity_duration: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            metadata,
        });
        request.set_timeout(CALL_TIMEOUT);
        self.way.authorize(request.metadata_mut());
        let mut client = IstioCertificateServiceClient::new(self.way.connect().await?);
        let response =
            client
                .create_certificate(request)
                .await
                .map_err(|status| RenewError::Refused {
                    address: self.way.address().to_owned(),
                    code: status.code(),
                    message: status.message().to_owned(),
                })?;
        split(response.into_inner().cert_chain, key)
    }
}

/// A new key and the request for it.
fn request_for(spiffe_id: &str) -> Result<(KeyPair, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?)];
    let csr = params.serialize_request(&key)?.pem()?;
    Ok((key, csr))
}

/// The answer's parts: leaf, intermediates, and the bundle of roots last.
fn split(mut parts: Vec<String>, key: KeyPair) -> Result<PemIdentity, RenewError> {
    let roots =
        parts
            .pop()
            .filter(|_| !parts.is_empty())
            .ok_or_else(|| CertificateError::Malformed {
                what: "answer of the certificate authority",
                reason: "it needs a certificate and a root".to_owned(),
            })?;
    let chain = parts
        .iter()
        .map(|part| format!("{}\n", part.trim_end()))
        .collect();
    Ok(PemIdentity {
        chain,
        key: key.serialize_pem(),
        roots,
    })
}

fn mounted(folder: &Path) -> Result<PemIdentity, CertificateError> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| CertificateError::File { path, source })
    };
    Ok(PemIdentity {
        chain: read("cert-chain.pem")?,
        key: read("key.pem")?,
        roots: read("root-cert.pem")?,
    })
}

fn remaining(validity: Validity) -> Duration {
    let left = validity
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    Duration::from_secs(left.as_secs())
}

#[cfg(test)]
mod tests;

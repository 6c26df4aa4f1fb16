//! TLS of the control plane's own ports, and certificates it keeps for itself, renewed before they end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::authority::{Authority, AuthorityError, Identity, Subject};
use crate::files;

/// Life of the certificates made here; they are renewed at half of it.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How often the clock is looked at: it may jump, so no timer is trusted for longer.
const CHECK: Duration = Duration::from_secs(60);

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum ServingError {
    /// The certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The parts do not fit together.
    #[error("TLS of the control plane: {0}")]
    Tls(String),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Names of the control plane's certificate: the Service of each revision, in the forms clients use.
#[must_use]
pub fn server_names(
    namespace: &str,
    revision: &str,
    domain: &str,
    custom: &[String],
) -> Vec<String> {
    let mut services = vec!["istiod".to_owned(), "istio-pilot".to_owned()];
    if !revision.is_empty() && revision != "default" {
        services.push(format!("istiod-{revision}"));
    }
    let forms = |service: &String| {
        [
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc.{domain}"),
        ]
    };
    let mut names: Vec<String> = services.iter().flat_map(forms).collect();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.extend(custom.iter().filter(|name| !name.is_empty()).cloned());
    names.dedup();
    names
}

struct Held {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

/// The control plane's serving certificate.
pub struct ServingCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    held: ArcSwap<Held>,
}

impl ServingCertificate {
    /// Makes the first certificate.
    ///
    /// # Errors
    /// [`ServingError`] when a name is no DNS name or address.
    pub fn new(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, ServingError> {
        let held = ArcSwap::from_pointee(make(&authority, &names, SystemTime::now())?);
        Ok(Self {
            authority,
            names,
            held,
        })
    }

    /// Makes a new certificate when half of the old one's life is over; says whether it did.
    ///
    /// # Errors
    /// [`ServingError`] when it cannot be made; the old one stays.
    pub fn renew(&self, now: SystemTime) -> Result<bool, ServingError> {
        if now < self.held.load().renew_at {
            return Ok(false);
        }
        self.held
            .store(Arc::new(make(&self.authority, &self.names, now)?));
        Ok(true)
    }
}

impl std::fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCertificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.held.load().key))
    }
}

/// TLS for the secure ports: clients may show a certificate, and one that is shown must be of this mesh.
///
/// Sessions are not resumed, so a client is checked each time (security case S13).
///
/// # Errors
/// [`ServingError::Tls`] when the roots are unusable.
pub fn server_config(certificate: Arc<ServingCertificate>) -> Result<ServerConfig, ServingError> {
    let tls = |error: &dyn std::fmt::Display| ServingError::Tls(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(certificate.authority.roots().as_bytes()) {
        roots.add(root.map_err(|e| tls(&e))?).map_err(|e| tls(&e))?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| tls(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(&e))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A client certificate kept in a folder, for the operator's tools: `cert-chain.pem`, `key.pem`, `root-cert.pem`.
pub struct ClientFiles {
    authority: Arc<Authority>,
    id: String,
    folder: PathBuf,
    renew_at: SystemTime,
}

impl ClientFiles {
    /// Writes the first certificate for a SPIFFE id.
    ///
    /// # Errors
    /// [`ServingError`] when it cannot be made or written.
    pub fn new(
        authority: Arc<Authority>,
        id: String,
        folder: PathBuf,
    ) -> Result<Self, ServingError> {
        let mut files = Self {
            authority,
            id,
            folder,
            renew_at: SystemTime::UNIX_EPOCH,
        };
        files.renew(SystemTime::now())?;
        Ok(files)
    }

    /// Writes a new certificate when half of the old one's life is over; says whether it did.
    ///
    /// # Errors
    /// [`ServingError`] when it cannot be made or written.
    pub fn renew(&mut self, now: SystemTime) -> Result<bool, ServingError> {
        if now < self.renew_at {
            return Ok(false);
        }
        let made = self
            .authority
            .identity(&Subject::Workload(self.id.clone()), LIFE, now)?;
        let fail = |path: &PathBuf, source| ServingError::File {
            path: path.clone(),
            source,
        };
        files::private_dir(&self.folder).map_err(|e| fail(&self.folder, e))?;
        let roots = self.authority.roots();
        for (name, text, mode) in [
            ("key.pem", made.key.as_str(), 0o600),
            ("cert-chain.pem", &made.chain, 0o600),
            ("root-cert.pem", roots, 0o644),
        ] {
            let path = self.folder.join(name);
            files::write(&path, text, mode).map_err(|e| fail(&path, e))?;
        }
        self.renew_at = half_life(now, made.not_after);
        Ok(true)
    }
}

/// Renews the certificates until the future is dropped.
pub async fn keep_fresh(serving: Arc<ServingCertificate>, mut files: Option<ClientFiles>) {
    let mut ticks = tokio::time::interval(CHECK);
    loop {
        ticks.tick().await;
        let now = SystemTime::now();
        if let Err(error) = serving.renew(now) {
            tracing::error!(%error, "cannot renew the serving certificate");
        }
        if let Some(Err(error)) = files.as_mut().map(|files| files.renew(now)) {
            tracing::error!(%error, "cannot renew the operator's certificate");
        }
    }
}

fn make(authority: &Authority, names: &[String], now: SystemTime) -> Result<Held, ServingError> {
    let made = authority.identity(&Subject::Serving(names.to_vec()), LIFE, now)?;
    let renew_at = half_life(now, made.not_after);
    Ok(Held {
        key: Arc::new(certified(&made)?),
        renew_at,
    })
}

fn certified(made: &Identity) -> Result<CertifiedKey, ServingError> {
    let tls = |error: &dyn std::fmt::Display| ServingError::Tls(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(made.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).map_err(|e| tls(&e))?;
    let provider: CryptoProvider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain.map_err(|e| tls(&e))?, key, &provider).map_err(|e| tls(&e))
}

fn half_life(now: SystemTime, not_after: SystemTime) -> SystemTime {
    now + not_after.duration_since(now).unwrap_or_default() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Config;

    fn authority() -> Arc<Authority> {
        let day = Duration::from_secs(24 * 3600);
        let config = Config {
            plugged: None,
            state: None,
            trust_domain: "td".into(),
            default_life: day,
            max_life: day,
        };
        Arc::new(Authority::open(&config).expect("authority"))
    }

    #[test]
    fn certificates_are_renewed_at_half_life() {
        let names = server_names(
            "istio-system",
            "canary",
            "cluster.local",
            &["mesh.example".to_owned()],
        );
        for name in [
            "istiod.istio-system.svc",
            "istiod-canary.istio-system.svc",
            "istio-pilot.istio-system.svc",
            "mesh.example",
        ] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        let serving = ServingCertificate::new(authority(), names).expect("certificate");
        let first = Arc::clone(&serving.held.load().key);
        let now = SystemTime::now();
        assert!(!serving.renew(now + LIFE / 3).expect("checked"));
        assert!(serving.renew(now + LIFE * 2 / 3).expect("renewed"));
        assert!(!Arc::ptr_eq(&first, &serving.held.load().key));
        server_config(Arc::new(serving)).expect("config");
    }

    #[test]
    fn the_operators_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("tempdir");
        let folder = dir.path().join("operator");
        let mut kept = ClientFiles::new(
            authority(),
            "spiffe://td/ns/istio-system/sa/lateen-operator".into(),
            folder.clone(),
        )
        .expect("written");
        let mode = std::fs::metadata(folder.join("key.pem"))
            .expect("key")
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600);
        let read = || files::read(&folder.join("cert-chain.pem")).expect("chain");
        let first = read();
        assert!(!kept.renew(SystemTime::now()).expect("checked"));
        assert!(kept.renew(SystemTime::now() + LIFE).expect("renewed"));
        assert_ne!(first, read());
    }
}

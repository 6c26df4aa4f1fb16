//! Workload certificates: PEM in, validity and names out, and the file that keeps them over a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lateen_proxy_model::{Identity, TrustBundle};
use lateen_proxy_state::SecretStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Secret that holds the workload's certificate and key.
pub const IDENTITY: &str = "default";
/// Secret that holds the mesh's roots.
pub const ROOTS: &str = "ROOTCA";

/// A certificate with its key and roots, as text.
#[derive(Clone, Serialize, Deserialize)]
pub struct PemIdentity {
    /// Leaf first, then intermediates.
    pub chain: String,
    /// PKCS#8 key of the leaf.
    pub key: String,
    /// Roots of the mesh.
    pub roots: String,
}

/// From when till when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: SystemTime,
    /// Last moment.
    pub not_after: SystemTime,
}

/// What people want to know about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// URI and DNS names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Lifetime.
    pub validity: Validity,
}

/// A certificate that cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// Not PEM, or not what it should hold.
    #[error("{what}: {reason}")]
    Malformed {
        /// Chain, key, roots or certificate.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate do not belong together.
    #[error("certificate and key do not belong together: {0}")]
    Mismatch(rustls::Error),
    /// Its time has passed.
    #[error("certificate has expired")]
    Expired,
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl std::fmt::Debug for PemIdentity {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemIdentity")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

impl PemIdentity {
    /// Checks that chain, key and roots read, belong together and have not expired, and gives them to the data path
    /// as `default` and `ROOTCA`.
    ///
    /// # Errors
    /// Says which part is wrong; then nothing is changed.
    pub fn install(&self, secrets: &SecretStore) -> Result<Validity, CertificateError> {
        let chain = certificates("certificate chain", &self.chain)?;
        let roots = certificates("root certificates", &self.roots)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| malformed("key", &error))?;
        let span = validity(
            chain
                .first()
                .ok_or_else(|| malformed("certificate chain", &"it is empty"))?,
        )?;
        if span.not_after <= SystemTime::now() {
            return Err(CertificateError::Expired);
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(CertificateError::Mismatch)?;
        // The same again must not look like a rotation: TLS settings are compiled anew for each.
        if secrets
            .trust(ROOTS)
            .load()
            .as_ref()
            .is_none_or(|known| known.roots != roots)
        {
            secrets.set_trust(ROOTS, TrustBundle { roots });
        }
        if secrets
            .identity(IDENTITY)
            .load()
            .as_ref()
            .is_none_or(|known| known.chain != chain)
        {
            secrets.set_identity(
                IDENTITY,
                Identity {
                    chain,
                    key,
                    ocsp: None,
                },
            );
        }
        Ok(span)
    }

    /// Reads what [`PemIdentity::save`] wrote.
    ///
    /// # Errors
    /// When the file is absent or is not what was written.
    pub fn load(path: &Path) -> Result<Self, CertificateError> {
        let file = |source| CertificateError::File {
            path: path.to_owned(),
            source,
        };
        let text = fs::read(path).map_err(file)?;
        serde_json::from_slice(&text).map_err(|error| malformed("kept certificate", &error))
    }

    /// Keeps it over a restart of the container: readable by the proxy alone, replaced in one step.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CertificateError> {
        let file = |source| CertificateError::File {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec(self).map_err(|error| malformed("certificate", &error))?;
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(file)?;
        out.write_all(&text)
            .and_then(|()| out.sync_all())
            .map_err(file)?;
        fs::rename(&temporary, path).map_err(file)
    }
}

impl Validity {
    /// True if the certificate is valid at `time`.
    #[must_use]
    pub fn contains(&self, time: SystemTime) -> bool {
        self.not_before <= time && time < self.not_after
    }

    /// When a new one is asked for: when `grace_ratio` of the lifetime is left, moved by up to 1% of the lifetime by
    /// `jitter` in -1..=1, so that pods of one rollout do not come all at once.
    #[must_use]
    pub fn renew_at(&self, grace_ratio: f64, jitter: f64) -> SystemTime {
        let life = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        let left = (grace_ratio + 0.01 * jitter.clamp(-1.0, 1.0)).clamp(0.0, 1.0);
        self.not_after
            .checked_sub(life.mul_f64(left))
            .unwrap_or(self.not_before)
    }
}

/// Reads a certificate's lifetime.
///
/// # Errors
/// When it is no X.509 certificate.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| malformed("certificate", &error))?;
    let at = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let span = parsed.validity();
    Ok(Validity {
        not_before: at(span.not_before),
        not_after: at(span.not_after),
    })
}

/// Reads what people want to know about a certificate.
///
/// # Errors
/// When it is no X.509 certificate.
pub fn certificate_info(
    certificate: &CertificateDer<'_>,
) -> Result<CertificateInfo, CertificateError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| malformed("certificate", &error))?;
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default()
    {
        match name {
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
            _ => {}
        }
    }
    let serial = parsed
        .raw_serial()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(CertificateInfo {
        serial,
        uris,
        dns_names,
        validity: validity(certificate)?,
    })
}

pub(crate) fn certificates(
    what: &'static str,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let list = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(what, &error))?;
    if list.is_empty() {
        return Err(malformed(what, &"no certificate in it"));
    }
    Ok(list)
}

fn malformed(what: &'static str, reason: &dyn std::fmt::Display) -> CertificateError {
    CertificateError::Malformed {
        what,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::Validity;

    #[test]
    fn renewal_is_at_half_life_within_a_percent() {
        let start = SystemTime::UNIX_EPOCH;
        let day = Validity {
            not_before: start,
            not_after: start + Duration::from_secs(100_000),
        };
        for (ratio, jitter, seconds) in [
            (0.5, 0.0, 50_000),
            (0.5, 1.0, 49_000),
            (0.5, -1.0, 51_000),
            (1.0, 1.0, 0),
            (0.0, -1.0, 100_000),
        ] {
            let at = day
                .renew_at(ratio, jitter)
                .duration_since(start)
                .expect("after")
                .as_secs_f64();
            assert!(
                (at - f64::from(seconds)).abs() < 1.0,
                "{ratio} {jitter}: {at}"
            );
        }
    }
}

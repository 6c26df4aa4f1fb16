//! The certificate authority: self-signed and kept in a folder, or plugged in from files (contract xds.md §9).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::files;

/// Life of a self-signed root.
pub const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates are valid from a little before they are made, for clocks that are behind.
const SKEW: Duration = Duration::from_secs(120);
const CERT: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const ROOT: &str = "root-cert.pem";
const CHAIN: &str = "cert-chain.pem";

/// Where the CA comes from and how long its certificates live.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of a plugged-in CA: `ca-cert.pem`, `ca-key.pem`, `root-cert.pem`, `cert-chain.pem`. Used when it holds `ca-key.pem`.
    pub plugged: Option<PathBuf>,
    /// Folder in which a self-signed root is kept over restarts; without one it lives in memory alone.
    pub state: Option<PathBuf>,
    /// Trust domain, named in the self-signed root.
    pub trust_domain: String,
    /// Life of a certificate when the request names none.
    pub default_life: Duration,
    /// Longest life of a certificate.
    pub max_life: Duration,
}

/// Why there is no CA.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "{0} is readable by other users: run chmod 600 on it, or remove the folder to make a new root"
    )]
    Permissions(PathBuf),
    /// A file holds something else than it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A workload: one SPIFFE id.
    Workload(String),
    /// The control plane's own ports: DNS names and addresses.
    Serving(Vec<String>),
}

/// A CA that signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    intermediates: Vec<String>,
    roots: String,
    not_after: SystemTime,
    default_life: Duration,
    max_life: Duration,
}

/// A key with its certificate.
pub struct Identity {
    /// PKCS#8 PEM of the key.
    pub key: String,
    /// PEM chain: leaf first, then intermediates, without the root.
    pub chain: String,
    /// When the leaf ends.
    pub not_after: SystemTime,
}

/// A signed certificate.
pub struct Signed {
    /// PEM: leaf, each intermediate, and the bundle of roots last.
    pub chain: Vec<String>,
    /// When the leaf ends.
    pub not_after: SystemTime,
}

impl Authority {
    /// Loads the plugged-in CA, or the kept root, or makes a new root and keeps it.
    ///
    /// # Errors
    /// [`AuthorityError`] names the file and what to do about it.
    pub fn open(config: &Config) -> Result<Self, AuthorityError> {
        if let Some(folder) = config
            .plugged
            .as_deref()
            .filter(|folder| folder.join(KEY).exists())
        {
            if files::readable_by_others(&folder.join(KEY)).unwrap_or(false) {
                tracing::warn!(path = %folder.join(KEY).display(), "the key of the plugged-in CA is readable by other users");
            }
            return Self::load(folder, config);
        }
        let Some(folder) = &config.state else {
            return Self::create(config).map(|(authority, _)| authority);
        };
        let key = folder.join(KEY);
        if key.exists() {
            let shared =
                files::readable_by_others(&key).map_err(|source| AuthorityError::File {
                    path: key.clone(),
                    source,
                })?;
            return if shared {
                Err(AuthorityError::Permissions(key))
            } else {
                Self::load(folder, config)
            };
        }
        let (authority, key) = Self::create(config)?;
        keep(folder, &authority.roots, &key)?;
        tracing::info!(folder = %folder.display(), "made a self-signed root");
        Ok(authority)
    }

    /// PEM of the roots that peers are checked against.
    #[must_use]
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// When the signing certificate ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a key for a subject. `life` is capped; zero or absent means the default.
    ///
    /// # Errors
    /// [`AuthorityError::Make`] when the subject is no name for a certificate, or signing fails.
    pub fn sign(
        &self,
        key: &impl PublicKeyData,
        subject: &Subject,
        life: Option<Duration>,
        now: SystemTime,
    ) -> Result<Signed, AuthorityError> {
        let life = life
            .filter(|life| !life.is_zero())
            .unwrap_or(self.default_life)
            .min(self.max_life);
        let not_after = now
            .checked_add(life)
            .unwrap_or(self.not_after)
            .min(self.not_after);
        let mut params = leaf(subject)?;
        params.not_before = OffsetDateTime::from(now.checked_sub(SKEW).unwrap_or(now));
        params.not_after = OffsetDateTime::from(not_after);
        let certificate = params.signed_by(key, &self.issuer)?;
        let mut chain = vec![certificate.pem()];
        chain.extend(self.intermediates.iter().cloned());
        chain.push(self.roots.clone());
        Ok(Signed { chain, not_after })
    }

    /// Makes a key and signs it, for the control plane itself.
    ///
    /// # Errors
    /// As [`Authority::sign`].
    pub fn identity(
        &self,
        subject: &Subject,
        life: Duration,
        now: SystemTime,
    ) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut signed = self.sign(&key, subject, Some(life), now)?;
        signed.chain.pop();
        Ok(Identity {
            key: key.serialize_pem(),
            chain: signed.chain.concat(),
            not_after: signed.not_after,
        })
    }

    fn create(config: &Config) -> Result<(Self, String), AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let now = SystemTime::now();
        let not_after = now + ROOT_LIFE;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, config.trust_domain.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(random_serial());
        params.not_before = OffsetDateTime::from(now - SKEW);
        params.not_after = OffsetDateTime::from(not_after);
        let roots = params.self_signed(&key)?.pem();
        let pem = key.serialize_pem();
        let issuer = Issuer::new(params, key);
        let authority = Self {
            issuer,
            intermediates: Vec::new(),
            roots,
            not_after,
            default_life: config.default_life,
            max_life: config.max_life,
        };
        Ok((authority, pem))
    }

    fn load(folder: &Path, config: &Config) -> Result<Self, AuthorityError> {
        let read = |name: &str| {
            let path = folder.join(name);
            files::read(&path).map_err(|source| AuthorityError::File { path, source })
        };
        let wrong = |name: &str, reason: String| AuthorityError::Content {
            path: folder.join(name),
            reason,
        };
        let (cert, roots) = (read(CERT)?, read(ROOT)?);
        let key = KeyPair::from_pem(&read(KEY)?)
            .map_err(|e| wrong(KEY, format!("no private key in PEM: {e}")))?;
        let own = certificates(&cert).map_err(|reason| wrong(CERT, reason))?;
        let root_list = certificates(&roots).map_err(|reason| wrong(ROOT, reason))?;
        let not_after =
            check_ca(&own, &key, SystemTime::now()).map_err(|reason| wrong(CERT, reason))?;
        let chain_file = folder.join(CHAIN);
        let mut chain = if chain_file.exists() {
            certificates(&read(CHAIN)?).map_err(|reason| wrong(CHAIN, reason))?
        } else {
            own.clone()
        };
        chain.retain(|certificate| !root_list.contains(certificate));
        check_path(own.first(), &chain, &root_list).map_err(|reason| wrong(ROOT, reason))?;
        let first = own
            .first()
            .ok_or_else(|| wrong(CERT, "holds no certificate".to_owned()))?;
        let issuer =
            Issuer::from_ca_cert_der(first, key).map_err(|e| wrong(CERT, e.to_string()))?;
        let intermediates = chain
            .iter()
            .map(|certificate| to_pem(certificate))
            .collect();
        Ok(Self {
            issuer,
            intermediates,
            roots,
            not_after,
            default_life: config.default_life,
            max_life: config.max_life,
        })
    }
}

fn keep(folder: &Path, roots: &str, key: &str) -> Result<(), AuthorityError> {
    let fail = |path: &Path, source| AuthorityError::File {
        path: path.to_owned(),
        source,
    };
    files::private_dir(folder).map_err(|e| fail(folder, e))?;
    // The key last: a folder with a key is a complete one.
    for (name, text, mode) in [
        (CERT, roots, 0o644),
        (ROOT, roots, 0o644),
        (KEY, key, 0o600),
    ] {
        let path = folder.join(name);
        files::write(&path, text, mode).map_err(|e| fail(&path, e))?;
    }
    Ok(())
}

fn leaf(subject: &Subject) -> Result<CertificateParams, rcgen::Error> {
    let mut params = match subject {
        Subject::Workload(id) => {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
            params
        }
        Subject::Serving(names) => CertificateParams::new(names.clone())?,
    };
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.serial_number = Some(random_serial());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 126 random bits, positive (RFC 5280 §4.1.2.2).
fn random_serial() -> SerialNumber {
    let mut bytes = uuid::Uuid::new_v4().into_bytes();
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let list = list.map_err(|e| format!("no certificates in PEM: {e}"))?;
    if list.is_empty() {
        Err("holds no certificate".to_owned())
    } else {
        Ok(list)
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|e| format!("malformed certificate: {e}"))
}

/// The first certificate is a valid CA for the key; gives its end.
fn check_ca(
    own: &[CertificateDer<'_>],
    key: &KeyPair,
    now: SystemTime,
) -> Result<SystemTime, String> {
    let certificate = parse(own.first().map(|der| der.as_ref()).unwrap_or_default())?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(format!("its key is not the one in {KEY}"));
    }
    if !certificate.is_ca() {
        return Err("is no CA certificate (basic constraints CA:TRUE is missing)".to_owned());
    }
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or_default();
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    if not_after <= now {
        return Err(format!("ended at {}", certificate.validity().not_after));
    }
    Ok(not_after)
}

/// The CA is a root, or is signed along the chain up to one.
fn check_path(
    own: Option<&CertificateDer<'_>>,
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
) -> Result<(), String> {
    let Some(own) = own else {
        return Err("there is no CA certificate".to_owned());
    };
    let mut current = own;
    for _ in 0..=chain.len() {
        if roots.contains(current) {
            return Ok(());
        }
        let certificate = parse(current)?;
        let signs = |candidate: &&CertificateDer<'_>| {
            parse(candidate).is_ok_and(|parent| {
                parent.subject() == certificate.issuer()
                    && certificate
                        .verify_signature(Some(parent.public_key()))
                        .is_ok()
            })
        };
        match roots
            .iter()
            .find(signs)
            .or_else(|| chain.iter().find(signs))
        {
            Some(parent) => current = parent,
            None => break,
        }
    }
    Err(format!("no root in it leads to {CERT}"))
}

/// PEM of one certificate.
fn to_pem(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (i, byte) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            pem.push('\n');
        }
        pem.push(byte);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests;

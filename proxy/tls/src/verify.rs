//! Verifiers that compare names with the configuration's matchers instead of a host name.

use std::sync::Arc;

use lateen_proxy_model::{PeerChecks, SanKind, SanMatcher};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::peer::Names;
use crate::reason::unfit;

/// Verifies a server's chain and names.
#[derive(Debug)]
pub(crate) struct SanServerVerifier {
    /// `None` trusts every chain (`insecureSkipVerify`).
    pub(crate) roots: Option<Arc<RootCertStore>>,
    pub(crate) sans: Vec<SanMatcher>,
    pub(crate) checks: PeerChecks,
    /// The certificate must also cover the server name asked for.
    pub(crate) match_server_name: bool,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SanServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match_key(end_entity, &self.checks)?;
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )?;
        if self.match_server_name {
            verify_server_name(&certificate, server_name)
                .map_err(|_| unnamed(end_entity, server_name))?;
        }
        match_names(end_entity, &self.sans)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Verifies a client's chain with webpki, then its key and its names.
#[derive(Debug)]
pub(crate) struct SanClientVerifier {
    /// `None` trusts every chain whose key or hash is known.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    sans: Vec<SanMatcher>,
    checks: PeerChecks,
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl SanClientVerifier {
    /// `required`: a client without certificate is refused.
    pub(crate) fn new(
        roots: Option<Arc<RootCertStore>>,
        (sans, checks): (Vec<SanMatcher>, PeerChecks),
        required: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let chain = roots.map(|roots| {
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let mut builder = builder.with_crls(checks.crls.iter().cloned());
            if checks.leaf_crl_only {
                builder = builder.only_check_end_entity_revocation();
            }
            builder
                .build()
                .map_err(|error| Error::General(error.to_string()))
        });
        Ok(Self {
            chain: chain.transpose()?,
            sans,
            checks,
            required,
            provider,
        })
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if let Some(chain) = &self.chain {
            let depth = intermediates.len();
            if (self.checks.max_depth).is_some_and(|most| depth > most as usize) {
                return Err(unfit(
                    "X509_verify_cert: certificate verification error at depth 1: unable to get local issuer certificate",
                ));
            }
            match chain.verify_client_cert(leaf, intermediates, now) {
                Err(error) if self.checks.allow_expired && is_expired(&error) => {
                    let then = last_moment(leaf).unwrap_or(now);
                    chain.verify_client_cert(leaf, intermediates, then)?;
                }
                outcome => {
                    outcome?;
                }
            }
        }
        match_key(leaf, &self.checks)?;
        match_names(leaf, &self.sans)
    }
}

impl ClientCertVerifier for SanClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients of a mesh have one certificate; naming roots would only lengthen the handshake.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.check(end_entity, intermediates, now) {
            Err(error) if !self.checks.accept_untrusted => Err(error),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn is_expired(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    )
}

/// The last second in which a certificate is valid.
fn last_moment(leaf: &CertificateDer<'_>) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).ok()?;
    Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        seconds,
    )))
}

/// The certificate or its key must be a known one, where any is known.
fn match_key(leaf: &CertificateDer<'_>, checks: &PeerChecks) -> Result<(), Error> {
    if checks.spki.is_empty() && checks.hashes.is_empty() {
        return Ok(());
    }
    let digest = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let own = digest(leaf);
    if checks.hashes.iter().any(|hash| own.as_ref() == hash) {
        return Ok(());
    }
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let own = digest(certificate.public_key().raw);
    if checks.spki.iter().any(|hash| own.as_ref() == hash) {
        return Ok(());
    }
    Err(unfit("cert hash and spki"))
}

/// The certificate is not for the server that was asked for.
fn unnamed(leaf: &CertificateDer<'_>, wanted: &ServerName<'_>) -> Error {
    let listed = X509Certificate::from_der(leaf)
        .map(|(_, certificate)| Names::of(&certificate).listed())
        .unwrap_or_default();
    let wanted = wanted.to_str();
    unfit(format!(
        "verify SAN list, expected SANs: [{wanted}], certificate SANs: [{listed}]"
    ))
}

/// One name must satisfy one matcher; no matchers ask for nothing.
fn match_names(leaf: &CertificateDer<'_>, sans: &[SanMatcher]) -> Result<(), Error> {
    if sans.is_empty() {
        return Ok(());
    }
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let names = Names::of(&certificate);
    let matches = |kind: &SanKind, name: &str| sans.iter().any(|san| san.matches_name(kind, name));
    let held = names.uris.iter().any(|name| matches(&SanKind::Uri, name))
        || names.dns.iter().any(|name| matches(&SanKind::Dns, name))
        || names.others.iter().any(|(kind, name)| matches(kind, name));
    if held {
        Ok(())
    } else {
        Err(unfit(format!(
            "SAN matcher, certificate SANs are [{}]",
            names.listed()
        )))
    }
}

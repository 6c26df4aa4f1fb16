//! Verifiers that compare names with the configuration's matchers instead of a host name.

use std::sync::Arc;

use lateen_proxy_model::SanMatcher;
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

/// Verifies a server's chain and names.
#[derive(Debug)]
pub(crate) struct SanServerVerifier {
    /// `None` trusts every chain (`insecureSkipVerify`).
    pub(crate) roots: Option<Arc<RootCertStore>>,
    pub(crate) sans: Vec<SanMatcher>,
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
            verify_server_name(&certificate, server_name)?;
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

/// Verifies a client's chain with webpki, then its names.
#[derive(Debug)]
pub(crate) struct SanClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    sans: Vec<SanMatcher>,
}

impl SanClientVerifier {
    /// `required`: a client without certificate is refused.
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        sans: Vec<SanMatcher>,
        required: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = if required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        let chain = builder
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, sans })
    }
}

impl ClientCertVerifier for SanClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
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
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        match_names(end_entity, &self.sans)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// One name must satisfy one matcher; no matchers ask for nothing.
fn match_names(leaf: &CertificateDer<'_>, sans: &[SanMatcher]) -> Result<(), Error> {
    if sans.is_empty() {
        return Ok(());
    }
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let names = Names::of(&certificate);
    let held = names
        .uris
        .iter()
        .chain(&names.dns)
        .any(|name| sans.iter().any(|san| san.matches(name)));
    if held {
        Ok(())
    } else {
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }
}

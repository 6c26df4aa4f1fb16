//! Why a handshake failed, in the words of Envoy's logs: what reads such logs knows these texts.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

use crate::TlsError;

/// What a check of our own found wrong with a certificate.
#[derive(Debug)]
struct Unfit(Box<str>);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

/// The certificate fails a check of our own.
pub(crate) fn unfit(text: impl Into<Box<str>>) -> Error {
    let text = OtherError(Arc::new(Unfit(text.into())));
    Error::InvalidCertificate(CertificateError::Other(text))
}

impl TlsError {
    /// As Envoy's logs name it; empty where the other side just went away.
    pub fn reason(&self) -> String {
        let Self::Handshake(error) = self else {
            return self.to_string();
        };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let Some(inner) = inner else {
            return match error.kind() {
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                    String::new()
                }
                _ => self.to_string(),
            };
        };
        match text(inner) {
            Some((number, name)) => format!(
                "TLS_error:|{}:SSL routines:OPENSSL_internal:{name}:TLS_error_end",
                0x1000_0000 + number
            ),
            None => format!("TLS_error:|{inner}:TLS_error_end"),
        }
    }
}

/// BoringSSL's number and name of a failure, and what Envoy adds.
fn text(error: &Error) -> Option<(u32, String)> {
    use rustls::PeerIncompatible as Incompatible;
    Some(match error {
        Error::AlertReceived(alert) => {
            let number = u32::from(u8::from(*alert));
            (1000 + number, alert_name(number)?.to_owned())
        }
        Error::NoCertificatesPresented => (
            192,
            "PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate"
                .to_owned(),
        ),
        Error::InvalidCertificate(error) => {
            let text = format!(
                "CERTIFICATE_VERIFY_FAILED:verify cert failed: {}",
                unfitness(error)
            );
            (125, text)
        }
        Error::PeerIncompatible(
            Incompatible::NoCipherSuitesInCommon
            | Incompatible::NoKxGroupsInCommon
            | Incompatible::NoSignatureSchemesInCommon,
        ) => (184, "NO_SHARED_CIPHER".to_owned()),
        Error::PeerIncompatible(
            Incompatible::ServerDoesNotSupportTls12Or13
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::Tls12NotOffered
            | Incompatible::Tls12NotOfferedOrEnabled
            | Incompatible::Tls13RequiredForQuic
            | Incompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => (240, "UNSUPPORTED_PROTOCOL".to_owned()),
        Error::InappropriateHandshakeMessage { .. } | Error::InappropriateMessage { .. } => {
            (223, "UNEXPECTED_MESSAGE".to_owned())
        }
        Error::InvalidMessage(_) => (247, "WRONG_VERSION_NUMBER".to_owned()),
        _ => return None,
    })
}

/// What is wrong with a certificate.
fn unfitness(error: &CertificateError) -> String {
    let found = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid"
        }
        CertificateError::UnknownIssuer => "unable to get local issuer certificate",
        CertificateError::Revoked => {
            "certificate revocation check against provided CRLs failed: certificate revoked"
        }
        CertificateError::UnknownRevocationStatus => {
            "certificate revocation check against provided CRLs failed: unable to get certificate CRL"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsupported certificate purpose"
        }
        CertificateError::BadSignature => "certificate signature failure",
        CertificateError::Other(other) => {
            return match other.0.downcast_ref::<Unfit>() {
                Some(text) => text.to_string(),
                None => other
                    .source()
                    .map_or_else(|| other.to_string(), |it| it.to_string()),
            };
        }
        other => return other.to_string(),
    };
    format!("X509_verify_cert: certificate verification error at depth 0: {found}")
}

/// BoringSSL's names of alerts.
fn alert_name(number: u32) -> Option<&'static str> {
    Some(match number {
        10 => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        20 => "SSLV3_ALERT_BAD_RECORD_MAC",
        22 => "TLSV1_ALERT_RECORD_OVERFLOW",
        40 => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        42 => "SSLV3_ALERT_BAD_CERTIFICATE",
        43 => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        44 => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        45 => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        46 => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        47 => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        48 => "TLSV1_ALERT_UNKNOWN_CA",
        49 => "TLSV1_ALERT_ACCESS_DENIED",
        50 => "TLSV1_ALERT_DECODE_ERROR",
        51 => "TLSV1_ALERT_DECRYPT_ERROR",
        70 => "TLSV1_ALERT_PROTOCOL_VERSION",
        71 => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        80 => "TLSV1_ALERT_INTERNAL_ERROR",
        86 => "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
        90 => "TLSV1_ALERT_USER_CANCELLED",
        109 => "TLSV1_ALERT_MISSING_EXTENSION",
        110 => "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
        112 => "TLSV1_ALERT_UNRECOGNIZED_NAME",
        113 => "TLSV1_ALERT_BAD_CERTIFICATE_STATUS_RESPONSE",
        115 => "TLSV1_ALERT_UNKNOWN_PSK_IDENTITY",
        116 => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        120 => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        _ => return None,
    })
}

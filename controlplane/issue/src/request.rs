//! Certificate signing requests: only the public key and the proof that the caller holds its private half are taken from them.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

/// Largest request that is read, in bytes of PEM.
pub const MAX_BYTES: usize = 64 * 1024;

/// Why a request is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// More than [`MAX_BYTES`].
    #[error("certificate signing request is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// No request in PEM.
    #[error("no PEM block CERTIFICATE REQUEST: {0}")]
    Pem(String),
    /// The block holds something else.
    #[error("malformed certificate signing request: {0}")]
    Malformed(String),
    /// Signed by another key than the one inside.
    #[error("the certificate signing request is not signed by its own key")]
    Signature,
    /// A key that is too weak or of a kind that is not supported.
    #[error("public key: {0}; use RSA of 2048 to 8192 bits or ECDSA P-256 or P-384")]
    Key(String),
}

/// Reads a request and checks its signature. Names and extensions it asks for are not looked at.
///
/// # Errors
/// [`RequestError`] says what is wrong.
pub fn public_key(pem: &str) -> Result<SubjectPublicKeyInfo, RequestError> {
    if pem.len() > MAX_BYTES {
        return Err(RequestError::TooLarge);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| RequestError::Pem(e.to_string()))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|e| RequestError::Malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(RequestError::Malformed(
            "bytes follow the request".to_owned(),
        ));
    }
    request
        .verify_signature()
        .map_err(|_| RequestError::Signature)?;
    let key = &request.certification_request_info.subject_pki;
    check_strength(key.parsed().map_err(|e| RequestError::Key(e.to_string()))?)?;
    SubjectPublicKeyInfo::from_der(key.raw).map_err(|e| RequestError::Key(e.to_string()))
}

fn check_strength(key: PublicKey<'_>) -> Result<(), RequestError> {
    match key {
        PublicKey::RSA(rsa) if (2048..=8192).contains(&rsa.key_size()) => Ok(()),
        PublicKey::EC(point) if matches!(point.key_size(), 256 | 384) => Ok(()),
        PublicKey::RSA(rsa) => Err(RequestError::Key(format!("RSA of {} bits", rsa.key_size()))),
        PublicKey::EC(point) => Err(RequestError::Key(format!(
            "elliptic curve of {} bits",
            point.key_size()
        ))),
        _ => Err(RequestError::Key(
            "of a kind that is not supported".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn keys_of_both_kinds() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).expect("key");
            assert!(
                public_key(&testing::request(&key, &[])).is_ok(),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn bad_requests_are_refused() {
        let key = rcgen::KeyPair::generate().expect("key");
        let good = testing::request(&key, &[]);
        assert!(matches!(public_key(""), Err(RequestError::Pem(_))));
        assert!(matches!(
            public_key(&good.replace("REQUEST", "BOGUS")),
            Err(RequestError::Pem(_))
        ));
        assert_eq!(
            public_key(&"x".repeat(MAX_BYTES + 1)),
            Err(RequestError::TooLarge)
        );
        let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).expect("der");
        let pem = |bytes: &[u8]| testing::pem("CERTIFICATE REQUEST", bytes);
        assert!(matches!(
            public_key(&pem(&der[..der.len() / 2])),
            Err(RequestError::Malformed(_))
        ));
        let mut trailing = der.to_vec();
        trailing.push(0);
        assert!(matches!(
            public_key(&pem(&trailing)),
            Err(RequestError::Malformed(_))
        ));
        let mut forged = der.to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(matches!(
            public_key(&pem(&forged)),
            Err(RequestError::Signature | RequestError::Malformed(_))
        ));
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
        assert!(matches!(
            public_key(&testing::request(&ed25519, &[])),
            Err(RequestError::Key(_))
        ));
    }
}

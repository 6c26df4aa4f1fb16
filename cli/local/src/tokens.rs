//! Service account tokens of a mesh: one signing key, its public half as a key set for lateend, and a token a pod.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use thiserror::Error;

use crate::state::{private_dir, write_atomic};

/// Issuer of the tokens, as in a cluster.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Audience of tokens for the control plane.
pub(crate) const AUDIENCE: &str = "istio-ca";
/// Shortest and longest life of a token; the shortest is Kubernetes's own.
const LIFE: std::ops::RangeInclusive<u64> = 600..=86_400;
/// Life of a token whose volume names none.
pub(crate) const DEFAULT_LIFE: u64 = 3600;

/// The signing key of a mesh.
pub(crate) struct TokenIssuer {
    key: EncodingKey,
    key_id: String,
    point: Vec<u8>,
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// Namespace of the service account and the pod.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Name and unique id of the pod, when it is for one.
    pub pod: Option<(String, String)>,
}

/// Why tokens cannot be made.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// The key could not be made or read.
    #[error("signing key of the mesh: {0}")]
    Key(String),
    /// Signing failed.
    #[error("token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

impl TokenIssuer {
    /// Reads the mesh's key, or makes one (ECDSA P-256) and keeps it with mode 0600.
    ///
    /// # Errors
    /// [`TokenError::Key`] when the file cannot be read or written or holds no such key.
    pub(crate) fn open(path: &Path) -> Result<Self, TokenError> {
        let fail = |e: &dyn std::fmt::Display| TokenError::Key(format!("{}: {e}", path.display()));
        let pair = if path.exists() {
            let pem = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
            KeyPair::from_pem(&pem).map_err(|e| fail(&e))?
        } else {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| fail(&e))?;
            if let Some(parent) = path.parent() {
                private_dir(parent).map_err(|e| fail(&e))?;
            }
            write_atomic(path, pair.serialize_pem().as_bytes(), 0o600).map_err(|e| fail(&e))?;
            pair
        };
        let point = pair.der_bytes().to_vec();
        let x = point.get(1..33).ok_or_else(|| fail(&"not a P-256 key"))?;
        let key_id = URL_SAFE_NO_PAD.encode(x.get(..12).unwrap_or_default());
        Ok(Self {
            key: EncodingKey::from_ec_der(&pair.serialize_der()),
            key_id,
            point,
        })
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    #[must_use]
    pub(crate) fn key_set(&self) -> Value {
        let part = |range: std::ops::Range<usize>| {
            URL_SAFE_NO_PAD.encode(self.point.get(range).unwrap_or_default())
        };
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "kid": self.key_id, "x": part(1..33), "y": part(33..65),
        }] })
    }

    /// Value of the control plane's `JWT_RULE`: whom it believes and whose key it checks with.
    #[must_use]
    pub(crate) fn rule(&self) -> String {
        json!({ "issuer": ISSUER, "jwks": self.key_set().to_string(), "audiences": [AUDIENCE] })
            .to_string()
    }

    /// A token for a service account, with the claims a cluster writes.
    ///
    /// # Errors
    /// [`TokenError::Sign`] when the key cannot sign.
    pub(crate) fn issue(
        &self,
        subject: &Subject,
        audiences: &[String],
        seconds: u64,
        now: SystemTime,
    ) -> Result<String, TokenError> {
        let now = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        let mut kubernetes = json!({
            "namespace": subject.namespace,
            "serviceaccount": { "name": subject.service_account, "uid": format!("{}.{}", subject.namespace, subject.service_account) },
        });
        if let (Some((name, uid)), Some(map)) = (&subject.pod, kubernetes.as_object_mut()) {
            map.insert("pod".to_owned(), json!({ "name": name, "uid": uid }));
        }
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{}:{}", subject.namespace, subject.service_account),
            "aud": audiences,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(clamp(seconds)),
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": kubernetes,
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}

/// Time after which a token of this life is written anew: four fifths of it.
#[must_use]
pub(crate) fn renewal(seconds: u64) -> Duration {
    Duration::from_secs(clamp(seconds) / 5 * 4)
}

fn clamp(seconds: u64) -> u64 {
    seconds.clamp(*LIFE.start(), *LIFE.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{DecodingKey, Validation};

    #[test]
    fn a_token_verifies_with_the_published_key_and_the_key_is_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("identity/signing.pem");
        let issuer = TokenIssuer::open(&path).expect("issuer");
        assert_eq!(
            TokenIssuer::open(&path).expect("again").key_set(),
            issuer.key_set()
        );
        let subject = Subject {
            namespace: "default".to_owned(),
            service_account: "bookinfo-reviews".to_owned(),
            pod: Some(("reviews-1".to_owned(), "u-1".to_owned())),
        };
        let token = issuer
            .issue(&subject, &[AUDIENCE.to_owned()], 43_200, SystemTime::now())
            .expect("token");
        let rule: Value = serde_json::from_str(&issuer.rule()).expect("rule");
        let keys: JwkSet =
            serde_json::from_str(rule["jwks"].as_str().expect("jwks")).expect("key set");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        let key = DecodingKey::from_jwk(keys.keys.first().expect("one key")).expect("key");
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation)
            .expect("valid")
            .claims;
        assert_eq!(
            claims["sub"],
            "system:serviceaccount:default:bookinfo-reviews"
        );
        assert_eq!(claims["kubernetes.io"]["pod"]["name"], "reviews-1");
        assert_eq!(
            claims["exp"].as_u64(),
            claims["iat"].as_u64().map(|t| t + 43_200)
        );
    }
}

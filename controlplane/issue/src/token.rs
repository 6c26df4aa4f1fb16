//! Bearer tokens, checked against a JWT rule as pilot-discovery's `JWT_RULE` gives it.

use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use lateen_api::identity::SpiffeId;
use lateen_controlplane_model::caller::{AuthError, Caller, CallerSource};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Largest token that is read, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Clocks may differ by this many seconds.
const LEEWAY: u64 = 5;
/// Audience that is asked for when the rule names none.
pub const AUDIENCE: &str = "istio-ca";

/// Why a rule is refused.
#[derive(Debug, Error)]
pub enum RuleError {
    /// It is no JSON of a rule.
    #[error("JWT_RULE: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is missing or not supported.
    #[error("JWT_RULE: field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    audiences: Vec<String>,
    jwks: Option<Value>,
    #[serde(alias = "jwks_uri")]
    jwks_uri: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

/// Checks tokens: issuer, audience, signature, time.
pub struct TokenRule {
    keys: Vec<Key>,
    trust_domain: String,
}

impl TokenRule {
    /// Reads a rule: issuer, audiences (default `istio-ca`) and the keys inline.
    ///
    /// # Errors
    /// [`RuleError`] names the field.
    pub fn parse(json: &str, trust_domain: &str) -> Result<Self, RuleError> {
        let raw: RawRule = serde_json::from_str(json)?;
        let field = |field, reason: &str| RuleError::Field {
            field,
            reason: reason.to_owned(),
        };
        if raw.issuer.is_empty() {
            return Err(field("issuer", "is missing"));
        }
        if raw.jwks_uri.is_some() {
            return Err(field(
                "jwksUri",
                "is not supported: give the keys inline in jwks",
            ));
        }
        let set: JwkSet = match raw.jwks {
            None => return Err(field("jwks", "is missing: give the keys inline")),
            Some(Value::String(text)) => serde_json::from_str(&text)?,
            Some(value) => serde_json::from_value(value)?,
        };
        let audiences = if raw.audiences.is_empty() {
            vec![AUDIENCE.to_owned()]
        } else {
            raw.audiences
        };
        let keys = set.keys.iter().map(|jwk| {
            let algorithms = algorithms(&jwk.algorithm).ok_or_else(|| {
                field(
                    "jwks",
                    "holds a key that is neither RSA nor EC P-256 or P-384",
                )
            })?;
            let mut validation = Validation::new(Algorithm::RS256);
            validation.algorithms = algorithms;
            validation.set_issuer(&[&raw.issuer]);
            validation.set_audience(&audiences);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.validate_nbf = true;
            validation.leeway = LEEWAY;
            let key = DecodingKey::from_jwk(jwk).map_err(|e| field("jwks", &e.to_string()))?;
            Ok(Key {
                id: jwk.common.key_id.clone(),
                key,
                validation,
            })
        });
        let keys = keys.collect::<Result<Vec<_>, RuleError>>()?;
        if keys.is_empty() {
            return Err(field("jwks", "holds no key"));
        }
        Ok(Self {
            keys,
            trust_domain: trust_domain.to_owned(),
        })
    }

    /// The caller of a token whose subject is `system:serviceaccount:<namespace>:<service account>`.
    ///
    /// # Errors
    /// [`AuthError::Token`] when the token is not accepted, [`AuthError::Identity`] when the subject holds no names.
    pub fn caller(&self, token: &str) -> Result<Caller, AuthError> {
        let wrong = |reason: &str| AuthError::Token(reason.to_owned());
        if token.len() > MAX_BYTES {
            return Err(wrong("is too large"));
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|e| AuthError::Token(e.to_string()))?;
        let mut error = wrong("no key of the rule fits");
        for key in &self.keys {
            let named = match (&header.kid, &key.id) {
                (Some(wanted), Some(id)) => wanted == id,
                _ => true,
            };
            if !named || !key.validation.algorithms.contains(&header.alg) {
                continue;
            }
            match jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation) {
                Ok(data) => return self.service_account(&data.claims.sub),
                Err(e) => error = AuthError::Token(e.to_string()),
            }
        }
        Err(error)
    }

    fn service_account(&self, subject: &str) -> Result<Caller, AuthError> {
        let parts = subject
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'));
        let (namespace, account) = parts
            .ok_or_else(|| AuthError::Token("its subject is no service account".to_owned()))?;
        Ok(Caller {
            id: SpiffeId::new(&self.trust_domain, namespace, account)?,
            source: CallerSource::Token,
        })
    }
}

/// Algorithms a key may be used with: never a symmetric one, never those of another family.
fn algorithms(key: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    use jsonwebtoken::jwk::EllipticCurve;
    match key {
        AlgorithmParameters::RSA(_) => {
            Some(vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512])
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Some(vec![Algorithm::ES256])
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => {
            Some(vec![Algorithm::ES384])
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::PublicKeyData;
    use serde_json::json;

    use super::*;

    /// A signer of tokens for tests, with its rule.
    pub(crate) struct Signer {
        key: rcgen::KeyPair,
    }

    impl Signer {
        pub(crate) fn new() -> Self {
            Self {
                key: rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key"),
            }
        }

        pub(crate) fn rule(&self) -> String {
            let point = self.key.der_bytes();
            let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
            let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k1", "x": part(1..33), "y": part(33..65)}]});
            json!({"issuer": "https://mesh", "jwks": jwks.to_string(), "audiences": ["istio-ca"]})
                .to_string()
        }

        pub(crate) fn claims(namespace: &str, account: &str) -> Value {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs();
            let sub = format!("system:serviceaccount:{namespace}:{account}");
            json!({"iss": "https://mesh", "aud": ["istio-ca"], "sub": sub, "exp": now + 600, "nbf": now})
        }

        pub(crate) fn token(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some("k1".to_owned());
            jsonwebtoken::encode(
                &header,
                claims,
                &EncodingKey::from_ec_der(&self.key.serialize_der()),
            )
            .expect("token")
        }
    }

    #[test]
    fn a_service_account_token_names_the_caller() {
        let signer = Signer::new();
        let rule = TokenRule::parse(&signer.rule(), "cluster.local").expect("rule");
        let caller = rule
            .caller(&signer.token(&Signer::claims("default", "reviews")))
            .expect("accepted");
        assert_eq!(
            caller.to_string(),
            "spiffe://cluster.local/ns/default/sa/reviews"
        );
    }

    #[test]
    fn tokens_that_are_refused() {
        let signer = Signer::new();
        let rule = TokenRule::parse(&signer.rule(), "cluster.local").expect("rule");
        let with = |key: &str, value: Value| {
            let mut claims = Signer::claims("default", "reviews");
            claims[key] = value;
            rule.caller(&signer.token(&claims))
        };
        assert!(with("aud", json!(["other"])).is_err(), "audience");
        assert!(with("aud", Value::Null).is_err(), "no audience");
        assert!(with("exp", json!(1_000)).is_err(), "expired");
        assert!(with("exp", Value::Null).is_err(), "no expiry");
        assert!(with("nbf", json!(99_999_999_999_u64)).is_err(), "not yet");
        assert!(with("iss", json!("https://other")).is_err(), "issuer");
        assert!(
            with("sub", json!("system:node:x")).is_err(),
            "no service account"
        );
        assert!(
            with("sub", json!("system:serviceaccount:default:a/../b")).is_err(),
            "path in the name"
        );
        assert!(
            with("sub", json!("system:serviceaccount:default:a\u{0}b")).is_err(),
            "NUL in the name"
        );
        assert!(
            rule.caller(&Signer::new().token(&Signer::claims("default", "reviews")))
                .is_err(),
            "another key"
        );
        assert!(
            rule.caller("a.b.c").is_err()
                && rule.caller("").is_err()
                && rule.caller(&"a".repeat(MAX_BYTES + 1)).is_err()
        );
        let point = signer.key.der_bytes();
        let confused = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &Signer::claims("a", "b"),
            &EncodingKey::from_secret(point),
        );
        assert!(
            rule.caller(&confused.expect("token")).is_err(),
            "a public key is no shared secret"
        );
    }

    #[test]
    fn rules_that_are_refused() {
        for (rule, part) in [
            ("{", "JWT_RULE"),
            (r#"{"jwks": "{\"keys\": []}"}"#, "issuer"),
            (r#"{"issuer": "x"}"#, "field jwks"),
            (r#"{"issuer": "x", "jwksUri": "https://x"}"#, "jwksUri"),
            (
                r#"{"issuer": "x", "jwks": "{\"keys\": []}"}"#,
                "holds no key",
            ),
            (
                r#"{"issuer": "x", "jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}"#,
                "neither RSA nor EC",
            ),
            (r#"{"issuer": "x", "fromHeaders": []}"#, "fromHeaders"),
        ] {
            let error = TokenRule::parse(rule, "td").err().expect(rule).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}

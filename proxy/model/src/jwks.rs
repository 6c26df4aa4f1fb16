//! JSON Web Key Sets (RFC 7517, RFC 7518, RFC 8037): keys that tokens are signed with, parsed once.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// Longest text of a key set, bytes.
const MAX_TEXT: usize = 1024 * 1024;
/// Keys of a set that are read.
const MAX_KEYS: usize = 1000;

/// Base64url, with or without padding.
pub const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    Rs(Digest),
    /// RSASSA-PSS.
    Ps(Digest),
    /// ECDSA on the curve that goes with the digest.
    Es(Digest),
    /// HMAC.
    Hs(Digest),
    /// Ed25519.
    EdDsa,
}

/// SHA-2 by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// 256.
    Sha256,
    /// 384.
    Sha384,
    /// 512.
    Sha512,
}

const DIGESTS: [(Digest, &str); 3] = [
    (Digest::Sha256, "256"),
    (Digest::Sha384, "384"),
    (Digest::Sha512, "512"),
];

/// A set of keys.
#[derive(Debug)]
pub struct Jwks {
    keys: Vec<Jwk>,
}

/// Why a set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// No JSON object with a list `keys`.
    #[error("the key set is no JSON object with a list of keys")]
    Shape,
    /// Too large.
    #[error("the key set is too large")]
    TooLarge,
    /// No key can be used.
    #[error("Jwks doesn't have any valid public key")]
    NoKey,
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// No key has the id and algorithm of the token.
    NoSuchKey,
    /// No key that has them made the signature.
    Wrong,
}

struct Jwk {
    kid: Option<Box<str>>,
    alg: Option<Box<str>>,
    /// The key for each algorithm it can be used with.
    keys: Vec<(JwtAlgorithm, Key)>,
}

enum Key {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl JwtAlgorithm {
    /// The algorithm of a name such as `RS256`.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::EdDsa);
        }
        let (kind, bits) = name.split_at_checked(2)?;
        let (digest, _) = DIGESTS.into_iter().find(|(_, text)| *text == bits)?;
        match kind {
            "RS" => Some(Self::Rs(digest)),
            "PS" => Some(Self::Ps(digest)),
            "ES" => Some(Self::Es(digest)),
            "HS" => Some(Self::Hs(digest)),
            _ => None,
        }
    }
}

impl Jwks {
    /// Reads a key set. Keys that cannot be used are left out.
    ///
    /// # Errors
    /// When no key is left.
    pub fn parse(text: &str) -> Result<Self, JwksError> {
        if text.len() > MAX_TEXT {
            return Err(JwksError::TooLarge);
        }
        let set: Value = serde_json::from_str(text).map_err(|_| JwksError::Shape)?;
        let list = set.get("keys").and_then(Value::as_array);
        let list = list.ok_or(JwksError::Shape)?;
        if list.len() > MAX_KEYS {
            return Err(JwksError::TooLarge);
        }
        let keys: Vec<Jwk> = list.iter().filter_map(Jwk::parse).collect();
        if keys.is_empty() {
            return Err(JwksError::NoKey);
        }
        Ok(Self { keys })
    }

    /// Verifies the signature of a token. `alg` is the algorithm as its header names it, `kid` the key's id.
    ///
    /// # Errors
    /// When no key fits, or none that fits made the signature.
    pub fn verify(
        &self,
        (alg, algorithm): (&str, JwtAlgorithm),
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let mut error = SignatureError::NoSuchKey;
        for key in &self.keys {
            let other_id = matches!((&key.kid, kid), (Some(own), Some(kid)) if **own != *kid);
            if other_id || key.alg.as_deref().is_some_and(|own| own != alg) {
                continue;
            }
            error = SignatureError::Wrong;
            let mut usable = key.keys.iter().filter(|(own, _)| *own == algorithm);
            if usable.any(|(_, key)| key.made(message, signature)) {
                return Ok(());
            }
        }
        Err(error)
    }
}

impl Key {
    fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

impl Jwk {
    fn parse(value: &Value) -> Option<Self> {
        let fields = value.as_object()?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let filled = |name: &str| text(name).filter(|text| !text.is_empty());
        let keys = match text("kty")? {
            "RSA" => rsa(fields)?,
            "EC" => elliptic(fields)?,
            "OKP" => edwards(fields)?,
            "oct" => secret(fields)?,
            _ => return None,
        };
        Some(Self {
            kid: filled("kid").map(Into::into),
            alg: filled("alg").map(Into::into),
            keys,
        })
    }
}

fn bytes(fields: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    BASE64_URL.decode(fields.get(name)?.as_str()?).ok()
}

/// Numbers may come with zeros before them.
fn number(fields: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let bytes = bytes(fields, name)?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes.get(start..)?.to_vec())
}

fn rsa(fields: &Map<String, Value>) -> Option<Vec<(JwtAlgorithm, Key)>> {
    use Digest::{Sha256, Sha384, Sha512};
    const PARAMETERS: [(JwtAlgorithm, &RsaParameters); 6] = [
        (
            JwtAlgorithm::Rs(Sha256),
            &signature::RSA_PKCS1_2048_8192_SHA256,
        ),
        (
            JwtAlgorithm::Rs(Sha384),
            &signature::RSA_PKCS1_2048_8192_SHA384,
        ),
        (
            JwtAlgorithm::Rs(Sha512),
            &signature::RSA_PKCS1_2048_8192_SHA512,
        ),
        (
            JwtAlgorithm::Ps(Sha256),
            &signature::RSA_PSS_2048_8192_SHA256,
        ),
        (
            JwtAlgorithm::Ps(Sha384),
            &signature::RSA_PSS_2048_8192_SHA384,
        ),
        (
            JwtAlgorithm::Ps(Sha512),
            &signature::RSA_PSS_2048_8192_SHA512,
        ),
    ];
    let components = signature::RsaPublicKeyComponents {
        n: number(fields, "n")?,
        e: number(fields, "e")?,
    };
    let wanted = fields.get("alg").and_then(Value::as_str);
    let wanted = wanted.and_then(JwtAlgorithm::parse);
    let mut keys = Vec::new();
    for (algorithm, parameters) in PARAMETERS {
        if wanted.is_none_or(|wanted| wanted == algorithm) {
            let key = components.to_parsed_public_key(parameters).ok()?;
            keys.push((algorithm, Key::Public(key)));
        }
    }
    Some(keys)
}

fn elliptic(fields: &Map<String, Value>) -> Option<Vec<(JwtAlgorithm, Key)>> {
    let (digest, length, algorithm): (_, _, &'static dyn VerificationAlgorithm) =
        match fields.get("crv")?.as_str()? {
            "P-256" => (Digest::Sha256, 32, &signature::ECDSA_P256_SHA256_FIXED),
            "P-384" => (Digest::Sha384, 48, &signature::ECDSA_P384_SHA384_FIXED),
            "P-521" => (Digest::Sha512, 66, &signature::ECDSA_P521_SHA512_FIXED),
            _ => return None,
        };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = bytes(fields, name)?;
        let missing = usize::checked_sub(length, coordinate.len())?;
        point.extend(std::iter::repeat_n(0, missing));
        point.extend(coordinate);
    }
    let key = ParsedPublicKey::new(algorithm, point).ok()?;
    Some(vec![(JwtAlgorithm::Es(digest), Key::Public(key))])
}

fn edwards(fields: &Map<String, Value>) -> Option<Vec<(JwtAlgorithm, Key)>> {
    if fields.get("crv")?.as_str()? != "Ed25519" {
        return None;
    }
    let key = ParsedPublicKey::new(&signature::ED25519, bytes(fields, "x")?).ok()?;
    Some(vec![(JwtAlgorithm::EdDsa, Key::Public(key))])
}

fn secret(fields: &Map<String, Value>) -> Option<Vec<(JwtAlgorithm, Key)>> {
    let secret = bytes(fields, "k").filter(|secret| !secret.is_empty())?;
    let key = |digest, algorithm| {
        (
            JwtAlgorithm::Hs(digest),
            Key::Secret(Box::new(hmac::Key::new(algorithm, &secret))),
        )
    };
    Some(vec![
        key(Digest::Sha256, hmac::HMAC_SHA256),
        key(Digest::Sha384, hmac::HMAC_SHA384),
        key(Digest::Sha512, hmac::HMAC_SHA512),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7515, appendix A.1: a token signed with HMAC.
    const HS_KEY: &str = r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}"#;
    const HS_INPUT: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const HS_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    // RFC 7515, appendix A.3: the same, signed with ECDSA on P-256.
    const ES_KEY: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    const ES_INPUT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const ES_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn check(
        keys: &str,
        alg: &str,
        kid: Option<&str>,
        input: &str,
        text: &str,
    ) -> Result<(), SignatureError> {
        let keys = Jwks::parse(keys).expect("keys");
        let signature = BASE64_URL.decode(text).expect("base64");
        let algorithm = JwtAlgorithm::parse(alg).expect("algorithm");
        keys.verify((alg, algorithm), kid, input.as_bytes(), &signature)
    }

    #[test]
    fn signatures_of_the_standard_are_accepted() {
        assert_eq!(check(HS_KEY, "HS256", None, HS_INPUT, HS_SIGNATURE), Ok(()));
        assert_eq!(
            check(ES_KEY, "ES256", Some("a"), ES_INPUT, ES_SIGNATURE),
            Ok(())
        );
    }

    #[test]
    fn other_keys_algorithms_and_texts_are_not() {
        let wrong = Err(SignatureError::Wrong);
        assert_eq!(check(HS_KEY, "HS256", None, ES_INPUT, HS_SIGNATURE), wrong);
        assert_eq!(check(ES_KEY, "HS256", None, ES_INPUT, ES_SIGNATURE), wrong);
        assert_eq!(
            check(ES_KEY, "ES256", Some("b"), ES_INPUT, ES_SIGNATURE),
            Err(SignatureError::NoSuchKey)
        );
        assert_eq!(JwtAlgorithm::parse("none"), None);
    }

    #[test]
    fn sets_without_a_key_are_refused() {
        for (text, error) in [
            ("", JwksError::Shape),
            (r#"{"keys":{}}"#, JwksError::Shape),
            (r#"{"keys":[]}"#, JwksError::NoKey),
            (
                r#"{"keys":[{"kty":"RSA","n":"","e":"AQAB"}]}"#,
                JwksError::NoKey,
            ),
            (
                r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#,
                JwksError::NoKey,
            ),
        ] {
            assert_eq!(Jwks::parse(text).unwrap_err(), error, "{text}");
        }
    }
}

//! JSON Web Key Sets (RFC 7517): whether each key has what its type needs, and whether it gives a secret away.

use serde_json::{Map, Value};

/// What a key set is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// All keys are public.
    Public,
    /// The key with this number, counted from 0, is private or symmetric.
    Secret(usize),
}

/// Curves of the types EC and OKP.
const CURVES: [&str; 7] = [
    "P-256", "P-384", "P-521", "Ed25519", "Ed448", "X25519", "X448",
];

/// Reads a key set or a single key.
pub(super) fn check(text: &str) -> Result<Keys, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let Value::Object(object) = value else {
        return Err("it is not a JSON object".to_owned());
    };
    let keys = match object.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(_) => return Err("`keys` is not a list".to_owned()),
        None => {
            return Ok(if key(&object)? {
                Keys::Secret(0)
            } else {
                Keys::Public
            });
        }
    };
    let mut found = Keys::Public;
    for (i, value) in keys.iter().enumerate() {
        let Value::Object(object) = value else {
            return Err(format!("the key {i} is not a JSON object"));
        };
        let secret = key(object).map_err(|reason| format!("the key {i}: {reason}"))?;
        if secret && found == Keys::Public {
            found = Keys::Secret(i);
        }
    }
    Ok(found)
}

/// Whether a key is secret, or what is wrong with it.
fn key(object: &Map<String, Value>) -> Result<bool, String> {
    let kty = match object.get("kty") {
        Some(Value::String(kty)) => kty.as_str(),
        _ => return Err("it has no `kty`".to_owned()),
    };
    let (curve, members): (bool, &[&str]) = match kty {
        "RSA" => (false, &["n", "e"]),
        "EC" => (true, &["x", "y"]),
        "OKP" => (true, &["x"]),
        "oct" => (false, &["k"]),
        other => {
            return Err(format!(
                "its `kty` is `{other}`: RSA, EC, OKP and oct are known"
            ));
        }
    };
    if curve {
        match object.get("crv") {
            Some(Value::String(crv)) if CURVES.contains(&crv.as_str()) => {}
            Some(Value::String(crv)) => return Err(format!("the curve `{crv}` is not known")),
            _ => return Err(format!("a key of the type {kty} needs `crv`")),
        }
    }
    for name in members {
        match object.get(*name) {
            Some(Value::String(text)) if is_base64(text) => {}
            Some(_) => return Err(format!("its `{name}` is not base64url")),
            None => return Err(format!("a key of the type {kty} needs `{name}`")),
        }
    }
    Ok(kty == "oct" || object.contains_key("d"))
}

/// Base64 in either alphabet, padded or not.
fn is_base64(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    text.len() - bare.len() <= 2
        && bare.len() % 4 != 1
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_+/".contains(&byte))
}

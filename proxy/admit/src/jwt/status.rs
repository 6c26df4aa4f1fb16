//! How the examination of a token ended, as Envoy words it.

/// The outcome of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtStatus {
    /// Valid.
    Ok,
    /// No token.
    Missed,
    /// `nbf` is to come.
    NotYetValid,
    /// `exp` has passed.
    Expired,
    /// Not three parts.
    BadFormat,
    /// The header is no base64url.
    HeaderBase64,
    /// The header is no JSON.
    HeaderJson,
    /// No `alg`.
    HeaderAlg,
    /// An `alg` that is not known.
    HeaderUnknownAlg,
    /// `kid` is no text.
    HeaderKid,
    /// The payload is no base64url.
    PayloadBase64,
    /// The payload is no JSON.
    PayloadJson,
    /// `iss` is no text.
    PayloadIss,
    /// `sub` is no text.
    PayloadSub,
    /// `iat` is no number.
    PayloadIat,
    /// `iat` is no time.
    PayloadIatRange,
    /// `nbf` is no number.
    PayloadNbf,
    /// `nbf` is no time.
    PayloadNbfRange,
    /// `exp` is no number.
    PayloadExp,
    /// `exp` is no time.
    PayloadExpRange,
    /// `jti` is no text.
    PayloadJti,
    /// `aud` is neither text nor texts.
    PayloadAud,
    /// The signature is no base64url.
    SignatureBase64,
    /// Another issuer's.
    UnknownIssuer,
    /// For others.
    Audience,
    /// The signature is not the key's, or subject or life time are not accepted.
    Verification,
    /// No key of the token's id and algorithm.
    NoSuchKey,
    /// No keys could be fetched.
    Fetch,
}

impl JwtStatus {
    /// The text, which is the answer's body.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Missed => "Jwt is missing",
            Self::NotYetValid => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::BadFormat => {
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
            }
            Self::HeaderBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::HeaderAlg => "Jwt header [alg] field is required and must be a string",
            Self::HeaderUnknownAlg => "Jwt header [alg] is not supported",
            Self::HeaderKid => "Jwt header [kid] field is not a string",
            Self::PayloadBase64 => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::PayloadIss => "Jwt payload [iss] field is not a string",
            Self::PayloadSub => "Jwt payload [sub] field is not a string",
            Self::PayloadIat => "Jwt payload [iat] field is not an integer",
            Self::PayloadIatRange => "Jwt payload [iat] field is not a positive 64 bit integer",
            Self::PayloadNbf => "Jwt payload [nbf] field is not an integer",
            Self::PayloadNbfRange => "Jwt payload [nbf] field is not a positive 64 bit integer",
            Self::PayloadExp => "Jwt payload [exp] field is not an integer",
            Self::PayloadExpRange => "Jwt payload [exp] field is not a positive 64 bit integer",
            Self::PayloadJti => "Jwt payload [jti] field is not a string",
            Self::PayloadAud => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBase64 => "Jwt signature is an invalid Base64url encoded",
            Self::UnknownIssuer => "Jwt issuer is not configured",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::Verification => "Jwt verification fails",
            Self::NoSuchKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::Fetch => "Jwks remote fetch is failed",
        }
    }

    /// A number for metadata.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The response code details of a refusal.
    pub fn details(self) -> String {
        format!(
            "jwt_authn_access_denied{{{}}}",
            self.text().replace(' ', "_")
        )
    }
}

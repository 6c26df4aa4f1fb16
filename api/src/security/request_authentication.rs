//! RequestAuthentication: which tokens a workload accepts.

use crate::networking::{MatchLabelsSelector, PolicyTargetReference};
use crate::proto::{Duration, message, proto_enum};

message! {
    /// Which tokens a workload accepts. A request without a token passes, one with a bad token does not.
    RequestAuthentication {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// Deprecated: one object that the policy is attached to.
        target_ref as "targetRef": Option<PolicyTargetReference>,
        /// The objects that the policy is attached to, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// The issuers whose tokens are accepted.
        jwt_rules: Vec<JwtRule>,
    }
}

message! {
    /// An issuer and how its tokens are found and checked.
    JwtRule {
        /// The issuer, as the token's `iss` names it.
        issuer: String,
        /// Audiences any of which the token has to name; none means no check.
        audiences: Vec<String>,
        /// Where the issuer's keys are; none means by OpenID discovery. The older spelling `jwks_uri` is the same field.
        jwks_uri: String,
        /// The issuer's keys themselves, a JSON Web Key Set.
        jwks: String,
        /// Headers in which tokens are looked for.
        from_headers: Vec<JwtHeader>,
        /// Query parameters in which tokens are looked for.
        from_params: Vec<String>,
        /// The header that carries the token's payload, base64url-encoded, to the application.
        output_payload_to_header: String,
        /// Cookies in which tokens are looked for.
        from_cookies: Vec<String>,
        /// Whether the token itself goes on to the application.
        forward_original_token: bool,
        /// Claims that are copied to headers.
        output_claim_to_headers: Vec<ClaimToHeader>,
        /// How long fetching the keys may take.
        timeout: Option<Duration>,
        /// Claims whose text is a list separated by spaces, besides `scope` and `permission`.
        space_delimited_claims: Vec<String>,
        /// Whether a request has to carry a token.
        presence: JwtPresence,
    }
}

message! {
    /// A header in which a token is looked for.
    JwtHeader {
        /// The header's name.
        name: String,
        /// What stands before the token, such as `Bearer ` with its space.
        prefix: String,
    }
}

message! {
    /// A claim that is copied to a header.
    ClaimToHeader {
        /// The header's name.
        header: String,
        /// The claim's name; nested names are joined by dots.
        claim: String,
    }
}

proto_enum! {
    /// Whether a request has to carry a token.
    JwtPresence {
        /// A request without one passes.
        Optional = "OPTIONAL" 0,
        /// A request without one is refused.
        Required = "REQUIRED" 1,
    }
}

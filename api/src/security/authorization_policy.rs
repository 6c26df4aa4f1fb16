//! AuthorizationPolicy: which requests a workload admits.

use crate::networking::{MatchLabelsSelector, PolicyTargetReference};
use crate::proto::{message, oneof, proto_enum};

message! {
    /// Which requests a workload admits. Without rules it matches nothing, so that an empty ALLOW denies all.
    AuthorizationPolicy {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// Deprecated: one object that the policy is attached to.
        target_ref as "targetRef": Option<PolicyTargetReference>,
        /// The objects that the policy is attached to, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// The rules, any of which matches; none match nothing.
        rules: Vec<AuthorizationRule>,
        /// What happens to a request that matches.
        action: AuthorizationAction,
    }
    oneof {
        /// Further details of the action.
        action_detail: AuthorizationActionDetail,
    }
}

oneof! {
    /// Further details of an action.
    AuthorizationActionDetail {
        /// The provider that a CUSTOM policy asks.
        provider: Provider(AuthorizationExtensionProvider),
    }
}

message! {
    /// A provider of decisions, defined in the mesh config.
    AuthorizationExtensionProvider {
        /// Its name in `extensionProviders`.
        name: String,
    }
}

message! {
    /// One rule: a source, an operation and all conditions have to match. Without any of them it matches all requests.
    AuthorizationRule {
        /// Where a request comes from, any of these; none means anywhere.
        from: Vec<AuthorizationFrom>,
        /// What is requested, any of these; none means anything.
        to: Vec<AuthorizationTo>,
        /// Further conditions, all of which have to hold.
        when: Vec<AuthorizationCondition>,
    }
}

message! {
    /// One origin of requests.
    AuthorizationFrom {
        /// Its traits, all of which have to match.
        source: Option<AuthorizationSource>,
    }
}

message! {
    /// Traits of an origin; each is a list any of which matches, all traits together have to match.
    AuthorizationSource {
        /// Peer identities of certificates, `<trust domain>/ns/<namespace>/sa/<account>`.
        principals: Vec<String>,
        /// Peer identities that do not match.
        not_principals: Vec<String>,
        /// Request identities of tokens, `<issuer>/<subject>`.
        request_principals: Vec<String>,
        /// Request identities that do not match.
        not_request_principals: Vec<String>,
        /// Namespaces of peers.
        namespaces: Vec<String>,
        /// Namespaces that do not match.
        not_namespaces: Vec<String>,
        /// Service accounts of peers, `<account>` or `<namespace>/<account>`.
        service_accounts: Vec<String>,
        /// Service accounts that do not match.
        not_service_accounts: Vec<String>,
        /// Trust domains of peers.
        trust_domains: Vec<String>,
        /// Trust domains that do not match.
        not_trust_domains: Vec<String>,
        /// Addresses or ranges of the connection's other end.
        ip_blocks: Vec<String>,
        /// Addresses or ranges that do not match.
        not_ip_blocks: Vec<String>,
        /// Addresses or ranges of the original client, by `X-Forwarded-For` or the PROXY protocol.
        remote_ip_blocks: Vec<String>,
        /// Addresses or ranges of the original client that do not match.
        not_remote_ip_blocks: Vec<String>,
    }
}

message! {
    /// One kind of operation.
    AuthorizationTo {
        /// Its traits, all of which have to match.
        operation: Option<AuthorizationOperation>,
    }
}

message! {
    /// Traits of an operation; each is a list any of which matches, all traits together have to match.
    AuthorizationOperation {
        /// Hosts of the request, without regard to case.
        hosts: Vec<String>,
        /// Hosts that do not match.
        not_hosts: Vec<String>,
        /// Ports of the connection.
        ports: Vec<String>,
        /// Ports that do not match.
        not_ports: Vec<String>,
        /// Methods of the request; for gRPC the fully qualified name.
        methods: Vec<String>,
        /// Methods that do not match.
        not_methods: Vec<String>,
        /// Paths of the request, with `{*}` for a segment and `{**}` for any number of them.
        paths: Vec<String>,
        /// Paths that do not match.
        not_paths: Vec<String>,
    }
}

message! {
    /// A further condition.
    AuthorizationCondition {
        /// The attribute, such as `request.headers[x-token]`.
        key: String,
        /// Values any of which matches.
        values: Vec<String>,
        /// Values none of which may match.
        not_values: Vec<String>,
    }
}

proto_enum! {
    /// What happens to a request that matches.
    AuthorizationAction {
        /// It is admitted; all that no ALLOW policy matches is denied.
        Allow = "ALLOW" 0,
        /// It is denied, whatever ALLOW policies say.
        Deny = "DENY" 1,
        /// It is marked for audit.
        Audit = "AUDIT" 2,
        /// A provider decides.
        Custom = "CUSTOM" 3,
    }
}

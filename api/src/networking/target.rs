//! The objects that a policy is attached to, where it does not select workloads by labels.

use crate::proto::message;

message! {
    /// An object that a policy is attached to: a Gateway or GatewayClass of the Gateway API, a Service, or a ServiceEntry.
    PolicyTargetReference {
        /// The object's API group; empty or `core` for a Service.
        group: String,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// The object's namespace; has to be empty, since a policy is attached within its own namespace.
        namespace: String,
    }
}

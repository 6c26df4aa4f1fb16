//! Where traffic goes.

use crate::proto::message;

message! {
    /// A service, or a subset of it.
    Destination {
        /// The service's host; a short name belongs to the namespace of the object that holds it.
        host: String,
        /// A subset that a DestinationRule of the host defines.
        subset: String,
        /// The service's port; may be left out where the service has one.
        port: Option<PortSelector>,
    }
}

message! {
    /// A port by its number.
    PortSelector {
        /// The number, 1..65535.
        number: u32,
    }
}

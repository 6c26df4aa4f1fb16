//! MeshNetworks: which networks the mesh spans, and the gateways between them.

use std::collections::BTreeMap;

use crate::proto::{message, oneof};

message! {
    /// The networks that the mesh spans, by name.
    MeshNetworks {
        /// The networks.
        networks: BTreeMap<String, Network>,
    }
}

message! {
    /// A network: endpoints in it reach each other without a gateway.
    Network {
        /// Which endpoints are in it.
        endpoints: Vec<NetworkEndpoints>,
        /// How others reach it.
        gateways: Vec<NetworkGateway>,
    }
}

message! {
    /// Endpoints of a network.
    NetworkEndpoints {}
    oneof {
        /// How they are known.
        ne: NetworkEndpointsSource,
    }
}

oneof! {
    /// How endpoints of a network are known.
    NetworkEndpointsSource {
        /// By a range of addresses.
        from_cidr: FromCidr(String),
        /// By the cluster that they are from.
        from_registry: FromRegistry(String),
    }
}

message! {
    /// A gateway of a network.
    NetworkGateway {
        /// Its port.
        port: u32,
        /// Where it is, `region/zone/subzone`.
        locality: String,
    }
    oneof {
        /// Its address.
        gw: NetworkGatewayTarget,
    }
}

oneof! {
    /// A gateway's address.
    NetworkGatewayTarget {
        /// The name of a service in the network.
        registry_service_name: RegistryServiceName(String),
        /// An address, or a name that is looked up.
        address: Address(String),
    }
}

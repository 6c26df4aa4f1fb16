//! How providers are spoken to.

use crate::proto::{Duration, message, oneof};

message! {
    /// How a provider is spoken to over HTTP.
    HttpService {
        /// The path.
        path: String,
        /// How long an answer may take; none means 3 s.
        timeout: Option<Duration>,
        /// Headers to add.
        headers: Vec<ProviderHeader>,
    }
}

message! {
    /// How a provider is spoken to over gRPC.
    GrpcService {
        /// How long an answer may take.
        timeout: Option<Duration>,
        /// Metadata to add.
        initial_metadata: Vec<ProviderHeader>,
    }
}

message! {
    /// A header of calls to a provider.
    ProviderHeader {
        /// Its name.
        name: String,
    }
    oneof {
        /// Its value.
        header_value: ProviderHeaderValue,
    }
}

oneof! {
    /// Where the value of a header comes from.
    ProviderHeaderValue {
        /// This text.
        value: Value(String),
        /// A variable of the control plane's environment.
        env_name: EnvName(String),
    }
}

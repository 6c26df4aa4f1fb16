//! TLS towards a service.

use crate::proto::{message, proto_enum};

message! {
    /// TLS towards a service.
    ClientTlsSettings {
        /// Whether and how connections are secured.
        mode: ClientTlsMode,
        /// A file with the client's certificate chain (MUTUAL).
        client_certificate: String,
        /// A file with the client's key (MUTUAL).
        private_key: String,
        /// A file with the authorities that the server's certificate is checked against.
        ca_certificates: String,
        /// The secret that holds key, certificate and authorities, instead of files.
        credential_name: String,
        /// Names of which the server's certificate must bear one.
        subject_alt_names: Vec<String>,
        /// The server name to send.
        sni: String,
        /// Whether the server's certificate goes unchecked; none means no.
        insecure_skip_verify: Option<bool>,
        /// A file with revoked certificates.
        ca_crl: String,
    }
}

proto_enum! {
    /// Whether and how connections to a service are secured.
    ClientTlsMode {
        /// Plain text.
        Disable = "DISABLE" 0,
        /// TLS without a client certificate.
        Simple = "SIMPLE" 1,
        /// TLS with a client certificate from files or a secret.
        Mutual = "MUTUAL" 2,
        /// TLS with the workload's mesh certificate.
        IstioMutual = "ISTIO_MUTUAL" 3,
    }
}

//! TLS of a server on a gateway or a sidecar.

use crate::proto::{message, proto_enum};

message! {
    /// TLS of a server.
    ServerTlsSettings {
        /// Whether plain requests are answered with a redirect to https.
        https_redirect: bool,
        /// Whether and how connections are opened.
        mode: ServerTlsMode,
        /// A file with the server's certificate chain.
        server_certificate: String,
        /// A file with the server's key.
        private_key: String,
        /// A file with the authorities that client certificates are checked against.
        ca_certificates: String,
        /// A file with revoked certificates.
        ca_crl: String,
        /// The secret that holds key and certificate, instead of files.
        credential_name: String,
        /// Several such secrets, for instance one RSA and one ECDSA.
        credential_names: Vec<String>,
        /// The secret that holds the authorities for client certificates.
        ca_cert_credential_name: String,
        /// Several pairs of files.
        tls_certificates: Vec<TlsCertificate>,
        /// Names of which a client's certificate must bear one.
        subject_alt_names: Vec<String>,
        /// Base64 SHA-256 digests of public keys that clients may have.
        verify_certificate_spki: Vec<String>,
        /// Hexadecimal SHA-256 digests of certificates that clients may have.
        verify_certificate_hash: Vec<String>,
        /// The oldest protocol version.
        min_protocol_version: TlsProtocol,
        /// The newest protocol version.
        max_protocol_version: TlsProtocol,
        /// Cipher suites up to TLS 1.2; empty means the default list.
        cipher_suites: Vec<String>,
        /// Whether client certificates go unchecked.
        insecure_skip_verify: Option<bool>,
    }
}

message! {
    /// A pair of certificate and key files.
    TlsCertificate {
        /// A file with the certificate chain.
        server_certificate: String,
        /// A file with the key.
        private_key: String,
        /// A file with authorities.
        ca_certificates: String,
    }
}

proto_enum! {
    /// Whether and how a server opens TLS connections.
    ServerTlsMode {
        /// Not opened, routed by SNI.
        Passthrough = "PASSTHROUGH" 0,
        /// Opened, without a client certificate.
        Simple = "SIMPLE" 1,
        /// Opened, with a client certificate.
        Mutual = "MUTUAL" 2,
        /// Not opened, routed by an SNI that names the service.
        AutoPassthrough = "AUTO_PASSTHROUGH" 3,
        /// Opened with the workload's mesh certificate.
        IstioMutual = "ISTIO_MUTUAL" 4,
        /// Opened, with a client certificate if the client has one.
        OptionalMutual = "OPTIONAL_MUTUAL" 5,
    }
}

proto_enum! {
    /// A TLS version.
    TlsProtocol {
        /// The default range.
        Auto = "TLS_AUTO" 0,
        /// TLS 1.0.
        V1_0 = "TLSV1_0" 1,
        /// TLS 1.1.
        V1_1 = "TLSV1_1" 2,
        /// TLS 1.2.
        V1_2 = "TLSV1_2" 3,
        /// TLS 1.3.
        V1_3 = "TLSV1_3" 4,
    }
}

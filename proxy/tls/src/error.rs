//! What can go wrong in TLS.

/// A failed handshake or unusable settings. `Display` is the text that ends up in access logs.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A secret has not arrived yet.
    #[error("secret {0:?} is not known yet")]
    MissingSecret(Box<str>),
    /// The secret or the settings cannot be used.
    #[error("TLS settings cannot be used: {0}")]
    Settings(#[source] rustls::Error),
    /// The roots hold no usable certificate.
    #[error("trust bundle {0:?} holds no usable certificate")]
    EmptyTrust(Box<str>),
    /// Neither a server name nor an address to put in its place.
    #[error("{0:?} is no server name")]
    ServerName(Box<str>),
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[source] std::io::Error),
    /// The client names no server, and must.
    #[error("the client names no server")]
    NoServerName,
    /// The handshake took too long.
    #[error("TLS handshake timed out")]
    TimedOut,
}

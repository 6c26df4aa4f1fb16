use thiserror::Error;
use tonic::Status;

/// Why a page is not shown.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DebugError {
    /// There is no such page.
    #[error("no debug page {0:?}; /debug lists them")]
    NoPage(String),
    /// The page is about one proxy, and none is named.
    #[error("You must provide a proxyID in the query string")]
    NoProxyId,
    /// The proxy is not connected here.
    #[error("Proxy {0:?} not connected to this control plane instance")]
    NotConnected(String),
    /// The caller may not see it.
    #[error(
        "callers outside the system namespace see config_dump, edsz and ndsz of their own namespace's proxies only"
    )]
    Forbidden,
    /// A dump could not be written.
    #[error("cannot write the dump: {0}")]
    Internal(String),
}

impl From<DebugError> for Status {
    fn from(error: DebugError) -> Self {
        let text = error.to_string();
        match error {
            DebugError::NoPage(_) | DebugError::NotConnected(_) => Self::not_found(text),
            DebugError::NoProxyId => Self::invalid_argument(text),
            DebugError::Forbidden => Self::permission_denied(text),
            DebugError::Internal(_) => Self::internal(text),
        }
    }
}

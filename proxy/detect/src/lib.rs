//! First bytes of a connection to what its filter chain is chosen by: transport, server name, ALPN, HTTP or not.
//!
//! Nothing is consumed: the bytes read come back as [`Detected::head`] and are read again by whoever takes the
//! connection (`lateen_proxy_tls::Rewind`).

mod first_bytes;
mod http;

use std::io;

use bytes::{Bytes, BytesMut};
use lateen_proxy_model::{Inspectors, Transport};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use first_bytes::{ClientHello, FirstBytes};
pub use http::HttpVersion;

/// Most bytes looked at before a connection counts as unknown: one ClientHello of the largest size TLS allows.
const MAX_HEAD: usize = 64 * 1024;

/// What the first bytes say.
#[derive(Debug, Default)]
pub struct Detected {
    /// TLS was seen.
    pub hello: Option<ClientHello>,
    /// HTTP was seen.
    pub http: Option<HttpVersion>,
    /// Bytes read, to be read again.
    pub head: Bytes,
    /// ALPN of the ClientHello, or the HTTP version under the name that chains match.
    pub application: Vec<Vec<u8>>,
}

/// Why a connection cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The client went away first.
    #[error("the client closed the connection before its first bytes")]
    Closed,
    /// No decision in time, and the listener does not go on without.
    #[error("no first bytes within the listener filters' timeout")]
    TimedOut,
    /// A broken or oversized ClientHello.
    #[error("the client's first TLS message cannot be read: {0}")]
    BadHello(#[from] rustls::Error),
    /// Reading failed.
    #[error("reading the first bytes failed: {0}")]
    Io(#[from] io::Error),
}

impl Detected {
    /// Transport for the filter chain match.
    pub fn transport(&self) -> Transport {
        if self.hello.is_some() {
            Transport::Tls
        } else {
            Transport::RawBuffer
        }
    }

    /// Server name of the ClientHello, lower case.
    pub fn server_name(&self) -> Option<&str> {
        self.hello
            .as_ref()
            .and_then(|hello| hello.server_name.as_deref())
    }
}

/// Reads as many first bytes as the inspectors need that are on for `port`, the original destination port.
pub async fn detect<S>(
    stream: &mut S,
    inspectors: &Inspectors,
    port: u16,
) -> Result<Detected, DetectError>
where
    S: AsyncRead + Unpin,
{
    let tls = is_on(inspectors.tls.as_ref(), port);
    let http = is_on(inspectors.http.as_ref(), port);
    if !tls && !http {
        return Ok(Detected::default());
    }
    let mut head = BytesMut::new();
    let reading = read_until_known(stream, &mut head, tls, http);
    let finding = match inspectors.timeout {
        Some(limit) => match tokio::time::timeout(limit, reading).await {
            Ok(finding) => finding?,
            Err(_) if inspectors.continue_on_timeout => FirstBytes::Other,
            Err(_) => return Err(DetectError::TimedOut),
        },
        None => reading.await?,
    };
    Ok(finding.into_detected(head.freeze()))
}

async fn read_until_known<S>(
    stream: &mut S,
    head: &mut BytesMut,
    tls: bool,
    http: bool,
) -> Result<FirstBytes, DetectError>
where
    S: AsyncRead + Unpin,
{
    loop {
        head.reserve(1024);
        if stream.read_buf(head).await? == 0 {
            return if head.is_empty() {
                Err(DetectError::Closed)
            } else {
                Ok(FirstBytes::Other)
            };
        }
        if let Some(finding) = first_bytes::look(head, tls, http)? {
            return Ok(finding);
        }
        if head.len() >= MAX_HEAD {
            return Ok(FirstBytes::Other);
        }
    }
}

/// An inspector is on unless the port lies in one of its half-open `filter_disabled` ranges.
fn is_on(disabled: Option<&Vec<(u32, u32)>>, port: u16) -> bool {
    let port = u32::from(port);
    disabled.is_some_and(|ranges| {
        !ranges
            .iter()
            .any(|(start, end)| (*start..*end).contains(&port))
    })
}

#[cfg(test)]
mod tests;

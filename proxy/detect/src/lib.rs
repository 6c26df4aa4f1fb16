//! First bytes of a connection to what its filter chain is chosen by: transport, server name, ALPN, HTTP or not.
//!
//! Nothing is consumed: the bytes read come back as [`Detected::head`] and are read again by whoever takes the
//! connection (`lateen_proxy_tls::Rewind`).

mod first_bytes;
mod http;
mod proxy_protocol;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use lateen_proxy_model::{ListenerFilter, ListenerFilters, ProxyProtocolRules, Transport};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use first_bytes::ClientHello;
use first_bytes::{Hello, HelloReader};
pub use http::HttpVersion;
use http::Verdict;
use proxy_protocol::Reading;
pub use proxy_protocol::{ProxyError, ProxyHeader};

/// Most bytes of a request line.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes within which a method ends.
const SHORT: usize = 128;

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
    /// Client and destination as the PROXY protocol's header names them.
    pub proxied: Option<(SocketAddr, SocketAddr)>,
    /// Where upstream connections are to come from: the client as it was known then (`None` is the connection's own
    /// end), and a mark.
    pub source: Option<(Option<SocketAddr>, u32)>,
    /// TLVs of that header as dynamic metadata: namespace, key, value.
    pub metadata: Vec<(Arc<str>, Arc<str>, Bytes)>,
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
    /// Too many connections in a time.
    #[error("too many connections in this time")]
    RateLimited,
    /// A PROXY protocol header that cannot be used.
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    /// A ClientHello above the limit.
    #[error("the client's first TLS message is too large")]
    HelloTooLarge,
    /// A broken ClientHello.
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

/// Runs the listener filters on a connection to `port`, in order, reading as many first bytes as they need.
pub async fn detect<S>(
    stream: &mut S,
    filters: &ListenerFilters,
    port: u16,
) -> Result<Detected, DetectError>
where
    S: AsyncRead + Unpin,
{
    let mut reader = Reader {
        head: BytesMut::new(),
        found: Detected::default(),
    };
    let reading = reader.run(stream, filters, port);
    match filters.timeout.filter(|_| !filters.entries.is_empty()) {
        Some(limit) => match tokio::time::timeout(limit, reading).await {
            Ok(outcome) => outcome?,
            Err(_) if filters.continue_on_timeout => {}
            Err(_) => return Err(DetectError::TimedOut),
        },
        None => reading.await?,
    }
    let Reader { head, mut found } = reader;
    found.head = head.freeze();
    Ok(found)
}

/// What was read and found so far; a time out keeps it.
struct Reader {
    head: BytesMut,
    found: Detected,
}

impl Reader {
    async fn run<S>(
        &mut self,
        stream: &mut S,
        filters: &ListenerFilters,
        mut port: u16,
    ) -> Result<(), DetectError>
    where
        S: AsyncRead + Unpin,
    {
        for entry in &filters.entries {
            if entry.disabled.as_ref().is_some_and(|off| off.holds(port)) {
                continue;
            }
            match &entry.filter {
                // The caller has read it: it decides which listener's filters run.
                ListenerFilter::OriginalDst => {}
                ListenerFilter::OriginalSrc(mark) => {
                    let client = self.found.proxied.map(|(client, _)| client);
                    self.found.source = Some((client, *mark));
                }
                ListenerFilter::LocalRateLimit(rate) => {
                    if !rate.take(Instant::now()) {
                        return Err(DetectError::RateLimited);
                    }
                }
                ListenerFilter::ProxyProtocol(rules) => {
                    self.proxy_protocol(stream, rules).await?;
                    if let Some((_, destination)) = self.found.proxied {
                        port = destination.port();
                    }
                }
                ListenerFilter::TlsInspector {
                    max_hello,
                    close_on_error,
                } => self.tls(stream, *max_hello, *close_on_error).await?,
                // TLS that was seen is no HTTP in the clear.
                ListenerFilter::HttpInspector if self.found.hello.is_some() => {}
                ListenerFilter::HttpInspector => self.http(stream).await?,
            }
        }
        Ok(())
    }

    async fn proxy_protocol<S>(
        &mut self,
        stream: &mut S,
        rules: &ProxyProtocolRules,
    ) -> Result<(), DetectError>
    where
        S: AsyncRead + Unpin,
    {
        let header = loop {
            match proxy_protocol::read(&self.head, rules)? {
                Reading::Header(header) => break header,
                Reading::Absent => return Ok(()),
                Reading::NeedsMore => {}
            }
            // A header is short: what it announces bounds what is read for it.
            if !self.more(stream).await? {
                return Err(DetectError::Closed);
            }
        };
        self.head.advance(header.length);
        self.found.proxied = header.addresses;
        for rule in &rules.rules {
            // Of several of one type the last one counts.
            let own = header.tlvs.iter().rfind(|tlv| tlv.kind == rule.kind);
            if let Some(tlv) = own {
                let metadata = (rule.namespace.clone(), rule.key.clone(), tlv.value.clone());
                self.found.metadata.push(metadata);
            }
        }
        Ok(())
    }

    async fn tls<S>(
        &mut self,
        stream: &mut S,
        max_hello: usize,
        close_on_error: bool,
    ) -> Result<(), DetectError>
    where
        S: AsyncRead + Unpin,
    {
        let mut hello = HelloReader::default();
        loop {
            match hello.read(&self.head) {
                Ok(Hello::Tls(hello)) => {
                    self.found.application.clone_from(&hello.alpn);
                    self.found.hello = Some(hello);
                    return Ok(());
                }
                Ok(Hello::Other) => return Ok(()),
                Ok(Hello::NeedsMore) if self.head.len() >= max_hello => {
                    return Err(DetectError::HelloTooLarge);
                }
                Ok(Hello::NeedsMore) => {}
                Err(error) if close_on_error => return Err(error.into()),
                Err(_) => return Ok(()),
            }
            if !self.more(stream).await? {
                return self.ended();
            }
        }
    }

    async fn http<S>(&mut self, stream: &mut S) -> Result<(), DetectError>
    where
        S: AsyncRead + Unpin,
    {
        let mut seen = 0;
        loop {
            // Once the method is whole only the end of its line can decide.
            let fresh = self.head.get(seen..).unwrap_or_default();
            let decides = seen <= SHORT || fresh.contains(&b'\n') || self.head.len() >= MAX_HEAD;
            seen = self.head.len();
            if !decides {
                if !self.more(stream).await? {
                    return self.ended();
                }
                continue;
            }
            match http::http_version(&self.head) {
                Verdict::Http(version) => {
                    self.found.application = vec![version.chain_name().as_bytes().to_vec()];
                    self.found.http = Some(version);
                    return Ok(());
                }
                Verdict::Other => return Ok(()),
                Verdict::NeedsMore if self.head.len() >= MAX_HEAD => return Ok(()),
                Verdict::NeedsMore => {}
            }
            if !self.more(stream).await? {
                return self.ended();
            }
        }
    }

    /// The client sent nothing more: what it sent is served, and nothing is not.
    fn ended(&self) -> Result<(), DetectError> {
        if self.head.is_empty() {
            Err(DetectError::Closed)
        } else {
            Ok(())
        }
    }

    /// Reads on; false at the end.
    async fn more<S>(&mut self, stream: &mut S) -> Result<bool, DetectError>
    where
        S: AsyncRead + Unpin,
    {
        self.head.reserve(1024);
        Ok(stream.read_buf(&mut self.head).await? > 0)
    }
}

#[cfg(test)]
mod tests;

//! Tunnels through HTTP proxies: CONNECT, or POST with the bytes as bodies.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body::Body;
use hyper_util::rt::TokioIo;
use lateen_proxy_model::{Dial, ResetReason, SendFailure, Target, UpstreamConnection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::pipe::{BodyStream, pipe};
use super::request_body::RequestBody;

/// The bytes of a tunnel.
pub trait TunnelStream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> TunnelStream for S {}

/// A tunnel that its proxy has opened.
pub struct Tunnel {
    /// The bytes.
    pub stream: Box<dyn TunnelStream>,
    /// The connection to the proxy.
    pub connection: Arc<UpstreamConnection>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// Asks the proxy at `target` for a tunnel; `head` is CONNECT or POST.
///
/// # Errors
/// When the proxy is not reached, or refuses.
pub async fn open_tunnel<D>(
    dial: &D,
    target: Target<'_>,
    head: Request<()>,
) -> Result<Tunnel, SendFailure>
where
    D: Dial<RequestBody>,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    let connect = head.method() == Method::CONNECT;
    let (writer, body) = pipe();
    let request = head.map(|()| match connect {
        true => RequestBody::empty(),
        false => RequestBody::piped(body),
    });
    let (mut response, connection) = dial.send(target, request).await?;
    // Any success accepts a CONNECT of HTTP/1 (RFC 9110 section 9.3.6); Envoy takes no other one from HTTP/2.
    let accepted = match connection.version {
        Version::HTTP_2 => response.status() == StatusCode::OK,
        _ => response.status().is_success(),
    };
    let refused = |connection: &Arc<UpstreamConnection>| SendFailure {
        reason: ResetReason::ConnectFailure,
        transport: None,
        started: true,
        connection: Some(Arc::clone(connection)),
    };
    if !accepted {
        return Err(refused(&connection));
    }
    let stream: Box<dyn TunnelStream> = if connect {
        let upgraded = hyper::upgrade::on(&mut response).await;
        Box::new(TokioIo::new(upgraded.map_err(|_| refused(&connection))?))
    } else {
        Box::new(BodyStream::new(response.into_body(), writer))
    };
    Ok(Tunnel { stream, connection })
}

//! The client of a case that speaks HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::PROBE;
use super::case::{Case, Step};
use super::observation::{Observation, Reply};
use super::tls::certificates::Certificates;
use super::tls::client;

const LIMIT: Duration = Duration::from_secs(8);

/// Runs the steps of a case as streams of one connection, one after the other.
pub(super) fn run(
    case: &Case,
    certificates: &Certificates,
    stream: std::net::TcpStream,
    seen: &mut Observation,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        let Some(tls) = &case.tls else {
            return connection(case, stream, seen).await;
        };
        let connector = TlsConnector::from(Arc::new(tls.config(certificates)?));
        match timeout(LIMIT, connector.connect(tls.name()?, stream)).await? {
            Ok(stream) => {
                client::describe(stream.get_ref().1, certificates, seen);
                connection(case, stream, seen).await
            }
            Err(error) => {
                client::refused(&error, seen);
                Ok(())
            }
        }
    })
}

async fn connection<S>(case: &Case, stream: S, seen: &mut Observation) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    for step in case.steps() {
        let reply = match timeout(LIMIT, exchange(&mut sender, &step)).await {
            Ok(reply) => reply?,
            Err(_) => Reply::of_status("silent"),
        };
        seen.replies.push(reply);
    }
    seen.end = if case.probe {
        let probe = Step {
            request: Some(format!("GET {PROBE}")),
            ..Step::default()
        };
        let reply = timeout(LIMIT, exchange(&mut sender, &probe)).await??;
        let kept = reply.status.starts_with("HTTP/2");
        if kept { "kept" } else { "closed" }.to_owned()
    } else {
        "not asked".to_owned()
    };
    driver.abort();
    Ok(())
}

async fn exchange(sender: &mut SendRequest<Bytes>, step: &Step) -> Result<Reply> {
    let ended = |error: h2::Error| {
        let reason = error
            .reason()
            .map_or("no reason".to_owned(), |reason| format!("{reason:?}"));
        let kind = if error.is_reset() { "reset" } else { "ended" };
        Reply::of_status(&format!("{kind} {reason}"))
    };
    let request = request(step)?;
    if let Err(error) = futures_ready(sender).await {
        return Ok(ended(error));
    }
    let body = step.body.clone().unwrap_or_default();
    let (response, mut stream) = match sender.send_request(request, body.is_empty()) {
        Ok(sent) => sent,
        Err(error) => return Ok(ended(error)),
    };
    if !body.is_empty() {
        // A stream that is reset already says so in its answer.
        let _ = stream.send_data(body.into(), true);
    }
    let (head, mut data) = match response.await {
        Ok(response) => response.into_parts(),
        Err(error) => return Ok(ended(error)),
    };
    let mut reply = Reply::of_status(&format!("HTTP/2 {}", head.status.as_u16()));
    reply.headers = lines(&head.headers);
    while let Some(part) = data.data().await {
        match part {
            Ok(part) => {
                data.flow_control().release_capacity(part.len())?;
                reply.body.extend_from_slice(&part);
            }
            Err(error) => {
                let text = format!("<{}>", ended(error).status);
                reply.body.extend_from_slice(text.as_bytes());
                return Ok(reply);
            }
        }
    }
    match data.trailers().await {
        Ok(trailers) => reply.trailers = trailers.as_ref().map(lines).unwrap_or_default(),
        Err(error) => reply.trailers = vec![ended(error).status],
    }
    Ok(reply)
}

async fn futures_ready(sender: &mut SendRequest<Bytes>) -> Result<(), h2::Error> {
    std::future::poll_fn(|context| sender.poll_ready(context)).await
}

/// The request of a step; `:scheme`, `:authority` and `host` go where HTTP/2 has them.
fn request(step: &Step) -> Result<Request<()>> {
    let line = step.request.as_deref().context("HTTP/2 needs request")?;
    let Some((method, path)) = line.split_once(' ') else {
        bail!("{line:?} is no request");
    };
    let (mut authority, mut scheme) = ("test", "http");
    let mut headers = HeaderMap::new();
    for header in &step.headers {
        let at = header.get(1..).and_then(|rest| rest.find(':'));
        let (name, value) = header.split_at(at.with_context(|| header.clone())? + 1);
        let value = value.trim_start_matches(':').trim();
        match name {
            ":authority" => authority = value,
            ":scheme" => scheme = value,
            _ => {
                let name = HeaderName::try_from(name)?;
                headers.append(name, HeaderValue::try_from(value)?);
            }
        }
    }
    let target = if method == "CONNECT" {
        authority.to_owned()
    } else {
        format!("{scheme}://{authority}{path}")
    };
    let mut request = Request::builder().method(method).uri(target).body(())?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

//! The client of a case that speaks HTTP/3. Another implementation than the proxy's own: h3.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3::error::StreamError;
use h3_quinn::OpenStreams;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::PROBE;
use super::case::{Case, Step};
use super::observation::{Observation, Reply};
use super::tls::certificates::Certificates;
use super::tls::client::ClientTls;

const LIMIT: Duration = Duration::from_secs(8);

/// The same for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(3);

type Sender = SendRequest<OpenStreams, Bytes>;

/// Runs the steps of a case as streams of one connection, one after the other; gives the client's port.
pub(super) fn run(
    case: &Case,
    certificates: &Certificates,
    port: u16,
    used: &mut BTreeSet<u16>,
    seen: &mut Observation,
) -> Result<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let socket = free_socket(used)?;
    let own = socket.local_addr()?.port();
    runtime.block_on(async {
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            None,
            socket,
            Arc::new(TokioRuntime),
        )?;
        let tls = case.tls.clone().unwrap_or_default();
        let name = tls.sni.clone().unwrap_or_else(|| "127.0.0.1".to_owned());
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let connecting = endpoint.connect_with(config(&tls, certificates)?, server, &name)?;
        match timeout(HANDSHAKE, connecting).await {
            Err(_) => {
                seen.tls = "refused".to_owned();
                seen.end = "refused".to_owned();
                seen.alert = "silent".to_owned();
            }
            Ok(Ok(quic)) => {
                describe(&quic, certificates, seen);
                connection(case, &quic, seen).await?;
                quic.close(VarInt::from_u32(0x100), b"");
                endpoint.wait_idle().await;
            }
            Ok(Err(error)) => {
                seen.tls = "refused".to_owned();
                seen.end = "refused".to_owned();
                seen.alert = closed(&error);
            }
        }
        anyhow::Ok(())
    })?;
    Ok(own)
}

/// A socket on a port that no case had before: lines of the log are told apart by it.
fn free_socket(used: &mut BTreeSet<u16>) -> Result<UdpSocket> {
    let mut again = Vec::new();
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        if used.insert(socket.local_addr()?.port()) {
            return Ok(socket);
        }
        again.push(socket);
    }
}

fn config(tls: &ClientTls, certificates: &Certificates) -> Result<ClientConfig> {
    let own = ClientTls {
        version: 13,
        ..tls.clone()
    };
    let mut config = own.config(certificates)?;
    if config.alpn_protocols.is_empty() {
        config.alpn_protocols = vec![b"h3".to_vec()];
    }
    let mut made = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?));
    let mut transport = TransportConfig::default();
    transport
        .enable_segmentation_offload(false)
        .mtu_discovery_config(None);
    made.transport_config(Arc::new(transport));
    Ok(made)
}

fn describe(quic: &quinn::Connection, certificates: &Certificates, seen: &mut Observation) {
    let data = quic
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok());
    let alpn = data.and_then(|data| data.protocol);
    let chain = quic.peer_identity();
    let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    seen.tls = format!(
        "QUIC alpn {:?} certificate {}",
        alpn.as_deref().map(String::from_utf8_lossy),
        leaf.map_or("none", |leaf| certificates.name(leaf)),
    );
}

/// How a connection ended, without words.
fn closed(error: &quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ApplicationClosed(close)
            if close.error_code.into_inner() == 0x100 =>
        {
            "closed in order".to_owned()
        }
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::NO_ERROR =>
        {
            "closed in order".to_owned()
        }
        quinn::ConnectionError::ApplicationClosed(close) => {
            format!("closed {:#x}", close.error_code.into_inner())
        }
        quinn::ConnectionError::ConnectionClosed(close) => {
            format!("transport closed {:?}", close.error_code)
        }
        other => other.to_string(),
    }
}

async fn connection(case: &Case, quic: &quinn::Connection, seen: &mut Observation) -> Result<()> {
    let (mut driver, mut sender) = match h3::client::builder()
        .send_grease(false)
        .build::<_, _, Bytes>(h3_quinn::Connection::new(quic.clone()))
        .await
    {
        Ok(made) => made,
        Err(_) => {
            // A server judges the client's certificate after the client is done.
            refused(quic, seen);
            return Ok(());
        }
    };
    let driving = tokio::spawn(async move { driver.wait_idle().await });
    for step in case.steps() {
        let work = async {
            match &step.raw {
                Some(raw) => raw_stream(quic, raw).await,
                None => exchange(quic, &mut sender, &step).await,
            }
        };
        let reply = match timeout(LIMIT, work).await {
            Ok(reply) => reply?,
            Err(_) => Reply::of_status("silent"),
        };
        seen.replies.push(reply);
        if step.close {
            // The server says that it goes, or is gone.
            let ended = timeout(LIMIT, quic.closed()).await;
            seen.bytes = ended.map_or("open".to_owned(), |error| closed(&error));
        }
    }
    let late = quic.close_reason().map(|error| closed(&error));
    if late.is_some_and(|text| text.contains("crypto")) {
        refused(quic, seen);
        return Ok(());
    }
    seen.end = if case.probe {
        let probe = Step {
            request: Some(format!("GET {PROBE}")),
            ..Step::default()
        };
        let reply = timeout(LIMIT, exchange(quic, &mut sender, &probe)).await;
        let reply = reply.unwrap_or_else(|_| Ok(Reply::of_status("silent")))?;
        let kept = reply.status.starts_with("HTTP/3");
        if kept { "kept" } else { "closed" }.to_owned()
    } else {
        "not asked".to_owned()
    };
    drop(sender);
    driving.abort();
    Ok(())
}

fn refused(quic: &quinn::Connection, seen: &mut Observation) {
    seen.replies.clear();
    seen.tls = "refused".to_owned();
    seen.end = "refused".to_owned();
    seen.alert = quic
        .close_reason()
        .map_or("open".to_owned(), |error| closed(&error));
}

/// How a stream ended, without words.
fn ended(quic: &quinn::Connection, error: &StreamError) -> Reply {
    let text = match error {
        StreamError::RemoteTerminate { code, .. } => format!("reset {code}"),
        StreamError::StreamError { code, .. } => format!("stream error {code}"),
        StreamError::HeaderTooBig { .. } => "too large for the server's settings".to_owned(),
        other if format!("{other:?}") == "RemoteClosing" => "goaway".to_owned(),
        _ => quic
            .close_reason()
            .map_or("ended".to_owned(), |error| closed(&error)),
    };
    Reply::of_status(&text)
}

async fn exchange(quic: &quinn::Connection, sender: &mut Sender, step: &Step) -> Result<Reply> {
    let mut stream = match sender.send_request(request(step)?).await {
        Ok(stream) => stream,
        Err(error) => return Ok(ended(quic, &error)),
    };
    // A stream that is reset already says so in its answer.
    let body = step
        .body
        .as_deref()
        .map(|body| body.repeat(step.repeat.max(1)));
    if let Some(body) = body.filter(|body| !body.is_empty()) {
        let _ = stream.send_data(body.into()).await;
    }
    if !step.trailers.is_empty() {
        let _ = stream.send_trailers(headers(&step.trailers)?.0).await;
    }
    let _ = stream.finish().await;
    let mut head = loop {
        match stream.recv_response().await {
            Ok(head) if head.status().is_informational() => {}
            Ok(head) => break head,
            Err(error) => return Ok(ended(quic, &error)),
        }
    };
    let mut reply = Reply::of_status(&format!("HTTP/3 {}", head.status().as_u16()));
    reply.headers = lines(head.headers_mut());
    loop {
        match stream.recv_data().await {
            Ok(Some(mut part)) => {
                let part = part.copy_to_bytes(part.remaining());
                reply.body.extend_from_slice(&part);
            }
            Ok(None) => break,
            Err(error) => {
                let text = format!("<{}>", ended(quic, &error).status);
                reply.body.extend_from_slice(text.as_bytes());
                return Ok(reply);
            }
        }
    }
    match stream.recv_trailers().await {
        Ok(trailers) => reply.trailers = trailers.as_ref().map(lines).unwrap_or_default(),
        Err(error) => reply.trailers = vec![ended(quic, &error).status],
    }
    Ok(reply)
}

/// Sends the lines `name value` as the fields of one request, whatever they are, or bytes after `hex`; after `open` the
/// stream is not ended.
async fn raw_stream(quic: &quinn::Connection, raw: &str) -> Result<Reply> {
    let (open, raw) = match raw.strip_prefix("open ") {
        Some(rest) => (true, rest),
        None => (false, raw),
    };
    let bytes = match raw.trim().strip_prefix("hex") {
        Some(digits) => digits
            .split_whitespace()
            .map(|digits| u8::from_str_radix(digits, 16))
            .collect::<Result<Vec<_>, _>>()?,
        None => fields(raw),
    };
    let (mut send, mut recv) = match quic.open_bi().await {
        Ok(stream) => stream,
        Err(error) => return Ok(Reply::of_status(&closed(&error))),
    };
    let _ = send.write_all(&bytes).await;
    if !open {
        let _ = send.finish();
    }
    let text = match recv.read_to_end(1 << 20).await {
        Ok(bytes) if bytes.is_empty() => "nothing".to_owned(),
        Ok(_) => "an answer".to_owned(),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => {
            format!("reset {:#x}", code.into_inner())
        }
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error))) => closed(&error),
        Err(error) => error.to_string(),
    };
    Ok(Reply::of_status(&text))
}

/// A HEADERS frame of literal fields.
fn fields(lines: &str) -> Vec<u8> {
    let mut block = vec![0, 0];
    for line in lines.lines() {
        let (name, value) = line
            .trim_end()
            .split_once(' ')
            .unwrap_or((line.trim_end(), ""));
        number(&mut block, 0x20, 7, name.len());
        block.extend_from_slice(name.as_bytes());
        number(&mut block, 0, 127, value.len());
        block.extend_from_slice(value.as_bytes());
    }
    let mut frame = vec![1];
    // A length of four bytes.
    let length = 0x8000_0000_u32 | u32::try_from(block.len()).unwrap_or_default();
    frame.extend(length.to_be_bytes());
    frame.extend(block);
    frame
}

fn number(to: &mut Vec<u8>, first: u8, most: usize, number: usize) {
    let byte = |value: usize| u8::try_from(value).unwrap_or_default();
    if number < most {
        return to.push(first | byte(number));
    }
    to.push(first | byte(most));
    let mut rest = number - most;
    while rest >= 0x80 {
        to.push(0x80 | byte(rest & 0x7f));
        rest >>= 7;
    }
    to.push(byte(rest));
}

/// The request of a step; `:scheme` and `:authority` go where HTTP/3 has them.
fn request(step: &Step) -> Result<Request<()>> {
    let line = step.request.as_deref().context("HTTP/3 needs request")?;
    let Some((method, path)) = line.split_once(' ') else {
        bail!("{line:?} is no request");
    };
    let (headers, authority, scheme) = headers(&step.headers)?;
    let target = format!("{scheme}://{authority}{path}");
    let mut request = Request::builder().method(method).uri(target).body(())?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn headers(lines: &[String]) -> Result<(HeaderMap, String, String)> {
    let (mut authority, mut scheme) = ("test".to_owned(), "https".to_owned());
    let mut headers = HeaderMap::new();
    for header in lines {
        let at = header.get(1..).and_then(|rest| rest.find(':'));
        let (name, value) = header.split_at(at.with_context(|| header.clone())? + 1);
        let value = value.trim_start_matches(':').trim();
        match name {
            ":authority" => value.clone_into(&mut authority),
            ":scheme" => value.clone_into(&mut scheme),
            _ => {
                let name = HeaderName::try_from(name)?;
                headers.append(name, HeaderValue::try_from(value)?);
            }
        }
    }
    Ok((headers, authority, scheme))
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

//! TLS servers behind a proxy. The words of a name, with points between, say what they are: `tls.CERTIFICATE`, then any of
//! `h2` (speaks HTTP/2), `mutual` (asks for a certificate), `old` (TLS 1.2 alone).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderName, HeaderValue, Request, Response};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::PROBE;
use super::super::case::Answer;
use super::super::upstream::Script;
use super::certificates::Certificates;

struct Server {
    name: String,
    script: Script,
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
    /// Where the same server is without TLS.
    plain: u16,
    http2: bool,
}

/// Starts a server and gives its port; `plain` serves what TLS hid, after a line that tells of the handshake.
pub(in super::super) fn serve(
    name: &str,
    script: Script,
    certificates: Arc<Certificates>,
    plain: u16,
) -> Result<u16> {
    let words: Vec<&str> = name.split('.').collect();
    let has = |word: &str| words.contains(&word);
    let (chain, key) = certificates.identity(words.get(1).context("no certificate named")?)?;
    let versions: &[&SupportedProtocolVersion] = match has("old") {
        true => &[&TLS12],
        false => &[&TLS13, &TLS12],
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match has("mutual") {
        true => builder.with_client_cert_verifier(Arc::new(Anyone)),
        false => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    let alpn: &[u8] = if has("h2") { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let server = Arc::new(Server {
        name: name.to_owned(),
        script,
        certificates,
        acceptor: TlsAcceptor::from(Arc::new(config)),
        plain,
        http2: has("h2"),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener, server)));
    Ok(port)
}

async fn accept(listener: TcpListener, server: Arc<Server>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        // What a proxy does to a connection is no error here.
        tokio::spawn(async move { server.connection(stream).await.ok() });
    }
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream) -> Result<()> {
        let mut stream = self.acceptor.accept(stream).await?;
        let said = self.describe(&stream);
        if self.http2 {
            return self.streams(stream, said).await;
        }
        let mut inner = TcpStream::connect(("127.0.0.1", self.plain)).await?;
        inner.write_all(format!("{said}\n").as_bytes()).await?;
        copy_bidirectional(&mut stream, &mut inner).await?;
        Ok(())
    }

    fn describe(&self, stream: &TlsStream<TcpStream>) -> String {
        let connection = stream.get_ref().1;
        let leaf = connection
            .peer_certificates()
            .and_then(|chain| chain.first());
        format!(
            "tls {:?} sni {:?} alpn {:?} client {}",
            connection.protocol_version(),
            connection.server_name(),
            connection.alpn_protocol().map(String::from_utf8_lossy),
            leaf.map_or("none", |leaf| self.certificates.name(leaf)),
        )
    }

    async fn streams(self: Arc<Self>, stream: TlsStream<TcpStream>, said: String) -> Result<()> {
        let mut connection = server::handshake(stream).await?;
        while let Some(call) = connection.accept().await {
            let (request, answer) = call?;
            let (server, said) = (Arc::clone(&self), said.clone());
            tokio::spawn(async move { server.one(request, answer, &said).await.ok() });
        }
        Ok(())
    }

    async fn one(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        said: &str,
    ) -> Result<()> {
        let (head, mut body) = request.into_parts();
        let mut data = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            data.extend_from_slice(&part);
        }
        let mut headers: Vec<String> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        headers.sort();
        let text = format!(
            "{} {} {} HTTP/2\n  {}\n  body {:?}\n  {said}",
            self.name,
            head.method,
            head.uri,
            headers.join("\n  "),
            String::from_utf8_lossy(&data)
        );
        let answer = match head.uri.path() {
            PROBE => Answer::default(),
            _ => self.script.note(text).unwrap_or_default(),
        };
        tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
        let mut response = Response::builder()
            .status(answer.status)
            .header("x-upstream", &self.name);
        for header in &answer.headers {
            let (name, value) = header.split_once(':').context("no header")?;
            let value = HeaderValue::try_from(value.trim())?;
            response = response.header(HeaderName::try_from(name)?, value);
        }
        let mut stream = respond.send_response(response.body(())?, false)?;
        stream.send_data(answer.body.into(), true)?;
        Ok(())
    }
}

/// Any certificate will do; one must be shown.
#[derive(Debug)]
struct Anyone;

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

//! HTTP/3 of `lateen-proxy` beside the cases that are compared with Envoy: Envoy itself as the client, several workers,
//! clients that move, clients that are hostile, and the end of the process.

#![allow(clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::Request;
use lateen_e2e::hostile::{ANSWER, RawUpstream, Running, lateen};
use lateen_e2e::{differential, workspace};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

const LIMIT: Duration = Duration::from_secs(20);

/// A listener of TCP tells that the proxy is up; routes are the same.
const BOOTSTRAP: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }
static_resources:
  listeners:
    - name: quic
      address: { socket_address: { protocol: UDP, address: 127.0.0.1, port_value: @udp@ } }
      udp_listener_config: { quic_options: {} }
      filter_chains:
        - transport_socket: { name: quic, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport, downstream_tls_context: { common_tls_context: { tls_certificates: [{ certificate_chain: { filename: @DIR@/a.pem }, private_key: { filename: @DIR@/a.key } }] } } } }
          filters: [{ name: http, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: quic, codec_type: HTTP3, max_request_headers_kb: 4, request_headers_timeout: 1s, http3_protocol_options: { allow_extended_connect: true }, upgrade_configs: [{ upgrade_type: websocket }, { upgrade_type: CONNECT }], route_config: @ROUTES@, http_filters: [{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] } }]
    - name: tcp
      address: { socket_address: { address: 127.0.0.1, port_value: @tcp@ } }
      filter_chains:
        - filters: [{ name: http, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: tcp, route_config: @ROUTES@, http_filters: [{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] } }]
  clusters:
    - name: up
      type: STATIC
      load_assignment: { cluster_name: up, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @UPSTREAM@ } } } }] }] }
    - name: echo
      type: STATIC
      load_assignment: { cluster_name: echo, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @ECHO@ } } } }] }] }
"#;

const ROUTES: &str = r#"{ name: all, response_headers_to_add: [{ header: { key: x-protocol, value: "%PROTOCOL%" } }], virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { connect_matcher: {} }, route: { cluster: echo, upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }] } }, { match: { path: /ws }, route: { cluster: echo } }, { match: { prefix: / }, route: { cluster: up } }] }] }"#;

/// Envoy, which speaks HTTP/3 to its cluster.
const ENVOY: &str = r#"
static_resources:
  listeners:
    - name: tcp
      address: { socket_address: { address: 127.0.0.1, port_value: @tcp@ } }
      filter_chains:
        - filters: [{ name: http, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: tcp, route_config: { name: all, virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: up } }] }] }, http_filters: [{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] } }]
  clusters:
    - name: up
      type: STATIC
      transport_socket: { name: envoy.transport_sockets.quic, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport, upstream_tls_context: { sni: a.test, common_tls_context: { validation_context: { trusted_ca: { filename: @CA@ } } } } } }
      typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { http3_protocol_options: {} } } }
      load_assignment: { cluster_name: up, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @QUIC@ } } } }] }] }
"#;

struct Proxy {
    running: Running,
    _upstream: RawUpstream,
    port: u16,
    certificate: CertificateDer<'static>,
    folder: tempfile::TempDir,
}

fn start(workers: &str) -> Proxy {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).expect("written");
    std::fs::write(
        folder.path().join("a.key"),
        made.signing_key.serialize_pem(),
    )
    .expect("written");
    let upstream = RawUpstream::start().expect("an upstream");
    let port = free_udp_port();
    let text = BOOTSTRAP
        .replace("@ROUTES@", ROUTES)
        .replace("@udp@", &port.to_string())
        .replace("@UPSTREAM@", &upstream.port.to_string())
        .replace("@ECHO@", &echo().to_string());
    let mut command = Command::new(lateen());
    command.args(["envoy", "--concurrency", workers, "--drain-time-s", "1"]);
    let running = Running::start(&mut command, &text, &["tcp"], folder.path()).expect("a proxy");
    Proxy {
        running,
        _upstream: upstream,
        port,
        certificate: made.cert.der().clone(),
        folder,
    }
}

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.local_addr().expect("its address").port()
}

/// Runs on a runtime of its own, in bounded time.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let limited = async { tokio::time::timeout(LIMIT * 3, test).await };
    runtime.block_on(limited).expect("the test ends in time");
}

impl Proxy {
    fn endpoint(&self) -> Endpoint {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.enable_early_data = true;
        let config = QuicClientConfig::try_from(tls).expect("a suite");
        let mut endpoint =
            Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a socket");
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
        endpoint
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    async fn connect(&self, endpoint: &Endpoint) -> quinn::Connection {
        let connecting = endpoint
            .connect(self.address(), "a.test")
            .expect("a connection");
        connecting.await.expect("a handshake")
    }

    async fn http(&self, endpoint: &Endpoint) -> (quinn::Connection, Client) {
        let quic = self.connect(endpoint).await;
        let client = client(&quic).await;
        (quic, client)
    }
}

type Client = SendRequest<OpenStreams, Bytes>;

async fn client(quic: &quinn::Connection) -> Client {
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(quic.clone()))
        .await
        .expect("HTTP/3");
    tokio::spawn(async move { driver.wait_idle().await });
    sender
}

async fn get(client: &mut Client, path: &str) -> (u16, String, String) {
    let request = Request::get(format!("https://a.test{path}"))
        .body(())
        .expect("a request");
    let mut stream = client.send_request(request).await.expect("sent");
    stream.finish().await.expect("finished");
    let head = stream.recv_response().await.expect("an answer");
    let mut body = Vec::new();
    while let Some(mut part) = stream.recv_data().await.expect("a body") {
        body.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    let protocol = head
        .headers()
        .get("x-protocol")
        .map(|it| it.to_str().unwrap_or_default().to_owned());
    let body = String::from_utf8_lossy(&body).into_owned();
    (head.status().as_u16(), protocol.unwrap_or_default(), body)
}

fn code(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("ended otherwise: {other}"),
    }
}

#[test]
fn envoy_is_served_as_a_client() {
    let proxy = start("2");
    let folder = tempfile::tempdir().expect("a folder");
    let envoy = differential::envoy_binary(&workspace().join("e2e/differential")).expect("Envoy");
    let text = ENVOY
        .replace(
            "@CA@",
            &proxy.folder.path().join("a.pem").display().to_string(),
        )
        .replace("@QUIC@", &proxy.port.to_string());
    let mut command = Command::new(envoy);
    command.args([
        "--concurrency",
        "1",
        "--use-dynamic-base-id",
        "--log-level",
        "warning",
    ]);
    let envoy = Running::start(&mut command, &text, &["tcp"], folder.path()).expect("Envoy");
    let body = "b".repeat(200_000);
    for (path, sent) in [("/", ""), ("/big", ""), ("/", body.as_str()), ("/", "")] {
        let answer = over_tcp(envoy.ports[0], path, sent);
        assert!(
            answer.starts_with("HTTP/1.1 200"),
            "{path}: {}",
            &answer[..answer.len().min(300)]
        );
        assert!(
            answer.contains("x-protocol: HTTP/3\r\n"),
            "{path}: {}",
            &answer[..300]
        );
        let wanted = if path == "/big" {
            1 << 20
        } else {
            ANSWER.len()
        };
        let (_, got) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(got.len() >= wanted, "{path}: {} bytes", got.len());
    }
}

fn over_tcp(port: u16, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let method = if body.is_empty() { "GET" } else { "POST" };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.write_all(body.as_bytes()).expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn connections_are_shared_by_workers_and_may_move() {
    let proxy = start("3");
    run(async {
        let mut clients = Vec::new();
        for _ in 0..12 {
            let endpoint = proxy.endpoint();
            let (quic, client) = proxy.http(&endpoint).await;
            clients.push((endpoint, quic, client));
        }
        for (endpoint, _, client) in &mut clients {
            assert_eq!(get(client, "/").await.1, "HTTP/3");
            // The client's packets come from another port from now on, as after a change of its network.
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            endpoint.rebind(socket).expect("moved");
            for _ in 0..3 {
                let (status, _, body) = get(client, "/").await;
                assert_eq!((status, body.as_str()), (200, ANSWER));
            }
        }
    });
}

#[test]
fn sessions_resume_with_requests_in_the_first_packet() {
    let proxy = start("1");
    run(async {
        let endpoint = proxy.endpoint();
        let (quic, mut first) = proxy.http(&endpoint).await;
        assert_eq!(get(&mut first, "/").await.0, 200);
        quic.close(VarInt::from_u32(0x100), b"");
        let connecting = endpoint
            .connect(proxy.address(), "a.test")
            .expect("a connection");
        let (quic, accepted) = connecting
            .into_0rtt()
            .unwrap_or_else(|_| panic!("no session"));
        let mut again = client(&quic).await;
        assert_eq!(get(&mut again, "/").await.0, 200);
        assert!(accepted.await, "taken");
    });
}

/// An upstream that accepts an upgrade if there is one, and sends back what comes then.
fn echo() -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let asked = buffer.starts_with(b"GET /ws");
                    let answer: &[u8] = if asked {
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                    } else {
                        &buffer[..count]
                    };
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                    buffer[0] = 0;
                }
            });
        }
    });
    port
}

#[test]
fn other_protocols_go_through_streams() {
    let proxy = start("1");
    let websocket = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/ws"),
    ];
    let connect = [(":method", "CONNECT"), (":authority", "a.test:443")];
    run(async {
        let endpoint = proxy.endpoint();
        let (quic, mut client) = proxy.http(&endpoint).await;
        for head in [&websocket[..], &connect[..]] {
            let (mut send, mut recv) = quic.open_bi().await.expect("a stream");
            send.write_all(&fields(head)).await.expect("sent");
            assert_eq!(frame(&mut recv).await.0, 1, "headers");
            for text in ["first", "second"] {
                let mut data = vec![0, u8::try_from(text.len()).expect("short")];
                data.extend_from_slice(text.as_bytes());
                send.write_all(&data).await.expect("sent");
                assert_eq!(frame(&mut recv).await, (0, text.as_bytes().to_vec()));
            }
            send.finish().expect("finished");
            let rest = recv.read_to_end(1000).await.expect("the end");
            assert!(rest.is_empty(), "{rest:?}");
        }
        assert_eq!(get(&mut client, "/").await.0, 200);
    });
}

/// The next frame, of less than 16 KiB.
async fn frame(recv: &mut quinn::RecvStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    recv.read_exact(&mut head).await.expect("a frame");
    let mut length = usize::from(head[1] & 0x3f);
    if head[1] & 0x40 != 0 {
        let mut more = [0; 1];
        recv.read_exact(&mut more).await.expect("its length");
        length = length << 8 | usize::from(more[0]);
    }
    let mut payload = vec![0; length];
    recv.read_exact(&mut payload).await.expect("its payload");
    (head[0], payload)
}

/// A HEADERS frame of literal fields.
fn fields(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0, 0];
    for (name, value) in lines {
        for (first, most, text) in [(0x20, 7, name), (0, 127, value)] {
            let length = text.len();
            if length < most {
                block.push(first | u8::try_from(length).expect("short"));
            } else {
                block.push(first | u8::try_from(most).expect("short"));
                let mut rest = length - most;
                while rest >= 0x80 {
                    block.push(0x80 | u8::try_from(rest & 0x7f).expect("seven bits"));
                    rest >>= 7;
                }
                block.push(u8::try_from(rest).expect("seven bits"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut frame = vec![1];
    frame.extend((0x8000_0000 | u32::try_from(block.len()).expect("short")).to_be_bytes());
    frame.extend(block);
    frame
}

#[test]
fn hostile_clients_are_cut_off_and_others_served() {
    let proxy = start("1");
    let before = proxy.running.memory().expect("memory");
    run(async {
        let endpoint = proxy.endpoint();
        let (_quic, mut honest) = proxy.http(&endpoint).await;
        // Streams that are given up at once: the connection ends.
        let quic = proxy.connect(&endpoint).await;
        let flood = async {
            loop {
                let Ok((mut send, _recv)) = quic.open_bi().await else {
                    return;
                };
                let _ = send.write_all(&[1]).await;
                let _ = send.reset(VarInt::from_u32(0x10c));
            }
        };
        tokio::time::timeout(LIMIT, flood).await.expect("cut off");
        assert_eq!(code(&quic.closed().await), 0x107);
        // A head without end, however it is announced.
        let quic = proxy.connect(&endpoint).await;
        let (mut send, mut recv) = quic.open_bi().await.expect("a stream");
        let announced = [&[1, 0xbf, 0xff, 0xff, 0xff][..], &[0; 64]].concat();
        send.write_all(&announced).await.expect("sent");
        let reset = recv.read_to_end(100).await.expect_err("reset");
        assert!(reset.to_string().contains("263"), "{reset}");
        drop((send, recv));
        // Heads that never end hold a stream for a second each, and no more streams than allowed.
        let quic = proxy.connect(&endpoint).await;
        let mut held = Vec::new();
        for _ in 0..100 {
            let (mut send, recv) = quic.open_bi().await.expect("a stream");
            send.write_all(&[1, 0x20, 0]).await.expect("sent");
            held.push((send, recv));
        }
        let more = tokio::time::timeout(Duration::from_millis(300), quic.open_bi()).await;
        assert!(more.is_err(), "a stream beyond the limit");
        assert_eq!(get(&mut honest, "/").await.0, 200);
        for (_, recv) in &mut held {
            let answer = recv.read_to_end(10_000).await.expect("an answer");
            assert!(!answer.is_empty());
        }
        // Bytes beside requests.
        let quic = proxy.connect(&endpoint).await;
        let mut aside = quic.open_uni().await.expect("a stream");
        let _ = aside.write_all(&[2]).await;
        for _ in 0..1000 {
            if aside.write_all(&[0x20; 4096]).await.is_err() {
                break;
            }
        }
        assert_eq!(code(&quic.closed().await), 0x107);
        // Two control streams, one without settings, one of a push.
        for (streams, wanted) in [
            (vec![&[0, 4, 0][..], &[0, 4, 0]], 0x103),
            (vec![&[0, 7, 1, 0][..]], 0x10a),
            (vec![&[1][..]], 0x103),
            (vec![&[0, 4, 2, 2, 0][..]], 0x109),
        ] {
            let quic = proxy.connect(&endpoint).await;
            let mut open = Vec::new();
            for bytes in streams {
                let mut stream = quic.open_uni().await.expect("a stream");
                let _ = stream.write_all(bytes).await;
                open.push(stream);
            }
            assert_eq!(code(&quic.closed().await), wanted);
        }
        assert_eq!(get(&mut honest, "/").await.0, 200);
    });
    let after = proxy.running.memory().expect("memory");
    assert!(after < before + (64 << 20), "{before} bytes became {after}");
}

#[test]
fn garbage_is_no_reason_to_answer_much() {
    let proxy = start("1");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a limit");
    let mut sent = 0;
    for round in 0..2000_u32 {
        // Long headers of any version and short ones, of all lengths.
        let seed = digest(&SHA256, &round.to_be_bytes());
        let mut packet = seed.as_ref().repeat(40);
        packet.truncate(20 + (round as usize * 7) % 1200);
        packet[0] = if round % 2 == 0 { 0xc0 } else { 0x40 } | (packet[0] & 0x3f);
        sent += socket.send_to(&packet, proxy.address()).unwrap_or_default();
    }
    let mut received = 0;
    let mut buffer = [0; 2048];
    while let Ok(count) = socket.recv(&mut buffer) {
        received += count;
    }
    assert!(received < sent, "{sent} bytes were answered by {received}");
    run(async {
        let endpoint = proxy.endpoint();
        let (_quic, mut client) = proxy.http(&endpoint).await;
        assert_eq!(get(&mut client, "/").await.0, 200);
    });
}

#[test]
fn clients_are_told_when_the_process_ends() {
    let proxy = start("2");
    run(async {
        let endpoint = proxy.endpoint();
        let (quic, mut client) = proxy.http(&endpoint).await;
        assert_eq!(get(&mut client, "/").await.0, 200);
        let began = Instant::now();
        proxy.running.terminate().expect("told to end");
        assert_eq!(code(&quic.closed().await), 0x100);
        assert!(began.elapsed() < LIMIT);
    });
}

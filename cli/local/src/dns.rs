//! The cluster's name server, on the bridge's address: names of Services, and of pods behind headless ones.
//!
//! Names outside the cluster do not exist here: a local mesh has no way out to other networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

/// Suffix of all names of the mesh.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Seconds an answer may be kept.
const TTL: u32 = 5;
/// Largest answer over UDP without EDNS (RFC 1035 §4.2.1).
const MAX_PLAIN_UDP: usize = 512;
/// TCP connections served at a time, and how long one may be idle.
const MAX_CONNECTIONS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);
/// Longest chain of aliases that is followed in one answer.
const MAX_ALIASES: usize = 8;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Addresses; none is a name without ready pods.
    Addresses(Vec<Ipv4Addr>),
    /// Another name (`type: ExternalName`).
    Alias(String),
}

/// All names of the mesh: lower case, without the last dot.
pub(crate) type Zone = BTreeMap<String, Target>;

/// Names of one Service: its own, and one for each of its pods that has a host name under it.
#[must_use]
pub(crate) fn service_name(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc.{CLUSTER_DOMAIN}")
}

/// `/etc/resolv.conf` of a pod in a namespace.
#[must_use]
pub(crate) fn resolv_conf(server: Ipv4Addr, namespace: &str) -> String {
    format!(
        "nameserver {server}\nsearch {namespace}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}\noptions ndots:5\n"
    )
}

/// Binds the name server and serves it in the background for as long as the runtime runs.
///
/// # Errors
/// What binding the two sockets says.
pub(crate) async fn serve(
    address: SocketAddr,
    zone: watch::Receiver<Arc<Zone>>,
) -> std::io::Result<SocketAddr> {
    let udp = UdpSocket::bind(address).await?;
    let bound = udp.local_addr()?;
    let tcp = TcpListener::bind(bound).await?;
    tokio::spawn(serve_udp(udp, zone.clone()));
    tokio::spawn(serve_tcp(tcp, zone));
    Ok(bound)
}

async fn serve_udp(socket: UdpSocket, zone: watch::Receiver<Arc<Zone>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An earlier answer met a closed port; the socket itself is fine.
            Err(error) => {
                tracing::debug!(%error, "DNS receive");
                continue;
            }
        };
        let current = Arc::clone(&zone.borrow());
        let question = buffer.get(..length).unwrap_or_default();
        if let Some(response) = answer(&current, question, Carrier::Udp) {
            let _ = socket.send_to(&response, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: watch::Receiver<Arc<Zone>>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            let zone = zone.clone();
            tokio::spawn(async move {
                let _ = serve_stream(stream, &zone).await;
                drop(slot);
            });
        }
    }
}

async fn serve_stream(
    mut stream: TcpStream,
    zone: &watch::Receiver<Arc<Zone>>,
) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        tokio::time::timeout(IDLE, stream.read_exact(&mut question)).await??;
        let current = Arc::clone(&zone.borrow());
        let Some(response) = answer(&current, &question, Carrier::Tcp) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(response.len()) else {
            return Ok(());
        };
        stream.write_u16(length).await?;
        stream.write_all(&response).await?;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Udp,
    Tcp,
}

/// The answer to a question's bytes; `None` for what is no question.
fn answer(zone: &Zone, question: &[u8], carrier: Carrier) -> Option<Vec<u8>> {
    let request = Message::from_vec(question).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    match request.queries.as_slice() {
        [query] if request.metadata.op_code == OpCode::Query => fill(zone, query, &mut response),
        _ => response.metadata.response_code = ResponseCode::NotImp,
    }
    response.queries.clone_from(&request.queries);
    let bytes = response.to_vec().ok()?;
    let limit = request.edns.as_ref().map_or(MAX_PLAIN_UDP, |e| {
        usize::from(e.max_payload()).max(MAX_PLAIN_UDP)
    });
    if carrier == Carrier::Udp && bytes.len() > limit {
        return response.truncate().to_vec().ok();
    }
    Some(bytes)
}

fn fill(zone: &Zone, query: &Query, response: &mut Message) {
    let mut name = plain(query.name());
    if query.query_class() != DNSClass::IN {
        response.metadata.response_code = ResponseCode::Refused;
        return;
    }
    for _ in 0..MAX_ALIASES {
        match zone.get(&name) {
            None => {
                if response.answers.is_empty() {
                    response.metadata.response_code = unknown(zone, &name);
                }
                return;
            }
            Some(Target::Addresses(addresses)) => {
                if matches!(query.query_type(), RecordType::A | RecordType::ANY) {
                    push_addresses(&name, addresses, response);
                }
                return;
            }
            Some(Target::Alias(alias)) => {
                let (Ok(owner), Ok(target)) = (
                    Name::from_str(&format!("{name}.")),
                    Name::from_str(&format!("{alias}.")),
                ) else {
                    response.metadata.response_code = ResponseCode::ServFail;
                    return;
                };
                response.add_answer(Record::from_rdata(owner, TTL, RData::CNAME(CNAME(target))));
                name = alias.to_ascii_lowercase();
            }
        }
    }
}

fn push_addresses(name: &str, addresses: &[Ipv4Addr], response: &mut Message) {
    let Ok(owner) = Name::from_str(&format!("{name}.")) else {
        return;
    };
    for address in addresses {
        response.add_answer(Record::from_rdata(
            owner.clone(),
            TTL,
            RData::A(A(*address)),
        ));
    }
}

/// A name above known ones exists without records (RFC 8020); any other does not exist.
fn unknown(zone: &Zone, name: &str) -> ResponseCode {
    let suffix = format!(".{name}");
    if zone.keys().any(|known| known.ends_with(&suffix)) {
        ResponseCode::NoError
    } else {
        ResponseCode::NXDomain
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// Where pods find the name server.
#[must_use]
pub(crate) const fn server_address(gateway: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(gateway), 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::from([
            (
                "reviews.default.svc.cluster.local".to_owned(),
                Target::Addresses(vec![Ipv4Addr::new(10, 96, 0, 10)]),
            ),
            (
                "many.default.svc.cluster.local".to_owned(),
                Target::Addresses((0..200).map(|i| Ipv4Addr::new(10, 244, 1, i)).collect()),
            ),
            (
                "alias.default.svc.cluster.local".to_owned(),
                Target::Alias("reviews.default.svc.cluster.local".to_owned()),
            ),
        ])
    }

    fn ask(name: &str, kind: RecordType, carrier: Carrier) -> Message {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_str(name).expect("name"), kind));
        let bytes = request.to_vec().expect("encode");
        Message::from_vec(&answer(&zone(), &bytes, carrier).expect("answered")).expect("decode")
    }

    #[test]
    fn names() {
        let table = [
            (
                "reviews.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "REVIEWS.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "reviews.default.svc.cluster.local.",
                RecordType::AAAA,
                ResponseCode::NoError,
                0,
            ),
            (
                "default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                0,
            ),
            (
                "absent.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NXDomain,
                0,
            ),
            ("example.com.", RecordType::A, ResponseCode::NXDomain, 0),
            (
                "alias.default.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                2,
            ),
        ];
        for (name, kind, code, answers) in table {
            let response = ask(name, kind, Carrier::Tcp);
            assert_eq!(response.metadata.response_code, code, "{name} {kind}");
            assert_eq!(response.answers.len(), answers, "{name} {kind}");
        }
    }

    #[test]
    fn a_long_answer_is_cut_over_udp_only() {
        let cut = ask(
            "many.default.svc.cluster.local.",
            RecordType::A,
            Carrier::Udp,
        );
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(
            ask(
                "many.default.svc.cluster.local.",
                RecordType::A,
                Carrier::Tcp
            )
            .answers
            .len(),
            200
        );
    }

    #[test]
    fn bytes_that_are_no_question_get_no_answer() {
        assert!(answer(&zone(), b"\x00", Carrier::Udp).is_none());
    }
}

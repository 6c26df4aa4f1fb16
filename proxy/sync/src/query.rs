//! Questions to name servers (RFC 1035): for clusters that name servers of their own, or follow the answers' times to
//! live, which the system's resolver does not tell.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Wait for one server's answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rounds over all servers.
const ROUNDS: usize = 2;
/// Longest answer over UDP that is read.
const MAX_UDP: usize = 4096;

/// Addresses of a name, and the least time to live of the answer.
pub(crate) type Answer = (Vec<IpAddr>, Duration);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The name cannot be one.
    #[error("Misformatted domain name")]
    NoName,
    /// Every server refuses or fails.
    #[error("DNS server returned general failure")]
    Refused,
    /// No server answers in time.
    #[error("Timeout while contacting DNS servers")]
    Silence,
}

/// Asks the servers in turn for both families.
pub(crate) async fn ask(
    servers: &[SocketAddr],
    host: &str,
    families: (bool, bool),
) -> Result<Answer, NoAnswer> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((vec![address], Duration::MAX));
    }
    // Names of hosts on the internet have no underscores; those in clusters may.
    let mut name = Name::from_ascii(host).map_err(|_| NoAnswer::NoName)?;
    if name.is_root() {
        return Err(NoAnswer::NoName);
    }
    name.set_fqdn(true);
    let mut addresses = Vec::new();
    let mut least = Duration::MAX;
    for (wanted, kind) in [(families.0, RecordType::A), (families.1, RecordType::AAAA)] {
        if wanted {
            let (found, ttl) = one_of(servers, &name, kind).await?;
            addresses.extend(found);
            least = least.min(ttl);
        }
    }
    Ok((addresses, least))
}

/// The servers that the system asks.
pub(crate) fn system() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let addresses = text.lines().filter_map(|line| {
        let address = line.trim().strip_prefix("nameserver")?.trim();
        address.parse::<IpAddr>().ok()
    });
    let mut found: Vec<SocketAddr> = addresses.map(|one| SocketAddr::new(one, 53)).collect();
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    found
}

async fn one_of(servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Answer, NoAnswer> {
    let mut why = NoAnswer::Silence;
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let asked = tokio::time::timeout(PATIENCE, question(*server, name, kind));
        match asked.await {
            Ok(Ok(message)) => match message.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Ok(read(&message)),
                code => {
                    why = NoAnswer::Refused;
                    tracing::debug!(%server, %name, %code, "a name server refuses");
                }
            },
            Ok(Err(error)) => tracing::debug!(%server, %name, %error, "asking a name server"),
            Err(_) => tracing::debug!(%server, %name, "a name server does not answer"),
        }
    }
    Err(why)
}

async fn question(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let mut request = Message::query();
    request.metadata.id = fastrand::u16(..);
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(name.clone(), kind));
    let bytes = request.to_vec().map_err(io::Error::other)?;
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Ok(answer) = Message::from_vec(buffer.get(..length).unwrap_or_default()) else {
            continue;
        };
        if answer.metadata.id != request.metadata.id || answer.queries != request.queries {
            continue;
        }
        if answer.metadata.truncation {
            return over_tcp(server, &bytes).await;
        }
        return Ok(answer);
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_u16(length).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

/// Aliases are followed by the server: every address in the answer is the name's.
pub(crate) fn read(message: &Message) -> Answer {
    let mut least = Duration::MAX;
    let mut addresses = Vec::new();
    for record in &message.answers {
        match &record.data {
            RData::A(address) => addresses.push(IpAddr::V4(address.0)),
            RData::AAAA(address) => addresses.push(IpAddr::V6(address.0)),
            RData::CNAME(_) => {}
            _ => continue,
        }
        least = least.min(Duration::from_secs(record.ttl.into()));
    }
    (addresses, least)
}

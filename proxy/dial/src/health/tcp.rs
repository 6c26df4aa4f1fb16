//! Checks by connection, and by bytes.

use lateen_proxy_model::TcpCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Kept;
use super::judge::Finding;
use crate::connect::{self, Plan};
use crate::proxy_protocol;
use crate::stream::UpstreamStream;

/// Bytes that are read while a text does not come.
const MOST: usize = 64 * 1024;

/// A connection between checks.
pub(super) struct Open(UpstreamStream);

pub(super) async fn ask(plan: &Plan, check: &TcpCheck, kept: &mut Kept) -> Finding {
    let mut stream = match std::mem::replace(kept, Kept::None) {
        Kept::Tcp(open) => open.0,
        _ => match connect::connect(plan).await {
            Ok((stream, connection)) => {
                let mut stream = stream;
                if let (Some(version), Some(local)) = (check.proxy_protocol, connection.local) {
                    let header = proxy_protocol::header(version, local, connection.remote);
                    if stream.write_all(&header).await.is_err() {
                        return Finding::Network;
                    }
                }
                stream
            }
            Err(_) => return Finding::Network,
        },
    };
    if check.receive.is_empty() && check.send.is_empty() {
        return Finding::Well { degraded: false };
    }
    let sent = async {
        stream.write_all(&check.send).await?;
        stream.flush().await
    };
    if sent.await.is_err() {
        return Finding::Network;
    }
    let mut seen = Vec::new();
    while !holds(&seen, &check.receive) {
        if seen.len() >= MOST {
            return Finding::Network;
        }
        match stream.read_buf(&mut seen).await {
            Ok(count) if count > 0 => {}
            _ => return Finding::Network,
        }
    }
    *kept = Kept::Tcp(Box::new(Open(stream)));
    Finding::Well { degraded: false }
}

/// Whether all texts are there, in this order.
pub(super) fn holds(seen: &[u8], texts: &[Vec<u8>]) -> bool {
    let mut rest = seen;
    texts.iter().all(|text| {
        let found = rest
            .windows(text.len().max(1))
            .position(|part| part == &**text);
        match found.and_then(|place| rest.get(place + text.len()..)) {
            Some(after) => {
                rest = after;
                true
            }
            None => text.is_empty(),
        }
    })
}

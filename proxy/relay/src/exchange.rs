//! TCP metadata exchange: one frame each way right after a handshake that agreed on `istio-peer-exchange`
//! (contract: telemetry, peer metadata exchange).
//!
//! A frame is a magic number, the length of what follows (both 32 bits, big endian) and a serialized
//! `google.protobuf.Any` that holds a `google.protobuf.Struct` with the keys that HTTP uses as header names.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_telemetry::{Peer, PeerFields};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::http::peer::{METADATA, METADATA_ID, encode, fields_of};

/// The protocol's name in ALPN.
pub const ALPN: &[u8] = b"istio-peer-exchange";

const MAGIC: u32 = 0x3D23_0467;
/// A peer's frame may be this long; metadata of a pod takes about one kilobyte.
const MAX_FRAME: u32 = 64 * 1024;
/// A peer that agreed to the exchange sends its frame at once.
const PATIENCE: Duration = Duration::from_secs(10);

const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// Which side of the connection we are: the client's frame goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// We opened the connection.
    Client,
    /// We accepted it.
    Server,
}

/// The frame that says who we are.
pub fn own_frame(id: &str, fields: &PeerFields) -> Vec<u8> {
    let entries = [
        (METADATA.as_str(), Kind::StructValue(encode(fields))),
        (METADATA_ID.as_str(), Kind::StringValue(id.to_owned())),
    ];
    let both = Struct {
        fields: entries
            .into_iter()
            .map(|(key, kind)| (key.to_owned(), Value { kind: Some(kind) }))
            .collect(),
    };
    let any = Any {
        type_url: STRUCT.to_owned(),
        value: both.encode_to_vec(),
    };
    frame(&any.encode_to_vec())
}

/// Who sent this `Any`; `None` when it says nothing that can be read.
pub fn peer_of(any: &[u8]) -> Option<Arc<Peer>> {
    let any = Any::decode(any).ok()?;
    let both = Struct::decode(&any.value[..]).ok()?;
    match both.fields.get(METADATA.as_str())?.kind.as_ref()? {
        Kind::StructValue(metadata) => Some(Arc::new(Peer::new(fields_of(metadata)))),
        _ => None,
    }
}

fn frame(any: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(any.len() + 8);
    frame.extend(MAGIC.to_be_bytes());
    frame.extend(u32::try_from(any.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend(any);
    frame
}

/// Sends `own`, a complete frame, and reads the peer's; gives the peer's serialized `Any`.
///
/// Fails when the peer sends something else, too much, or nothing within ten seconds.
pub async fn exchange<S>(stream: &mut S, own: &[u8], turn: Turn) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let both = async {
        if turn == Turn::Client {
            send(stream, own).await?;
        }
        let theirs = receive(stream).await?;
        if turn == Turn::Server {
            send(stream, own).await?;
        }
        Ok(theirs)
    };
    tokio::time::timeout(PATIENCE, both)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, own: &[u8]) -> io::Result<()> {
    stream.write_all(own).await?;
    stream.flush().await
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    if stream.read_u32().await? != MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer sent no metadata exchange frame",
        ));
    }
    let length = stream.read_u32().await?;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer's metadata exchange frame is too long",
        ));
    }
    let mut any = vec![0; length as usize];
    stream.read_exact(&mut any).await?;
    Ok(any)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn both_sides_get_the_other_frame_and_following_bytes_stay() {
        let (mut client, mut server) = duplex(256);
        let (ours, theirs) = (frame(b"client"), frame(b"server"));
        let (at_client, at_server) = tokio::join!(
            exchange(&mut client, &ours, Turn::Client),
            exchange(&mut server, &theirs, Turn::Server)
        );
        assert_eq!(at_client.unwrap(), b"server");
        assert_eq!(at_server.unwrap(), b"client");
        client.write_all(b"hi").await.unwrap();
        let mut data = [0; 2];
        server.read_exact(&mut data).await.unwrap();
        assert_eq!(&data, b"hi");
    }

    #[test]
    fn a_frame_names_who_sent_it() {
        let fields = PeerFields {
            workload: "ratings-v1".into(),
            namespace: "default".into(),
            ..PeerFields::default()
        };
        let frame = own_frame("sidecar~10.0.0.1~ratings-v1.default~x", &fields);
        let peer = peer_of(&frame[8..]).unwrap();
        assert_eq!(peer.fields().workload, "ratings-v1");
        assert!(peer_of(b"junk").is_none());
    }

    #[tokio::test]
    async fn foreign_and_oversized_frames_are_refused() {
        for bytes in [
            *b"GET / HT",
            [0x3D, 0x23, 0x04, 0x67, 0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            let (mut client, mut server) = duplex(256);
            client.write_all(&bytes).await.unwrap();
            let error = exchange(&mut server, b"", Turn::Server).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}

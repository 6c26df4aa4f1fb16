//! The PROXY protocol's header, versions 1 and 2 (haproxy's proxy-protocol.txt).

use std::net::{IpAddr, SocketAddr};

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes that tell an upstream who the client is: its address and the one it went to.
pub(crate) fn header(version: u8, client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    match version {
        1 => text(client, destination).into_bytes(),
        _ => binary(client, destination),
    }
}

fn text(client: SocketAddr, destination: SocketAddr) -> String {
    let family = match (client.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        client.ip(),
        destination.ip(),
        client.port(),
        destination.port()
    )
}

fn binary(client: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = V2_SIGNATURE.to_vec();
    match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend([0x21, 0x11, 0, 12]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend([0x21, 0x21, 0, 36]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        _ => {
            out.extend([0x20, 0, 0, 0]);
            return out;
        }
    }
    out.extend(client.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn both_versions_are_as_haproxy_writes_them() {
        let client = ([10, 0, 0, 1], 4000).into();
        let destination = ([10, 0, 0, 2], 80).into();
        assert_eq!(
            header(1, client, destination),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\n"
        );
        let v2 = header(2, client, destination);
        assert_eq!(&v2[..12], b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(
            &v2[12..],
            &[
                0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0, 0, 80
            ]
        );
    }
}

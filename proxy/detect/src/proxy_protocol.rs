//! The PROXY protocol's header, versions 1 and 2 (haproxy's proxy-protocol.txt), as Envoy reads it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use lateen_proxy_model::{ProxyProtocolRules, Tlv};

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V1_SIGNATURE: &[u8] = b"PROXY ";
/// Longest line of version 1, with its end.
const V1_MAX: usize = 108;
/// Bytes of version 2 before addresses and TLVs.
const V2_HEAD: usize = 16;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Client and destination; `None` where the header names none.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// TLVs of version 2.
    pub tlvs: Vec<Tlv>,
    /// Bytes of the header.
    pub(crate) length: usize,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// There is none.
    #[error("no PROXY protocol header")]
    Missing,
    /// Its version is not accepted.
    #[error("version {0} of the PROXY protocol is not accepted")]
    Version(u8),
    /// It is no header.
    #[error("malformed PROXY protocol header: {0}")]
    Malformed(&'static str),
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A whole header.
    Header(ProxyHeader),
    /// No header, and none is needed.
    Absent,
    /// More bytes are needed.
    NeedsMore,
}

/// Reads a header at the start of `head`.
pub(crate) fn read(head: &[u8], rules: &ProxyProtocolRules) -> Result<Reading, ProxyError> {
    if head.is_empty() {
        return Ok(Reading::NeedsMore);
    }
    if starts(head, &V2_SIGNATURE) {
        if head.len() < V2_SIGNATURE.len() {
            return Ok(Reading::NeedsMore);
        }
        return match (rules.refuse_v2, rules.optional) {
            (true, true) => Ok(Reading::Absent),
            (true, false) => Err(ProxyError::Version(2)),
            (false, _) => version2(head),
        };
    }
    if starts(head, V1_SIGNATURE) {
        if head.len() < V1_SIGNATURE.len() {
            return Ok(Reading::NeedsMore);
        }
        return match (rules.refuse_v1, rules.optional) {
            (true, true) => Ok(Reading::Absent),
            (true, false) => Err(ProxyError::Version(1)),
            (false, _) => version1(head),
        };
    }
    if rules.optional {
        Ok(Reading::Absent)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether the bytes are the signature or the beginning of it.
fn starts(head: &[u8], signature: &[u8]) -> bool {
    let length = head.len().min(signature.len());
    head.get(..length) == signature.get(..length)
}

fn version1(head: &[u8]) -> Result<Reading, ProxyError> {
    let window = head.get(..head.len().min(V1_MAX)).unwrap_or_default();
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == V1_MAX {
            Err(ProxyError::Malformed("the line is too long"))
        } else {
            Ok(Reading::NeedsMore)
        };
    };
    let line = std::str::from_utf8(head.get(..end).unwrap_or_default())
        .map_err(|_| ProxyError::Malformed("no text"))?;
    let mut header = ProxyHeader {
        length: end + 2,
        ..ProxyHeader::default()
    };
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Reading::Header(header));
    }
    let rest: Vec<&str> = words.collect();
    let [from, to, from_port, to_port] = rest[..] else {
        return Err(ProxyError::Malformed("not six words"));
    };
    let ip = |text: &str| -> Result<IpAddr, ProxyError> {
        let ip: IpAddr = text
            .parse()
            .map_err(|_| ProxyError::Malformed("no address"))?;
        match (family, ip) {
            ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)) => Ok(ip),
            _ => Err(ProxyError::Malformed("the family is another")),
        }
    };
    let port = |text: &str| text.parse().map_err(|_| ProxyError::Malformed("no port"));
    header.addresses = Some(addresses(
        SocketAddr::new(ip(from)?, port(from_port)?),
        SocketAddr::new(ip(to)?, port(to_port)?),
    )?);
    Ok(Reading::Header(header))
}

fn version2(head: &[u8]) -> Result<Reading, ProxyError> {
    let Some(fixed) = head.get(..V2_HEAD) else {
        return Ok(Reading::NeedsMore);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if command >> 4 != 2 {
        return Err(ProxyError::Malformed("no version 2"));
    }
    let local = command & 0x0f == 0;
    if !local && command & 0x0f != 1 {
        return Err(ProxyError::Malformed("no known command"));
    }
    let of_addresses = match family >> 4 {
        _ if local => 0,
        1 => 12,
        2 => 36,
        _ => return Err(ProxyError::Malformed("no known family")),
    };
    if length < of_addresses {
        return Err(ProxyError::Malformed("shorter than its addresses"));
    }
    let Some(rest) = head.get(V2_HEAD..V2_HEAD + length) else {
        return Ok(Reading::NeedsMore);
    };
    let (named, extensions) = rest.split_at(of_addresses);
    // Of another kind of transport the addresses say nothing about this one.
    let named = if family & 0x0f == 1 { named } else { &[] };
    Ok(Reading::Header(ProxyHeader {
        addresses: binary(named)?,
        // Without addresses the rest is not looked at.
        tlvs: if local { Vec::new() } else { tlvs(extensions)? },
        length: V2_HEAD + length,
    }))
}

fn binary(bytes: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyError> {
    let port = |bytes: &[u8]| bytes.try_into().map(u16::from_be_bytes).unwrap_or(0);
    let pair =
        if let Some((ips, ports)) = bytes.split_first_chunk::<8>().filter(|_| bytes.len() == 12) {
            let [a, b, c, d, e, f, g, h] = *ips;
            let (from, to) = ports.split_at(2);
            (
                SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port(from)),
                SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), port(to)),
            )
        } else if let Some((from, rest)) = bytes.split_first_chunk::<16>()
            && let Some((to, ports)) = rest.split_first_chunk::<16>()
        {
            let (from_port, to_port) = ports.split_at(2);
            (
                SocketAddr::new(Ipv6Addr::from(*from).into(), port(from_port)),
                SocketAddr::new(Ipv6Addr::from(*to).into(), port(to_port)),
            )
        } else {
            return Ok(None);
        };
    addresses(pair.0, pair.1).map(Some)
}

/// Addresses of one host each: anything else is a lie.
fn addresses(from: SocketAddr, to: SocketAddr) -> Result<(SocketAddr, SocketAddr), ProxyError> {
    let unicast = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    if unicast(from.ip()) && unicast(to.ip()) {
        Ok((from, to))
    } else {
        Err(ProxyError::Malformed("no address of one host"))
    }
}

/// Each length is checked against what is left (S22).
fn tlvs(mut rest: &[u8]) -> Result<Vec<Tlv>, ProxyError> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let cut = || ProxyError::Malformed("a TLV is cut");
        let ([kind, high, low], after) = rest.split_first_chunk::<3>().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = after.get(..length).ok_or_else(cut)?;
        found.push(Tlv {
            kind: *kind,
            value: Bytes::copy_from_slice(value),
        });
        rest = after.get(length..).unwrap_or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> ProxyProtocolRules {
        ProxyProtocolRules::default()
    }

    fn header(bytes: &[u8]) -> Result<ProxyHeader, ProxyError> {
        match read(bytes, &rules())? {
            Reading::Header(header) => Ok(header),
            other => panic!("{other:?}"),
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn both_versions_name_client_and_destination() {
        let wanted = (
            "1.2.3.4:1000".parse().unwrap(),
            "5.6.7.8:80".parse().unwrap(),
        );
        let text = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nrest";
        let found = header(text).unwrap();
        assert_eq!(
            (found.addresses, found.length),
            (Some(wanted), text.len() - 4)
        );
        let mut rest = vec![1, 2, 3, 4, 5, 6, 7, 8, 3, 232, 0, 80];
        rest.extend([0xe0, 0, 2, b'h', b'i', 4, 0, 0]);
        let found = header(&v2(0x21, 0x11, &rest)).unwrap();
        assert_eq!(found.addresses, Some(wanted));
        let kinds: Vec<_> = found
            .tlvs
            .iter()
            .map(|tlv| (tlv.kind, &tlv.value[..]))
            .collect();
        assert_eq!(kinds, [(0xe0, &b"hi"[..]), (4, b"")]);
        assert_eq!(header(b"PROXY UNKNOWN a b\r\n").unwrap().addresses, None);
        assert_eq!(header(&v2(0x20, 0, b"xyz")).unwrap().addresses, None);
        let datagrams = v2(0x21, 0x12, &[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]);
        assert_eq!(header(&datagrams).unwrap().addresses, None);
    }

    #[test]
    fn what_lies_or_is_cut_is_refused() {
        let bad = |bytes: &[u8]| read(bytes, &rules()).err();
        for text in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 224.0.0.1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n",
        ] {
            assert!(
                matches!(bad(text.as_bytes()), Some(ProxyError::Malformed(_))),
                "{text}"
            );
        }
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 120]].concat();
        assert!(matches!(bad(&long), Some(ProxyError::Malformed(_))));
        let ips = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2];
        assert!(bad(&v2(0x31, 0x11, &ips)).is_some(), "version");
        assert!(bad(&v2(0x21, 0x21, &ips)).is_some(), "too short");
        let overflow = [&ips[..], &[4, 0xff, 0xff, 1]].concat();
        assert!(bad(&v2(0x21, 0x11, &overflow)).is_some(), "TLV");
        assert_eq!(bad(b"GET / HTTP"), Some(ProxyError::Missing));
    }

    #[test]
    fn versions_and_absence_follow_the_rules() {
        let mut own = rules();
        own.refuse_v1 = true;
        assert_eq!(read(b"PROXY ", &own), Err(ProxyError::Version(1)));
        own.optional = true;
        assert_eq!(read(b"PROXY ", &own), Ok(Reading::Absent));
        assert_eq!(read(b"GET", &own), Ok(Reading::Absent));
        assert_eq!(read(b"\r\n\r\n", &own), Ok(Reading::NeedsMore));
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(command in any::<u8>(), family in any::<u8>(), rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&v2(command, family, &rest), &rules());
        }

        #[test]
        fn no_text_causes_a_panic(text in "PROXY [ -~]{0,120}") {
            let _ = read(text.as_bytes(), &rules());
        }
    }
}

//! Addresses of ports as Go's flags write them: `:15012`, `127.0.0.1:0`, `[::1]:80`, or nothing for a port that is off.

use std::net::SocketAddr;
use std::str::FromStr;

/// Where a port listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    /// Nowhere.
    Off,
    /// On every address of the machine.
    Wildcard(u16),
    /// On one address.
    One(SocketAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "{text:?} is no address: use <ip>:<port>, :<port>, or nothing to switch the port off"
            )
        };
        if text.is_empty() {
            return Ok(Self::Off);
        }
        if let Some(port) = text.strip_prefix(':') {
            return port.parse().map(Self::Wildcard).map_err(|_| malformed());
        }
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map(Self::One).map_err(|_| malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let one = |text: &str| Ok(Address::One(text.parse().expect("address")));
        assert_eq!("".parse(), Ok(Address::Off));
        assert_eq!(":0".parse(), Ok(Address::Wildcard(0)));
        assert_eq!("127.0.0.1:15010".parse(), one("127.0.0.1:15010"));
        assert_eq!("[::1]:80".parse(), one("[::1]:80"));
        assert_eq!("localhost:80".parse(), one("127.0.0.1:80"));
        for bad in ["15012", ":", ":70000", "host:80", "127.0.0.1"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}

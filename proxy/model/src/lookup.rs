//! Tables that answer with the most specific entry.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use ahash::RandomState;
use ipnet::IpNet;

/// Entries by key, and one for all other keys.
#[derive(Debug)]
pub(crate) struct Exact<K, T> {
    pub(crate) exact: HashMap<K, T, RandomState>,
    pub(crate) any: Option<Box<T>>,
}

/// Entries by address range: the longest range that holds an address wins.
#[derive(Debug)]
pub(crate) struct Prefixes<T> {
    /// One table for each length that occurs, the longest first.
    v4: Vec<(u8, HashMap<u32, T, RandomState>)>,
    v6: Vec<(u8, HashMap<u128, T, RandomState>)>,
    pub(crate) any: Option<Box<T>>,
}

impl<K, T> Default for Exact<K, T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            any: None,
        }
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
            any: None,
        }
    }
}

impl<K: Eq + Hash, T> Exact<K, T> {
    /// The entry of a key.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&T>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if self.exact.is_empty() {
            return None;
        }
        self.exact.get(key)
    }

    /// The entry of a key, or the one for all others.
    pub(crate) fn find(&self, key: &K) -> Option<&T> {
        self.get(key).or(self.any.as_deref())
    }
}

impl<T> Prefixes<T> {
    /// Adds a range.
    pub(crate) fn insert(&mut self, net: IpNet, value: T) {
        match net {
            IpNet::V4(net) => {
                let key = net.network().to_bits();
                table(&mut self.v4, net.prefix_len()).insert(key, value);
            }
            IpNet::V6(net) => {
                let key = net.network().to_bits();
                table(&mut self.v6, net.prefix_len()).insert(key, value);
            }
        }
    }

    /// The entry of the longest range that holds the address, or the one for all others.
    pub(crate) fn find(&self, ip: IpAddr) -> Option<&T> {
        let own = match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.iter().find_map(|(length, table)| {
                let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                table.get(&(ip.to_bits() & mask))
            }),
            IpAddr::V6(ip) => self.v6.iter().find_map(|(length, table)| {
                let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                table.get(&(ip.to_bits() & mask))
            }),
        };
        own.or(self.any.as_deref())
    }
}

fn table<K, T>(
    lengths: &mut Vec<(u8, HashMap<K, T, RandomState>)>,
    length: u8,
) -> &mut HashMap<K, T, RandomState> {
    let place = lengths.partition_point(|(own, _)| *own > length);
    if lengths.get(place).is_none_or(|(own, _)| *own != length) {
        lengths.insert(place, (length, HashMap::default()));
    }
    &mut lengths[place].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_wins_whatever_the_order() {
        let mut table = Prefixes::default();
        for (net, value) in [
            ("10.0.0.0/8", 8),
            ("10.1.0.0/16", 16),
            ("0.0.0.0/0", 1),
            ("10.1.2.3/32", 32),
            ("fd00::/8", 6),
        ] {
            table.insert(net.parse().unwrap(), value);
        }
        table.any = Some(Box::new(0));
        let found = |ip: &str| table.find(ip.parse().unwrap()).copied();
        assert_eq!(found("10.1.2.3"), Some(32));
        assert_eq!(found("::ffff:10.1.2.3"), Some(32));
        assert_eq!(found("10.1.2.4"), Some(16));
        assert_eq!(found("10.2.0.1"), Some(8));
        assert_eq!(found("11.0.0.1"), Some(1));
        assert_eq!(found("fd12::1"), Some(6));
        assert_eq!(found("fe80::1"), Some(0));
    }
}

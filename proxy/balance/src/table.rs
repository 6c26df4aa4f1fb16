//! Consistent hashing: the same tables that Envoy builds, so that proxies of both kinds send a request to the same
//! endpoint.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use lateen_proxy_model::{Endpoint, HashTable, HashTableKind};
use twox_hash::XxHash64;

/// An endpoint with its share of the whole.
pub(crate) type Share = (Arc<Endpoint>, f64);

/// The ring of `shares`; `None` without any.
pub(crate) fn ring(
    shares: Vec<Share>,
    (min, max): (u64, u64),
    hostnames: bool,
) -> Option<HashTable> {
    let least = shares.iter().map(|(_, share)| *share).reduce(f64::min)?;
    // The lightest endpoint gets a whole number of points, unless the ring would grow too large.
    let scale = ((least * float(min)).ceil() / least).min(float(max));
    let mut ring: Vec<(u64, u32)> = Vec::new();
    let (mut current, mut target) = (0.0, 0.0);
    for ((endpoint, share), owner) in shares.iter().zip(0u32..) {
        target += scale * share;
        let mut text = key(endpoint, hostnames);
        text.push('_');
        let stem = text.len();
        let mut number = 0u64;
        while current < target {
            text.truncate(stem);
            // Writing to a text cannot fail.
            let _ = write!(text, "{number}");
            ring.push((XxHash64::oneshot(0, text.as_bytes()), owner));
            number += 1;
            current += 1.0;
        }
    }
    ring.sort_by_key(|(point, _)| *point);
    let (points, owners): (Vec<u64>, Vec<u32>) = ring.into_iter().unzip();
    Some(HashTable {
        endpoints: shares.into_iter().map(|(endpoint, _)| endpoint).collect(),
        shares: Box::default(),
        kind: HashTableKind::Ring {
            points: points.into(),
            owners: owners.into(),
        },
    })
}

/// One endpoint's walk over a Maglev table.
struct Walk {
    place: u64,
    skip: u64,
    share: f64,
    target: f64,
}

const EMPTY: u32 = u32::MAX;

/// The Maglev table of `shares`; `None` without any. `size` must be a prime, so that every walk meets every entry.
pub(crate) fn maglev(shares: Vec<Share>, size: u32, hostnames: bool) -> Option<HashTable> {
    let most = shares.iter().map(|(_, share)| *share).reduce(f64::max)?;
    let wide = u64::from(size.max(2));
    let mut walks: Vec<Walk> = shares
        .iter()
        .map(|(endpoint, share)| {
            let text = key(endpoint, hostnames);
            Walk {
                place: XxHash64::oneshot(0, text.as_bytes()) % wide,
                skip: XxHash64::oneshot(1, text.as_bytes()) % (wide - 1) + 1,
                share: *share,
                target: 0.0,
            }
        })
        .collect();
    let mut table = vec![EMPTY; size as usize];
    let mut left = table.len();
    let mut iteration = 0.0;
    while left > 0 && most > 0.0 {
        iteration += 1.0;
        for (walk, owner) in walks.iter_mut().zip(0u32..) {
            if left == 0 {
                break;
            }
            // The heaviest takes an entry in every round, one of half its weight in every second.
            if iteration * walk.share < walk.target {
                continue;
            }
            walk.target += most;
            if walk.take(&mut table, owner) {
                left -= 1;
            }
        }
    }
    Some(HashTable {
        endpoints: shares.into_iter().map(|(endpoint, _)| endpoint).collect(),
        shares: Box::default(),
        kind: HashTableKind::Maglev(table.into()),
    })
}

impl Walk {
    /// Takes the next free entry of the walk.
    fn take(&mut self, table: &mut [u32], owner: u32) -> bool {
        let size = table.len() as u64;
        for _ in 0..size {
            let place = usize::try_from(self.place).unwrap_or_default();
            self.place = (self.place + self.skip) % size;
            if let Some(entry) = table.get_mut(place).filter(|entry| **entry == EMPTY) {
                *entry = owner;
                return true;
            }
        }
        false
    }
}

/// The endpoint of a hash. Every `attempt` gives another place.
pub(crate) fn pick(table: &HashTable, hash: u64, attempt: u32) -> Option<&Arc<Endpoint>> {
    let owner = match &table.kind {
        HashTableKind::Ring { points, owners } => {
            let place = points.partition_point(|point| *point < hash);
            let place = if place == points.len() { 0 } else { place };
            owners.get((place + attempt as usize).checked_rem(owners.len())?)
        }
        HashTableKind::Maglev(table) => {
            let hash = match attempt {
                0 => hash,
                attempt => hash ^ (u64::MAX - u64::from(attempt) + 1),
            };
            let place = hash.checked_rem(table.len() as u64)?;
            table.get(usize::try_from(place).ok()?)
        }
    };
    table.endpoints.get(*owner? as usize)
}

/// What names an endpoint in a table: its own key, its host name, or its address.
fn key(endpoint: &Endpoint, hostnames: bool) -> String {
    let own = endpoint.metadata.labels.get("hash_key");
    if let Some(own) = own.and_then(|own| own.text())
        && !own.is_empty()
    {
        return own.to_string();
    }
    match &endpoint.hostname {
        Some(name) if hostnames => name.to_string(),
        _ => address(endpoint.address),
    }
}

fn address(address: SocketAddr) -> String {
    address.to_string()
}

fn float(number: u64) -> f64 {
    // Sizes are at most 2^23.
    number as f64
}

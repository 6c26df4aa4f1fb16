//! Bounded loads of hash tables: an endpoint that has too much under way gives to others, in an order that the hash
//! decides. The order is Envoy's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lateen_proxy_model::{Endpoint, HashTable};

use crate::table;

/// The endpoint of a hash, unless it is overloaded: `factor` is in percent of the mean.
pub(crate) fn pick(
    table: &HashTable,
    factor: u32,
    hash: u64,
    attempt: u32,
) -> Option<&Arc<Endpoint>> {
    let first = table::pick(table, hash, attempt)?;
    let active = |one: &Arc<Endpoint>| one.active.load(Ordering::Relaxed);
    let all = table.endpoints.iter().map(|one| u64::from(active(one)));
    let slots = (all.sum::<u64>() + 1)
        .saturating_mul(u64::from(factor))
        .div_ceil(100);
    let overload = |index: usize| {
        let endpoint = table.endpoints.get(index)?;
        let share = table.shares.get(index).copied().unwrap_or_default();
        let own = (slots as f64 * share).ceil().max(1.0);
        Some((endpoint, f64::from(active(endpoint)) / own))
    };
    let place = table
        .endpoints
        .iter()
        .position(|one| Arc::ptr_eq(one, first))?;
    let (mut best, mut least) = overload(place)?;
    if least <= 1.0 {
        return Some(first);
    }
    let count = table.endpoints.len();
    let mut order: Vec<usize> = (0..count).collect();
    // Envoy seeds with the lower half of the hash.
    let mut random = Twister::new(hash as u32);
    for turn in 0..count {
        let other = turn + random.below(count - turn);
        order.swap(turn, other);
        let index = *order.get(turn)?;
        if index == place {
            continue;
        }
        let (endpoint, load) = overload(index)?;
        if load <= 1.0 {
            return Some(endpoint);
        }
        if load < least {
            (best, least) = (endpoint, load);
        }
    }
    Some(best)
}

const WORDS: usize = 624;

/// The Mersenne twister MT19937, as C++ has it.
struct Twister {
    words: Vec<u32>,
    next: usize,
}

impl Twister {
    fn new(seed: u32) -> Self {
        let mut words = Vec::with_capacity(WORDS);
        let mut last = seed;
        words.push(last);
        for number in 1..WORDS as u32 {
            last = (last ^ (last >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(number);
            words.push(last);
        }
        Self { words, next: WORDS }
    }

    fn turn(&mut self) {
        let word =
            |words: &[u32], place: usize| words.get(place % WORDS).copied().unwrap_or_default();
        for place in 0..WORDS {
            let joined = (word(&self.words, place) & 0x8000_0000)
                | (word(&self.words, place + 1) & 0x7FFF_FFFF);
            let odd = if joined & 1 == 1 { 0x9908_B0DF } else { 0 };
            let made = word(&self.words, place + 397) ^ (joined >> 1) ^ odd;
            if let Some(slot) = self.words.get_mut(place) {
                *slot = made;
            }
        }
        self.next = 0;
    }

    fn draw(&mut self) -> u32 {
        if self.next >= WORDS {
            self.turn();
        }
        let mut word = self.words.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9D2C_5680;
        word ^= (word << 15) & 0xEFC6_0000;
        word ^ (word >> 18)
    }

    /// A number below `bound`, evenly.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        let width = (1u64 << 32) / bound;
        loop {
            let drawn = u64::from(self.draw()) / width;
            if drawn < bound {
                return usize::try_from(drawn).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Twister;

    #[test]
    fn the_twister_is_that_of_the_standard() {
        let mut twister = Twister::new(5489);
        let drawn = (0..10_000).map(|_| twister.draw()).last();
        assert_eq!(drawn, Some(4_123_659_995), "ISO C++ [rand.predef]");
    }
}
